// How figures are printed: n, median, p99 only from a hundred values on (below it would be a guess), and the greatest.

import { quantile } from '../../deploy/lab/probe-analysis.js';

export interface Series {
  readonly name: string;
  readonly values: readonly number[];
}

const ENOUGH_FOR_P99 = 100;

export function table(unit: string, rows: readonly Series[]): string {
  const width = Math.max(...rows.map((row) => row.name.length), unit.length) + 2;
  const cells = (row: Series): readonly string[] => {
    const finite = row.values.filter(Number.isFinite);
    if (finite.length === 0) return ['0', '-', '-', '-'];
    const p99 = finite.length >= ENOUGH_FOR_P99 ? number(quantile(finite, 0.99)) : '(n<100)';
    return [String(finite.length), number(quantile(finite, 0.5)), p99, number(Math.max(...finite))];
  };
  const line = (name: string, values: readonly string[]): string =>
    `${name.padEnd(width)}${values.map((value) => value.padStart(9)).join('')}`;
  return [line(unit, ['n', 'p50', 'p99', 'max']), ...rows.map((row) => line(row.name, cells(row)))].join('\n') + '\n';
}

const number = (value: number): string => (value >= 100 ? String(Math.round(value)) : value.toFixed(1));
