// One outage of etcd beside a protected pair: members are taken away for a while and come back. Until all is right again nothing may happen to
// the pair, and what the status says is held against what etcd itself answers.

import { coloctlEnvironment, members, type LabPlan } from '../../../deploy/lab/plan.js';
import { messageOf, tryRun, waitFor } from '../../../deploy/lab/command.js';
import { maxGap } from '../../../deploy/lab/probe-analysis.js';
import type { Prober } from '../../../deploy/lab/prober.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { programs } from '../../../deploy/lab/tree.js';
import type { Told } from '../told.js';
import { saysNoQuorum, type StatusEye } from '../watch/eye.js';
import { stillnessOf, type PairSeen, type Stillness } from '../watch/pair.js';
import type { QuorumReads } from '../watch/reads.js';
import { openVigil, pairNow } from '../watch/vigil.js';
import { leaderOf, takeAway } from './etcd.js';
import { losesQuorum, membersStruck, nameOfOutage, type OutageKind } from './table.js';

/** What all outages of a bench share. */
export interface Stage {
  readonly plan: LabPlan;
  readonly vm: string;
  /** Adds to the guest's counter. */
  readonly client: Prober;
  /** Reads the guest's clock. */
  readonly clock: Prober;
  readonly told: Told;
  readonly reads: QuorumReads;
  readonly eye: StatusEye;
  /** What the eye holds to be right from now on. */
  expect(pair: PairSeen): void;
  readonly signal: AbortSignal;
}

export interface Outage {
  readonly kind: OutageKind;
  readonly seconds: number;
  /** Loss -> status says "no etcd quorum" with exit 5. NaN where there is a quorum all the time. */
  readonly noticedMs: number;
  /** The quorum's return, as etcd answers it -> status right with exit 0. Without a loss: members come back -> the same. */
  readonly rightMs: number;
  /** Longest time for which etcd itself answered no linearizable read. */
  readonly unreadMs: number;
  /** Longest wait of the client. */
  readonly gapMs: number;
  readonly still: Stillness;
  readonly stillBefore: Stillness;
  readonly wrong: readonly string[];
}

/** The promise: everything goes on by itself within two seconds of the quorum's return. */
export const RIGHT_MS = 2_000;
/** So long is waited for what was promised sooner, to tell how late it was. */
const PATIENCE_MS = 60_000;
const WELL_MS = 180_000;
const ANSWER_MS = 60_000;
/** Answers before and after, so that a wait has an edge on both sides. */
export const CALM_ANSWERS = 15;
/** The guest's clock is looked at for so long before each outage, to know what checkpoints cost. */
const CALM_MS = 3_000;
const COLOCTL_MS = 15_000;

/** Everything well, and the pair as it is then. */
export async function untilWell({ plan, vm, told, eye, expect, signal }: Stage): Promise<PairSeen> {
  const since = monoMs();
  await told.untilVm(vm, 'protected', WELL_MS, (each) => each.phase === 'protected' && each.sides.length === 2);
  const pair = await pairNow(plan, told, vm);
  expect(pair);
  await eye.until('status in which all is right', Math.max(since, monoMs()), WELL_MS, (look) => look.right, signal);
  return pair;
}

export async function untilMono(atMs: number, signal: AbortSignal): Promise<void> {
  const boundMs = Math.max(0, atMs - monoMs()) + 60_000;
  await waitFor({ what: 'instant that was waited for', boundMs, everyMs: 10, signal }, () => (monoMs() >= atMs ? true : null));
}

export async function oneOutage(stage: Stage, kind: OutageKind, seconds: number, round: number): Promise<Outage> {
  const { plan, client, clock, eye, signal } = stage;
  const pair = await untilWell(stage);
  const calmMs = monoMs();
  await Promise.all([client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal), untilMono(calmMs + CALM_MS, signal)]);
  const names = membersStruck(
    kind.struck,
    await leaderOf(plan),
    members(plan).map((each) => each.name),
    round,
  );
  const vigil = openVigil(plan, pair);
  try {
    const lossMs = monoMs();
    const away = await takeAway(plan, names, kind.manner);
    const wrong: string[] = [];
    let noticedMs = Number.NaN;
    try {
      if (losesQuorum(kind)) noticedMs = await noticed(stage, lossMs, wrong);
      await untilMono(lossMs + seconds * 1_000, signal);
      wrong.push(...lastingly(eye, kind, lossMs, noticedMs));
    } finally {
      await away.mend();
    }
    const backMs = monoMs();
    const returnMs = losesQuorum(kind) ? await stage.reads.returned(backMs, PATIENCE_MS, signal) : backMs;
    const right = await eye.until('status that is right again', returnMs, PATIENCE_MS, (look) => look.right, signal);
    const rightMs = right.monoMs - returnMs;
    if (rightMs > RIGHT_MS) wrong.push(`right only ${Math.round(rightMs)} ms after the quorum's return`);
    wrong.push(...(await coloctlSays(plan, 0, null)));
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
    const endMs = monoMs();
    await vigil.stop();
    wrong.push(...vigil.wrong());
    if (vigil.looks() === 0) wrong.push('no agent was heard all the time, so nobody knows');
    const still = stillnessOf(clock.lines(), lossMs, endMs);
    return {
      kind,
      seconds,
      noticedMs,
      rightMs,
      unreadMs: losesQuorum(kind) ? returnMs - lossMs : stage.reads.longestGap(lossMs),
      gapMs: maxGap(client.lines(), lossMs)?.ms ?? Number.NaN,
      still,
      stillBefore: stillnessOf(clock.lines(), calmMs, lossMs),
      wrong: [...wrong, ...stoppedIn(still)],
    };
  } finally {
    await vigil.stop();
  }
}

/** Three seconds are no checkpoint. */
const LONGEST_STILL_MS = 3_000;

function stoppedIn(still: Stillness): readonly string[] {
  if (still.lastedMs === 0) return ["the guest's clock could not be read"];
  return still.longestMs > LONGEST_STILL_MS ? [`the guest's clock stood still for ${Math.round(still.longestMs)} ms`] : [];
}

/** Loss -> the status says so; then an operator's own program is asked, too. */
async function noticed({ plan, eye, signal }: Stage, lossMs: number, wrong: string[]): Promise<number> {
  const look = await eye.until('status that says "no etcd quorum"', lossMs, PATIENCE_MS, saysNoQuorum, signal);
  wrong.push(...(await coloctlSays(plan, 5, 'no etcd quorum')));
  return look.monoMs - lossMs;
}

/** `exit`: what `coloctl status` must exit with, and `text` what it must say. */
async function coloctlSays(plan: LabPlan, exit: number, text: string | null): Promise<readonly string[]> {
  try {
    const environment = coloctlEnvironment(plan);
    const ran = await tryRun(process.execPath, [programs.coloctl, 'status'], { deadlineMs: COLOCTL_MS, environment });
    if (ran.status === exit && (text === null || `${ran.stdout}${ran.stderr}`.includes(text))) return [];
    return [`coloctl status: exit ${ran.status}, not ${exit}: ${`${ran.stdout}${ran.stderr}`.trim().slice(0, 300)}`];
  } catch (error) {
    return [messageOf(error)];
  }
}

/** With a quorum it is never said that there is none; without one it is said until it is back. */
function lastingly(eye: StatusEye, kind: OutageKind, lossMs: number, noticedMs: number): readonly string[] {
  const since = losesQuorum(kind) ? lossMs + noticedMs : lossMs;
  const against = eye.changes(since).find((look) => saysNoQuorum(look) !== losesQuorum(kind));
  if (against === undefined) return [];
  const afterMs = Math.round(against.askedMonoMs - lossMs);
  return [`${nameOfOutage(kind)}: ${afterMs} ms after the loss status exits with ${against.exit}: ${against.problem || 'no problem'}`];
}
