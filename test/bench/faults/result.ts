// How the measured table is printed: for people as two tables (what was promised, and where the time went), for programs as JSON with every
// single strike. With fewer than a hundred strikes the greatest value stands in the place of a 99th percentile, and is called so.

import { quantile } from '../../../deploy/lab/probe-analysis.js';
import type { Struck } from './strike.js';
import { FAULTS, nameOf, type FaultClass, type Target } from './table.js';
import { MOMENTS, type Moment } from './timeline.js';

export interface ClassResult {
  readonly faultClass: FaultClass;
  readonly strikes: readonly Struck[];
}

export interface FaultsResult {
  readonly results: readonly ClassResult[];
  readonly rounds: number;
  readonly problems: readonly string[];
  readonly answers: number;
  readonly records: number;
}

const ENOUGH_FOR_P99 = 100;

export function textOf(result: FaultsResult): string {
  const { results, problems } = result;
  const rows = results.map(rowOf);
  const verdict =
    problems.length === 0
      ? `No rule was broken: the right side went on each time and by itself, ${result.answers} answers over one connection, no counter missing, all of ${result.records} acknowledged records on the disk, nothing at the switch that no side was allowed to send.`
      : ['IT DID NOT HOLD:', ...problems].join('\n  ');
  return `${columns([HEAD, ...rows])}\n\nwhere the time went, ms since the fault: median (greatest)\n${breakdown(results)}\n\n${verdict}\n`;
}

const HEAD = [
  'milliseconds',
  'n',
  'goes on',
  'alone p50',
  'p99',
  'max',
  'gap p50',
  'max',
  'protected p50',
  'max',
  'healed max',
  'promised',
];

function rowOf({ faultClass, strikes }: ClassResult): readonly string[] {
  const alone = finite(strikes.map((each) => each.aloneMs));
  const gap = finite(strikes.map((each) => each.gapMs));
  const again = finite(strikes.map((each) => each.protectedMs));
  return [
    nameOf(faultClass),
    String(strikes.length),
    FAULTS[faultClass.fault].survivor,
    middle(alone),
    alone.length >= ENOUGH_FOR_P99 ? ms(quantile(alone, 0.99)) : '-',
    greatest(alone),
    middle(gap),
    greatest(gap),
    middle(again),
    greatest(again),
    greatest(finite(strikes.map((each) => each.healedMs))),
    faultClass.target === null ? '' : promise(faultClass.target, alone, gap),
  ];
}

function promise(target: Target, alone: readonly number[], gap: readonly number[]): string {
  const p99 = alone.length >= ENOUGH_FOR_P99 ? quantile(alone, 0.99) : Math.max(...alone);
  const parts: readonly (readonly [string, number, number | null])[] = [
    ['p50', quantile(alone, 0.5), target.p50Ms],
    [alone.length >= ENOUGH_FOR_P99 ? 'p99' : 'max', p99, target.p99Ms],
    ['gap p50', quantile(gap, 0.5), target.gapP50Ms],
  ];
  return parts
    .flatMap(([name, value, limit]) => (limit === null ? [] : [`${name} <= ${limit} ${value <= limit ? 'kept' : 'NOT KEPT'}`]))
    .join(', ');
}

/** Only classes in which somebody went on, and only moments that came. */
function breakdown(results: readonly ClassResult[]): string {
  const moved = results.filter((each) => each.strikes.some((strike) => strike.timeline.released !== undefined));
  const of = (each: ClassResult, moment: Moment): readonly number[] =>
    finite(each.strikes.map((strike) => strike.timeline[moment] ?? Number.NaN));
  const shown = MOMENTS.filter((moment) => moved.some((each) => of(each, moment).length > 0));
  const cell = (values: readonly number[]): string => (values.length === 0 ? '-' : `${middle(values)} (${greatest(values)})`);
  return columns([['', ...shown], ...moved.map((each) => [nameOf(each.faultClass), ...shown.map((moment) => cell(of(each, moment)))])]);
}

export function jsonOf(result: FaultsResult): string {
  const results = result.results.map(({ faultClass, strikes }) => ({
    name: nameOf(faultClass),
    ...faultClass,
    goesOn: FAULTS[faultClass.fault].survivor,
    n: strikes.length,
    aloneMs: numbers(strikes.map((each) => each.aloneMs)),
    gapMs: numbers(strikes.map((each) => each.gapMs)),
    strikes,
  }));
  const { rounds, problems, answers, records } = result;
  return `${JSON.stringify({ rounds, held: problems.length === 0, problems, answers, records, results }, null, 2)}\n`;
}

function numbers(values: readonly number[]) {
  const known = finite(values);
  if (known.length === 0) return null;
  return {
    n: known.length,
    p50: quantile(known, 0.5),
    p99: known.length >= ENOUGH_FOR_P99 ? quantile(known, 0.99) : null,
    max: Math.max(...known),
  };
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 || column === row.length - 1 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const finite = (values: readonly number[]): readonly number[] => values.filter(Number.isFinite);
const ms = (value: number): string => String(Math.round(value));
const middle = (values: readonly number[]): string => (values.length === 0 ? '-' : ms(quantile(values, 0.5)));
const greatest = (values: readonly number[]): string => (values.length === 0 ? '-' : ms(Math.max(...values)));
