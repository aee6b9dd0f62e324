// The tables of the bench of calm, as markdown. Pure.

import { quantile } from '../../../deploy/lab/probe-analysis.js';
import { markdown } from '../markdown.js';
import { aSecond } from '../outages/result.js';
import type { Quiet } from './quiet.js';

export interface StormSeen {
  readonly seed: number;
  /** Busy loops, one a processor. */
  readonly processors: number;
  readonly percent: number;
  /** How long each pause of an agent or a coordinator lasted, milliseconds. */
  readonly pauses: readonly number[];
  /** On the management network. */
  readonly frames: { readonly seen: number; readonly dropped: number };
  readonly quiet: Quiet;
}

export interface ActSeen {
  readonly what: string;
  readonly seconds: number;
  /** Undone -> status right with exit 0. */
  readonly rightMs: number;
  readonly quiet: Quiet;
}

export interface CalmResult {
  /** Null = there was none. */
  readonly storm: StormSeen | null;
  readonly acts: readonly ActSeen[];
  readonly problems: readonly string[];
  readonly answers: number;
  readonly records: number;
}

export function problemsOf({ storm, acts, problems }: CalmResult): readonly string[] {
  return [
    ...(storm === null ? [] : storm.quiet.wrong.map((each) => `storm of seed ${storm.seed}: ${each}`)),
    ...acts.flatMap((act) => act.quiet.wrong.map((each) => `${act.what}: ${each}`)),
    ...problems,
  ];
}

export function textOf(result: CalmResult): string {
  const problems = problemsOf(result);
  const verdict =
    problems.length === 0
      ? `No false alarm: no verdict, no other epoch, no guest paused, ${result.answers} answers over one connection, no counter missing, all of ` +
        `${result.records} acknowledged records on the disk.`
      : ['IT DID NOT HOLD:', ...problems].join('\n  ');
  return [
    ...(result.storm === null ? [] : [stormTable(result.storm)]),
    ...(result.acts.length === 0 ? [] : [actTable(result.acts)]),
    `${verdict}\n`,
  ].join('\n');
}

function stormTable({ seed, processors, percent, pauses, frames, quiet }: StormSeen): string {
  const share = ((100 * frames.dropped) / frames.seen).toFixed(1);
  return markdown(
    ['in the storm', ''],
    [
      ['lasted', `${(quiet.lastedMs / 60_000).toFixed(1)} min, seed ${seed}`],
      ['busy loops at normal priority', String(processors)],
      ['pauses of agents and coordinators', `${pauses.length}; ms as median, max: ${middle(pauses)}, ${greatest(pauses)}`],
      [`frames dropped on the management network (${percent} %)`, `${frames.dropped} of ${frames.seen} (${share} %)`],
      ['doubts in the logs', doubtsOf(quiet)],
      ['verdicts and other decisions', String(quiet.decisions.length)],
      ["client's answers; its longest wait, ms", `${quiet.answers}; ${Math.round(quiet.gapMs)}`],
      ['guest stood still, ms a second; longest, ms', `${aSecond([quiet.still])}; ${Math.round(quiet.still.longestMs)}`],
      ['rules', quiet.wrong.length === 0 ? 'kept' : 'BROKEN'],
    ],
  );
}

function actTable(acts: readonly ActSeen[]): string {
  const rows = acts.map(({ what, seconds, rightMs, quiet }) => [
    what,
    String(seconds),
    String(quiet.decisions.length),
    String(Math.round(rightMs)),
    String(Math.round(quiet.gapMs)),
    doubtsOf(quiet),
    quiet.wrong.length === 0 ? 'kept' : 'BROKEN',
  ]);
  return markdown(
    ['what', 's', 'decisions', 'undone -> right, exit 0, ms', "client's longest wait, ms", 'doubts in the logs', 'rules'],
    rows,
  );
}

const doubtsOf = ({ suspicions }: Quiet): string => suspicions.map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
const middle = (values: readonly number[]): string => (values.length === 0 ? '-' : String(Math.round(quantile(values, 0.5))));
const greatest = (values: readonly number[]): string => (values.length === 0 ? '-' : String(Math.round(Math.max(...values))));
