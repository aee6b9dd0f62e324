// Tables as markdown, so that what a bench prints can stand in a page as it is.

import { quantile } from '../../deploy/lab/probe-analysis.js';

export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('');
}

/** `median, max` of those that are there; a dash when there are none. */
export function medianAndMax(values: readonly number[]): string {
  const there = values.filter(Number.isFinite);
  return there.length === 0 ? '-' : `${Math.round(quantile(there, 0.5))}, ${Math.round(Math.max(...there))}`;
}
