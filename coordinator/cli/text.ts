// Small words and numbers for people: tables, ages, sizes, durations. The present time is always handed in.

import pc from 'picocolors';
import { fail, ok, type Result } from '../../shared/core/result.js';

export type Colours = ReturnType<typeof pc.createColors>;

export function coloursOf(enabled: boolean): Colours {
  return pc.createColors(enabled);
}

/** Columns two blanks apart, as wide as their widest cell; the last one is not padded. Colours do not count. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], colours: Colours): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => visible(row[column] ?? ''))));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - visible(cell)))))
      .join('  ')
      .trimEnd();
  return [colours.bold(line(head)), ...rows.map(line)].join('\n');
}

function visible(text: string): number {
  // Colours are an escape character, numbers, and an m.
  return text.replace(/\u001b\[[0-9;]*m/g, '').length;
}

/** `-` for nothing, so that no cell of a table is empty. */
export const orDash = (text: string | null | undefined): string => (text === null || text === undefined || text === '' ? '-' : text);

/** `4s`, `3m 20s`, `5h 12m`, `9d 3h`. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${seconds % 60}s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours}h ${minutes % 60}m` : `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, '')} ${units[unit] ?? ''}`;
}

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `500ms`, `120s`, `2m`, `1h`, `7d` in milliseconds. */
export function parseDuration(text: string): Result<number, string> {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match === null) return fail(`"${text}" is no duration: write for example 500ms, 120s, 2m, 1h or 7d`);
  return ok(Number(match[1]) * UNITS_MS[match[2] as keyof typeof UNITS_MS]);
}

/** Milliseconds since 1970 as ISO 8601 in UTC. */
export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
