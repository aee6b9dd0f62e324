// One strike: everything well and the leaders in their places, then the fault, then what followed: who went on, how soon, what the client
// noticed, and whether all is well again once the fault is undone.

import { LabError, waitFor } from '../../../deploy/lab/command.js';
import { clusterStatus, type ClusterStatus, type VmState } from '../../../deploy/lab/coloctl.js';
import { members, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { gapAround, gapOfFault } from '../../../deploy/lab/probe-analysis.js';
import type { Prober } from '../../../deploy/lab/prober.js';
import { openEar, type Ear } from './ear.js';
import { readyHand, type Hand } from './hands.js';
import { coordinatorLeader, leadEtcdFrom, leadFrom, untilEtcdWhole } from './leaders.js';
import { openLogs, type Logs } from './logs.js';
import { breaksPair, FAULTS, type FaultClass } from './table.js';
import { isEdgeTo, releasesOf, splitEpochs, timelineOf, type Timeline } from './timeline.js';

export interface Struck {
  /** Fault -> the guest runs alone; for a coordinator: fault -> another one leads. NaN where nothing is to happen. */
  readonly aloneMs: number;
  /** Of the fault itself: what the next pair costs is not in it. */
  readonly gapMs: number;
  /** Fault -> the next pair is proven. NaN where nobody is to move. */
  readonly protectedMs: number;
  /** Fault undone -> every host ready and the VM protected. */
  readonly healedMs: number;
  readonly rows: readonly string[];
  readonly survivor: string | null;
  readonly timeline: Timeline;
  /** What broke a rule; empty = nothing. */
  readonly wrong: readonly string[];
}

const WELL_MS = 180_000;
const ANSWER_MS = 60_000;
/** A verdict that takes longer is none. */
const VERDICT_MS = 60_000;
/** Answers before a fault, so that its gap has an edge on both sides, and after it. */
const CALM_ANSWERS = 15;
const GAP_WINDOW_MS = 15_000;
const COORDINATOR_MS = 30_000;

export interface Stage {
  readonly plan: LabPlan;
  readonly vm: string;
  readonly client: Prober;
  readonly signal: AbortSignal;
}

export async function strikeOnce(stage: Stage, each: FaultClass): Promise<Struck> {
  const { plan, vm, client } = stage;
  const kind = FAULTS[each.fault];
  const before = await untilWell(stage);
  const host = await placed(stage, each, before);
  const hand = await readyHand(plan, vm, each.fault, host);
  const ear = await openEar(plan, before);
  const logs = openLogs(plan);
  // Captures that begin are a load, which kept all agents of this machine waiting for 200 to 450 ms: only then is it calm.
  const calm = client.waitForMore(CALM_ANSWERS, ANSWER_MS, stage.signal);
  const seen = await calm.then(() => follow(stage, each, { host, hand, logs, ear, before })).finally(() => ear.close());
  const { struckAt } = seen;
  const timeline = timelineOf(logs.events(), struckAt.wallMs, host.name);
  const verdicts = logs.events().filter(isEdgeTo('verdict'));
  const { survivor, ledMs, gapMs, healedMs } = seen;
  return {
    aloneMs: kind.ofCoordinator ? ledMs : (timeline.released ?? Number.NaN),
    gapMs,
    protectedMs: timeline.protected ?? Number.NaN,
    healedMs,
    rows: verdicts.map((edge) => String(edge.fields['row'])),
    survivor,
    timeline,
    wrong: [...wrongOf(each, before, seen.after, verdicts.length, survivor), ...splitsOf(logs), ...seen.heard],
  };
}

interface Tools {
  readonly host: HostPlan;
  readonly hand: Hand;
  readonly logs: Logs;
  readonly ear: Ear;
  readonly before: VmState;
}

interface Followed extends Outcome {
  readonly struckAt: Now;
  readonly gapMs: number;
  readonly healedMs: number;
  readonly heard: readonly string[];
  readonly after: VmState;
}

/** The fault, and all until it is well again. A strike that is cut short undoes its fault, so that the rest can be looked at. */
async function follow(stage: Stage, each: FaultClass, { host, hand, logs, ear, before }: Tools): Promise<Followed> {
  const moves = FAULTS[each.fault].survivor !== 'nobody';
  let mended = false;
  const struckAt = now();
  try {
    await hand.strike();
    const outcome = moves ? await failover(stage, logs) : await nobodyMoves(stage, each, logs, struckAt);
    const aloneMs = timelineOf(logs.events(), struckAt.wallMs, host.name).released;
    const lines = stage.client.lines();
    const gap =
      aloneMs === undefined
        ? gapAround(lines, struckAt.monoMs, GAP_WINDOW_MS)
        : gapOfFault(lines, struckAt.monoMs, struckAt.monoMs + aloneMs);
    const gapMs = gap?.ms ?? Number.NaN;
    const heard = await ear.judge(stage.vm, struckAt.wallMs, before, logs.events(), outcome.survivor, breaksPair(each));
    const began = now().monoMs;
    mended = true;
    await hand.mend();
    const after = await untilWell(stage);
    return { ...outcome, struckAt, gapMs, heard, after, healedMs: now().monoMs - began };
  } finally {
    if (!mended) await hand.mend();
  }
}

interface Now {
  readonly wallMs: number;
  readonly monoMs: number;
}

const now = (): Now => ({ wallMs: performance.timeOrigin + performance.now(), monoMs: Number(process.hrtime.bigint()) / 1e6 });

const vmIn = (status: ClusterStatus, vm: string): VmState | undefined => status.vms.find((each) => each.name === vm);

async function untilWell({ plan, vm, signal }: Stage): Promise<VmState> {
  await untilEtcdWhole(plan);
  let last = 'no coordinator answered';
  const wait = { what: 'cluster in which all is well', boundMs: WELL_MS, everyMs: 100, signal };
  return waitFor(wait, async () => {
    const status = await clusterStatus(plan);
    const found = status === null ? undefined : vmIn(status, vm);
    if (status === null || found === undefined) return null;
    last = `${found.phase}: ${found.reason}; ${status.hosts.map((each) => `${each.name} ${each.state}`).join(', ')}`;
    return found.phase === 'protected' && status.hosts.every((each) => each.state === 'ready') ? found : null;
  }).catch((error: unknown) => {
    throw signal.aborted ? error : new LabError(`not well within ${WELL_MS} ms: ${last}`);
  });
}

/** Puts the leaders where this class wants them, and answers which host is to be struck. */
async function placed({ plan }: Stage, each: FaultClass, pair: VmState): Promise<HostPlan> {
  const spare = members(plan).find((host) => host.name !== pair.primary && host.name !== pair.secondary);
  const struck =
    each.role === null ? spare : plan.hosts.find((host) => host.name === (each.role === 'primary' ? pair.primary : pair.secondary));
  if (spare === undefined || struck === undefined) throw new LabError('the lab needs a third host with etcd and a coordinator');
  await leadEtcdFrom(plan, each.place === 'etcd' || each.place === 'both' ? struck : spare);
  const carriesLeader = each.place === 'coordinator' || each.place === 'both';
  await leadFrom(plan, carriesLeader ? struck : spare, carriesLeader || FAULTS[each.fault].ofCoordinator);
  return struck;
}

interface Outcome {
  readonly survivor: string | null;
  readonly ledMs: number;
}

async function failover({ client, signal }: Stage, logs: Logs): Promise<Outcome> {
  const wait = { what: 'an executed failover', boundMs: VERDICT_MS, everyMs: 10, signal };
  const executed = await logs.until(wait, (event) => {
    const to = event.event === 'edge' ? String(event.fields['to']) : '';
    if (to === 'stopped' || to === 'failed') throw new LabError(`no failover but ${String(event.fields['row'])}`);
    return to === 'executed' ? event : null;
  });
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
  const release = releasesOf(logs.events()).findLast((each) => each.epoch < Number(executed.fields['epoch']));
  return { survivor: release?.host ?? null, ledMs: Number.NaN };
}

/** The client is followed for a while, and the epoch must be what it was. */
async function nobodyMoves({ plan, signal }: Stage, each: FaultClass, logs: Logs, struckAt: Now): Promise<Outcome> {
  const { watchMs, ofCoordinator } = FAULTS[each.fault];
  const ledMs = ofCoordinator ? await ledAfter(logs, struckAt, signal) : Number.NaN;
  await waitFor({ what: 'the end of the watch', boundMs: watchMs * 4, everyMs: 50, signal }, () =>
    now().monoMs - struckAt.monoMs > watchMs ? true : null,
  );
  if (ofCoordinator && (await coordinatorLeader(plan)) === null) throw new LabError('nobody leads');
  return { survivor: null, ledMs };
}

function ledAfter(logs: Logs, struckAt: Now, signal: AbortSignal): Promise<number> {
  const wait = { what: 'another leading coordinator', boundMs: COORDINATOR_MS, everyMs: 10, signal };
  return logs.until(wait, (event) => (event.event === 'leadership-won' ? event.atMs - struckAt.wallMs : null));
}

function wrongOf(each: FaultClass, before: VmState, after: VmState, verdicts: number, survivor: string | null): readonly string[] {
  const expected = FAULTS[each.fault].survivor;
  if (expected === 'nobody')
    return after.epoch === before.epoch ? [] : [`epoch ${before.epoch} -> ${after.epoch} although nobody was to move`];
  const right = expected === 'primary' || each.role === 'secondary' ? before.primary : before.secondary;
  const wrong: string[] = [];
  if (survivor !== right) wrong.push(`${survivor ?? 'nobody'} went on, not ${right ?? '?'}`);
  if (after.primary !== right) wrong.push(`the guest ended on ${after.primary ?? '?'}, not on ${right ?? '?'}`);
  if (verdicts !== 1) wrong.push(`${verdicts} verdicts`);
  return wrong;
}

function splitsOf(logs: Logs): readonly string[] {
  return splitEpochs(releasesOf(logs.events())).map((epoch) => `TWO SIDES RAN ALONE in epoch ${epoch}`);
}
