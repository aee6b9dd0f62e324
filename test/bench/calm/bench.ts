// `npm run bench -- calm`: a healthy pair in bad times. First a storm: processors taken, daemons that stand still for a moment, lost frames.
// Then agents are away for long, and all hosts are lost to the leader at once. There may be no verdict. It can be cut short, and prints what
// it has.

import { availableParallelism } from 'node:os';
import { LabError, messageOf } from '../../../deploy/lab/command.js';
import { members, type LabPlan } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { startProber } from '../../../deploy/lab/prober.js';
import { collectEvidence } from '../../e2e/cluster/evidence.js';
import { Rng } from '../../sim/world/rng.js';
import { loseFrames, pauseAtRandom, takeProcessors } from '../../support/troubles.js';
import { endChapter, startClient } from '../faults/chapter.js';
import { untilMono } from '../outages/outage.js';
import { Told } from '../told.js';
import { openEye } from '../watch/eye.js';
import type { PairSeen } from '../watch/pair.js';
import { pairNow } from '../watch/vigil.js';
import { actsFor, type Act } from './acts.js';
import { keptQuiet, type Quiet, type Watched } from './quiet.js';
import { problemsOf, textOf, type ActSeen, type CalmResult, type StormSeen } from './result.js';

const VM = 'demo';
/** Each answer tells a clock, in which the two sides differ, and so costs a checkpoint: often would be the load that is measured under. */
const CLOCK_PERIOD_MS = 1_000;
const PAUSE_MS = 200;
/** Between two pauses of one process, on average. */
const CALM_MS = 3_000;
const LOSS_PERCENT = 5;
const REPORT_EVERY_MS = 60_000;
const RIGHT_MS = 120_000;

export interface CalmOptions {
  readonly minutes: number;
  readonly seed: number;
  /** How long one agent is away, and how long everybody is. */
  readonly aloneSeconds: number;
  readonly allSeconds: number;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

export async function benchCalm(plan: LabPlan, options: CalmOptions): Promise<{ readonly text: string; readonly held: boolean }> {
  const { report, signal } = options;
  const told = new Told(plan);
  const pair = await pairNow(plan, told, VM);
  const client = await startClient(plan, signal);
  const clock = startProber(plan, { probe: 'read', periodMs: CLOCK_PERIOD_MS, reconnect: true });
  const watched: Watched = { plan, client, clock, signal };
  const acts: ActSeen[] = [];
  const problems: string[] = [];
  let storm: StormSeen | null = null;
  try {
    if (options.minutes > 0) storm = await weather(watched, pair, options);
    if (storm !== null && storm.quiet.wrong.length > 0)
      throw new LabError('the storm was not calm: what follows would only cover the traces');
    for (const act of actsFor(options.aloneSeconds, options.allSeconds)) acts.push(await carryOut(watched, told, act, report));
  } catch (error) {
    if (!signal.aborted) problems.push(messageOf(error));
    report(signal.aborted ? 'cut short' : `it ends here: ${messageOf(error)}`);
  }
  const wrongBefore = problemsOf({ storm, acts, problems, answers: 0, records: 0 });
  if (wrongBefore.length > 0) await collectEvidence(plan, 'calm');
  await clock.stop();
  told.close();
  const end = await endChapter(plan, VM, client).catch((error: unknown) => ({ answers: 0, records: 0, problems: [messageOf(error)] }));
  const result: CalmResult = { ...end, storm, acts, problems: [...problems, ...end.problems] };
  return { text: textOf(result), held: problemsOf(result).length === 0 };
}

/** All of it at once, for so many minutes. */
async function weather(watched: Watched, pair: PairSeen, { minutes, seed, report }: CalmOptions): Promise<StormSeen> {
  const { plan, signal } = watched;
  const daemons = [
    ...plan.hosts.map((host) => ({ host, daemon: 'agent' as const })),
    ...members(plan).map((host) => ({ host, daemon: 'coordinator' as const })),
  ];
  const processors = availableParallelism();
  let pauses: readonly number[] = [];
  let frames = { seen: Number.NaN, dropped: Number.NaN };
  const quiet = await keptQuiet(watched, pair, async (logs) => {
    const free = await takeProcessors(plan.hosts, processors);
    const loss = await loseFrames(plan, LOSS_PERCENT);
    const pausing = pauseAtRandom(plan, daemons, { rng: new Rng(seed), pauseMs: PAUSE_MS, calmMs: CALM_MS });
    try {
      const endMs = monoMs() + minutes * 60_000;
      while (monoMs() < endMs) {
        await untilMono(Math.min(endMs, monoMs() + REPORT_EVERY_MS), signal);
        const edges = logs.events().filter((each) => each.event === 'edge').length;
        report(`storm: ${Math.round((endMs - monoMs()) / 1_000)} s left, ${pausing.lastedMs.length} pauses, ${edges} edges`);
      }
    } finally {
      await pausing.stop();
      frames = await loss.counts();
      await loss.stop();
      await free();
      pauses = pausing.lastedMs;
    }
  });
  report(`storm: over; ${saidOf(quiet)}`);
  return { seed, processors, percent: LOSS_PERCENT, pauses, frames, quiet };
}

async function carryOut(watched: Watched, told: Told, act: Act, report: (line: string) => void): Promise<ActSeen> {
  const { plan, signal } = watched;
  const pair = await pairNow(plan, told, VM);
  const eye = openEye(plan, () => pair);
  try {
    await eye.until('status in which all is right', monoMs(), RIGHT_MS, (look) => look.right, signal);
    const leader = await told.leader();
    if (leader === null) throw new LabError('nobody leads');
    let rightMs = Number.NaN;
    const quiet = await keptQuiet(watched, pair, async () => {
      const undo = await act.begin(plan, pair, leader);
      await untilMono(monoMs() + act.seconds * 1_000, signal).finally(undo);
      const undoneMs = monoMs();
      rightMs = (await eye.until('status that is right again', undoneMs, RIGHT_MS, (look) => look.right, signal)).monoMs - undoneMs;
    });
    report(`${act.what} for ${act.seconds} s: right ${Math.round(rightMs)} ms afterwards; ${saidOf(quiet)}`);
    return { what: act.what, seconds: act.seconds, rightMs, quiet };
  } finally {
    await eye.stop();
  }
}

function saidOf({ decisions, suspicions, gapMs, wrong }: Quiet): string {
  const doubts = suspicions.map(([name, count]) => `${name} ${count}`).join(', ');
  return `${decisions.length} decisions, client waited ${Math.round(gapMs)} ms; doubts: ${doubts || 'none'}${wrong.length === 0 ? '' : `; WRONG: ${wrong.join('; ')}`}`;
}
