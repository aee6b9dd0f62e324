// A time in which nothing may happen to a protected pair, whatever is done around it: watched by processes, roles, epochs and a client, and
// then counted out of the logs.

import { maxGap } from '../../../deploy/lab/probe-analysis.js';
import type { Prober } from '../../../deploy/lab/prober.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { openLogs, type Logs } from '../faults/logs.js';
import { stillnessOf, type PairSeen, type Stillness } from '../watch/pair.js';
import { openVigil } from '../watch/vigil.js';
import { decisionsIn, suspicionsIn } from './suspicions.js';

export interface Quiet {
  readonly lastedMs: number;
  readonly suspicions: readonly (readonly [string, number])[];
  /** Verdicts, other edges, orders: there are to be none. */
  readonly decisions: readonly string[];
  readonly answers: number;
  /** Longest wait of the client. */
  readonly gapMs: number;
  readonly still: Stillness;
  readonly wrong: readonly string[];
}

export interface Watched {
  readonly plan: LabPlan;
  readonly client: Prober;
  /** Reads the guest's clock. */
  readonly clock: Prober;
  readonly signal: AbortSignal;
}

const ANSWER_MS = 120_000;
const ANSWERS_AFTER = 15;
/** No checkpoint stops a guest for so long, also where processors are taken. */
const LONGEST_STILL_MS = 3_000;

/** `course`: what is done meanwhile. It ends when everything is undone. */
export async function keptQuiet(
  { plan, client, clock, signal }: Watched,
  pair: PairSeen,
  course: (logs: Logs) => Promise<void>,
): Promise<Quiet> {
  const logs = openLogs(plan);
  const vigil = openVigil(plan, pair);
  const fromMs = monoMs();
  const before = client.lines().length;
  try {
    await course(logs);
    await client.waitForMore(ANSWERS_AFTER, ANSWER_MS, signal);
  } finally {
    await vigil.stop();
  }
  const untilMs = monoMs();
  const still = stillnessOf(clock.lines(), fromMs, untilMs);
  const decisions = decisionsIn(logs.events());
  return {
    lastedMs: untilMs - fromMs,
    suspicions: suspicionsIn(logs.events()),
    decisions,
    answers: client
      .lines()
      .slice(before)
      .filter((line) => line.kind === 'answer').length,
    gapMs: maxGap(client.lines(), fromMs)?.ms ?? Number.NaN,
    still,
    wrong: [...vigil.wrong(), ...decisions, ...blind(vigil.looks(), still)],
  };
}

function blind(looks: number, still: Stillness): readonly string[] {
  if (looks === 0) return ['no agent was heard all the time, so nobody knows'];
  if (still.lastedMs === 0) return ["the guest's clock could not be read"];
  return still.longestMs > LONGEST_STILL_MS ? [`the guest's clock stood still for up to ${Math.round(still.longestMs)} ms`] : [];
}
