// What a chaos must have shown, told from its evidence alone: pure, so that each rule can be seen to fail. Which faults may end a guest is
// the table of double failures (coordinator/DESIGN.md): the guest may begin anew only if no side was left that could go on with it.

import { maxGap } from '../../deploy/lab/probe-analysis.js';
import type { ProbeLine } from '../../deploy/lab/probe-log.js';
import type { HistoryEntry } from '../../shared/gen/colo/v1/coordinator.js';
import { LASTING } from './clients.js';
import { emissionViolations, type Emissions } from './emissions.js';
import { bootsOf, historyViolations, operationsOf, type ClientLog } from './operations.js';
import type { FaultKind } from './plan.js';
import { paperViolations, type Release } from './verdicts.js';

/** A blow that fell. */
export interface Blown {
  readonly round: number;
  readonly kind: FaultKind;
  readonly target: string;
  readonly host: string;
  readonly atMs: number;
  /** The phase that a coordinator told of less than a second before; null = nobody did. */
  readonly phase: string | null;
  /** Whether the host had one of the two QEMUs of the record. */
  readonly side: 'primary' | 'secondary' | null;
}

export interface Evidence {
  readonly blown: readonly Blown[];
  /** Instants at which the cluster was seen whole: protected, all hosts ready, no fault under way. */
  readonly wholeMs: readonly number[];
  readonly logs: readonly ClientLog[];
  /** Of the counter, before the clients began. */
  readonly initial: number;
  readonly history: readonly HistoryEntry[];
  readonly releases: readonly Release[];
  /** What coordinators said when they suspected a split. */
  readonly splits: readonly string[];
  /** What left the hosts' guest ports. */
  readonly emissions: Emissions;
  /** QEMUs that ended although nobody ended them, in words. */
  readonly ownDeaths: readonly string[];
}

/** A QEMU on that side is gone, or is given up. */
export const BREAKS: readonly FaultKind[] = [
  'qemu-kill',
  'qemu-stop',
  'host-dark',
  'cut-replication',
  'cut-replication-out',
  'cut-replication-in',
  'cut-both',
];
/** What ends the QEMU itself. */
const LETHAL: readonly FaultKind[] = ['qemu-kill', 'qemu-stop', 'host-dark'];

export function violationsIn(evidence: Evidence): readonly string[] {
  const { logs, initial, history, releases } = evidence;
  return [
    ...historyViolations(logs, initial),
    ...paperViolations(history, releases),
    ...emissionViolations(evidence.emissions.frames, history),
    ...evidence.splits.map((each) => `SPLIT SUSPECTED in ${each}`),
    ...bootViolations(evidence),
    ...connectionViolations(evidence),
  ];
}

/** The blows that fell between the last moment before `atMs` at which all was well and `atMs`. */
function blowsBefore({ blown, wholeMs }: Evidence, atMs: number): readonly Blown[] {
  const wellMs = wholeMs.filter((each) => each < atMs).at(-1) ?? -Infinity;
  return blown.filter((each) => each.atMs >= wellMs && each.atMs <= atMs);
}

/** Whether these blows, from a protected pair on, can have left no side that could go on. */
export function mayEndGuest(blows: readonly Blown[], ownDeaths: number): boolean {
  const breaks = blows.filter((each) => each.side !== null && BREAKS.includes(each.kind));
  if (breaks.length + ownDeaths >= 2) return true;
  return breaks.some((each) => LETHAL.includes(each.kind) && each.phase !== 'protected');
}

function bootViolations(evidence: Evidence): readonly string[] {
  const boots = bootsOf(evidence.logs.flatMap(operationsOf));
  return boots.slice(1).flatMap(({ boot, firstMs }) => {
    const blows = blowsBefore(evidence, firstMs);
    if (mayEndGuest(blows, evidence.ownDeaths.length)) return [];
    return [
      `the guest began anew (boot ${boot}, first heard at ${firstMs} ms) after ${blows.map(describeBlown).join(', ') || 'no blow at all'}`,
    ];
  });
}

/** The first connection of a lasting client ends only with the guest: what answers after it broke must be another boot. */
function connectionViolations({ logs }: Evidence): readonly string[] {
  return logs
    .filter(({ client }) => LASTING.includes(client))
    .flatMap(({ client, lines }) => {
      const at = lines.findIndex((line) => line.kind === 'broken');
      const broken = lines[at];
      if (broken?.kind !== 'broken') return [];
      const before = lines.slice(0, at).findLast(isAnswer);
      const after = lines.slice(at).find(isAnswer);
      if (before === undefined || after === undefined || before.boot !== after.boot) return [];
      return [`${client}: the connection broke at ${broken.monoMs} ms (${broken.detail}) though the guest ran on`];
    });
}

const isAnswer = (line: ProbeLine): line is Extract<ProbeLine, { kind: 'answer' | 'value' }> =>
  line.kind === 'answer' || line.kind === 'value';

export const describeBlown = ({ round, kind, target, host, phase, side }: Blown): string =>
  `${kind} of ${target} ${host} in round ${round + 1} (${phase ?? 'phase unknown'}${side === null ? '' : `, ${side}`})`;

// ---------------------------------------------------------------- the summary

export interface Told {
  readonly minutes: number;
  readonly seed: number;
  readonly rounds: number;
  readonly skipped: number;
  readonly violations: readonly string[];
}

export function summaryText(evidence: Evidence, told: Told): string {
  const { blown, logs, history } = evidence;
  const logged = logs.flatMap(operationsOf);
  const unknown = logged.filter((each) => each.operation.returned === null).length;
  const rows = history
    .filter((entry) => entry.to === 'verdict' || ['died-alone', 'both-dead'].includes(entry.row))
    .map((entry) => entry.row);
  const gaps = logs.filter(({ client }) => LASTING.includes(client)).map(({ lines }) => maxGap(lines)?.ms ?? 0);
  const transfers = logs.flatMap(({ lines }) => lines.filter((line) => line.kind === 'transfer')).length;
  const standstills = logs.flatMap(({ client, lines }) =>
    LASTING.includes(client) ? [] : lines.filter((line) => line.kind === 'broken').map(() => client),
  );
  return [
    `chaos of seed ${told.seed}: ${told.minutes.toFixed(1)} minutes, ${told.rounds} rounds, ${blown.length} faults (${told.skipped} left out because the part was struck already)`,
    `  faults: ${count(blown.map((each) => each.kind))}`,
    `  verdicts: ${count(rows)}`,
    `  edges in the history: ${history.length}; boots of the guest: ${bootsOf(logged).length}; QEMUs that ended by themselves: ${evidence.ownDeaths.length}`,
    `  operations: ${logged.length} on the counter (${unknown} without a known outcome), ${transfers} uploads and downloads`,
    `  frames of the line protocol at the hosts' ports: ${[...evidence.emissions.frames.values()].reduce((sum, each) => sum + each.length, 0)}${evidence.emissions.hole === null ? '' : `, not all (${evidence.emissions.hole})`}`,
    `  longest gap of a lasting client: ${Math.round(Math.max(0, ...gaps))} ms; other connections that broke: ${count(standstills)}`,
    `  violations: ${told.violations.length}`,
    ...told.violations.slice(0, 40).map((each) => `    VIOLATION: ${each}`),
  ].join('\n');
}

/** Each word with how often it comes, the most frequent first. */
function count(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.length === 0 ? 'none' : sorted.map(([word, times]) => `${word} ${times}`).join(', ');
}
