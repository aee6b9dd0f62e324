// The tables of the bench of outages, as markdown. Pure.

import { markdown, medianAndMax } from '../markdown.js';
import type { FaultInOutage } from './fault.js';
import type { Outage } from './outage.js';
import { FAULTS, nameOfOutage, strikesPrimary } from './table.js';
import type { Stillness } from '../watch/pair.js';

export interface OutagesResult {
  readonly outages: readonly Outage[];
  readonly faults: readonly FaultInOutage[];
  /** What does not belong to one of them: of the client, of the disk, of an end before the end. */
  readonly problems: readonly string[];
  readonly answers: number;
  readonly records: number;
}

export function textOf(result: OutagesResult): string {
  const problems = problemsOf(result);
  const verdict =
    problems.length === 0
      ? `No rule was broken: no guest stopped, paused or demoted, ${result.answers} answers over one connection, no counter missing, all of ` +
        `${result.records} acknowledged records on the disk.`
      : ['IT DID NOT HOLD:', ...problems].join('\n  ');
  const parts = [
    ...(result.outages.length === 0 ? [] : [`Outages; milliseconds as median, max:\n\n${outageTable(result.outages)}`]),
    ...(result.faults.length === 0
      ? []
      : [`Faults while the majority is away; milliseconds as median, max:\n\n${faultTable(result.faults)}`]),
    `${verdict}\n`,
  ];
  return parts.join('\n');
}

export function problemsOf({ outages, faults, problems }: OutagesResult): readonly string[] {
  return [
    ...outages.flatMap((each) => each.wrong.map((wrong) => `${nameOfOutage(each.kind)}, ${each.seconds} s: ${wrong}`)),
    ...faults.flatMap((each) => each.wrong.map((wrong) => `${each.fault}, majority ${each.manner}: ${wrong}`)),
    ...problems,
  ];
}

const OUTAGE_HEAD = [
  'etcd',
  's',
  'n',
  'no linearizable read for',
  'loss -> "no etcd quorum", exit 5',
  'return -> right, exit 0',
  'longest wait of the client',
  'guest stood still, ms a second (before)',
  'rules',
];

function outageTable(outages: readonly Outage[]): string {
  const groups = groupBy(outages, (each) => `${nameOfOutage(each.kind)} ${each.seconds}`);
  const rows = groups.map((group) => [
    group[0] === undefined ? '' : nameOfOutage(group[0].kind),
    String(group[0]?.seconds ?? ''),
    String(group.length),
    medianAndMax(group.map((each) => each.unreadMs)),
    medianAndMax(group.map((each) => each.noticedMs)),
    medianAndMax(group.map((each) => each.rightMs)),
    medianAndMax(group.map((each) => each.gapMs)),
    `${aSecond(group.map((each) => each.still))} (${aSecond(group.map((each) => each.stillBefore))})`,
    group.every((each) => each.wrong.length === 0) ? 'kept' : 'BROKEN',
  ]);
  return markdown(OUTAGE_HEAD, rows);
}

const FAULT_HEAD = ['fault', 'n', 'goes on', 'return -> verdict saved', 'return -> runs alone', 'longest wait of the client', 'rules'];

function faultTable(faults: readonly FaultInOutage[]): string {
  const rows = FAULTS.map((fault) => faults.filter((each) => each.fault === fault))
    .filter((group) => group.length > 0)
    .map((group) => [
      group[0]?.fault ?? '',
      String(group.length),
      group[0] !== undefined && strikesPrimary(group[0].fault) ? 'secondary' : 'primary',
      medianAndMax(group.map((each) => each.verdictMs)),
      medianAndMax(group.map((each) => each.aloneMs)),
      medianAndMax(group.map((each) => each.gapMs)),
      group.every((each) => each.wrong.length === 0) ? 'kept' : 'BROKEN',
    ]);
  return markdown(FAULT_HEAD, rows);
}

/** How long the guest's clock stood still in each second. */
export function aSecond(all: readonly Stillness[]): string {
  const lasted = all.reduce((sum, each) => sum + each.lastedMs, 0);
  const still = all.reduce((sum, each) => sum + each.stillMs, 0);
  return lasted === 0 ? '-' : String(Math.round((1_000 * still) / lasted));
}

function groupBy<T>(values: readonly T[], nameOf: (value: T) => string): readonly (readonly T[])[] {
  const groups = new Map<string, T[]>();
  for (const value of values) groups.set(nameOf(value), [...(groups.get(nameOf(value)) ?? []), value]);
  return [...groups.values()];
}
