// A fault while etcd's majority is away: nobody is let go before the quorum is back, and then the right side is, by one verdict.

import { LabError, waitFor } from '../../../deploy/lab/command.js';
import { prepareCut } from '../../../deploy/lab/network.js';
import { LINKS, members, type HostPlan } from '../../../deploy/lab/plan.js';
import { maxGap } from '../../../deploy/lab/probe-analysis.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { sendSignal } from '../../../deploy/lab/process-identity.js';
import { qemuOf, rebootHost } from '../../support/strikes.js';
import { openLogs, type LogEvent, type Logs } from '../faults/logs.js';
import { isEdgeTo, releasesOf, splitEpochs } from '../faults/timeline.js';
import { saysNoQuorum } from '../watch/eye.js';
import type { PairSeen } from '../watch/pair.js';
import { takeAway, type Away } from './etcd.js';
import { CALM_ANSWERS, untilMono, untilWell, type Stage } from './outage.js';
import { isDark, membersAway, strikesPrimary, type Fault, type Manner } from './table.js';

export interface FaultInOutage {
  readonly fault: Fault;
  readonly manner: Manner;
  /** Members that were away. */
  readonly away: readonly string[];
  /** The quorum's return, as etcd answers it -> the verdict is saved. */
  readonly verdictMs: number;
  /** The quorum's return -> the guest runs alone. */
  readonly aloneMs: number;
  /** Longest wait of the client, from the fault on; the outage is in it. */
  readonly gapMs: number;
  readonly wrong: readonly string[];
}

const PATIENCE_MS = 60_000;
const ANSWER_MS = 120_000;

/** `seconds`: how long the majority is away; the fault comes as soon as the status says so. */
export async function faultInOutage(stage: Stage, fault: Fault, manner: Manner, seconds: number, round: number): Promise<FaultInOutage> {
  const { plan, client, eye, signal } = stage;
  const pair = await untilWell(stage);
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
  const struckName = strikesPrimary(fault) ? pair.primary : pair.secondary;
  const host = plan.hosts.find((each) => each.name === struckName);
  if (host === undefined) throw new LabError(`there is no host ${struckName}`);
  const names = membersAway(
    fault,
    struckName,
    members(plan).map((each) => each.name),
    round,
  );
  const logs = openLogs(plan);
  const strike = await readyStrike(stage, fault, host);
  const lossMs = monoMs();
  const away = await takeAway(plan, names, manner);
  let faultMs = Number.NaN;
  let dark = false;
  try {
    await eye.until('status that says "no etcd quorum"', lossMs, PATIENCE_MS, saysNoQuorum, signal);
    faultMs = monoMs();
    dark = isDark(fault);
    await strike();
    await untilMono(lossMs + seconds * 1_000, signal);
    const wrong = [...early(logs)];
    const seen = await whenBack(stage, away, names, dark ? host : null, logs);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
    const gapMs = maxGap(client.lines(), faultMs)?.ms ?? Number.NaN;
    await rest(stage, away, dark ? host : null);
    dark = false;
    const after = await untilWell(stage);
    return { fault, manner, away: names, ...seen, gapMs, wrong: [...wrong, ...wrongIn(fault, pair, after, logs.events())] };
  } finally {
    await rest(stage, away, dark ? host : null);
  }
}

async function readyStrike({ plan, vm }: Stage, fault: Fault, host: HostPlan): Promise<() => Promise<void> | void> {
  if (isDark(fault)) return prepareCut(plan, host, LINKS);
  const qemu = qemuOf(plan, vm, host);
  return () => {
    if (!sendSignal(qemu, 'SIGKILL')) throw new LabError(`process ${qemu.pid} had ended before it was struck`);
  };
}

/** Brings back whatever is away. Safe to repeat. */
async function rest({ plan }: Stage, away: Away, dark: HostPlan | null): Promise<void> {
  if (dark === null) return away.mend();
  await away.mend(members(plan).flatMap((each) => (each === dark ? [] : [each.name])));
  // It starts its own member itself.
  await rebootHost(plan, dark);
}

/** The quorum comes back, though perhaps a dark host does not. */
async function whenBack(stage: Stage, away: Away, names: readonly string[], dark: HostPlan | null, logs: Logs) {
  const backMs = monoMs();
  await away.mend(names.filter((each) => each !== dark?.name));
  const returnMs = await stage.reads.returned(backMs, PATIENCE_MS, stage.signal);
  const returnWallMs = performance.timeOrigin + performance.now() - (monoMs() - returnMs);
  const wait = { what: 'executed verdict', boundMs: PATIENCE_MS, everyMs: 10, signal: stage.signal };
  await logs.until(wait, (event) => (isEdgeTo('executed')(event) ? event : null));
  await waitFor({ ...wait, what: 'side that runs alone' }, () => releasesOf(logs.events())[0] ?? null);
  const at = (event: LogEvent | undefined): number => (event === undefined ? Number.NaN : event.atMs - returnWallMs);
  const events = logs.events();
  return { verdictMs: at(events.find(isEdgeTo('verdict'))), aloneMs: at(events.find((each) => each.event === 'released')) };
}

/** While there is no quorum nobody may decide, and nobody be let go. */
function early(logs: Logs): readonly string[] {
  return logs
    .events()
    .filter((each) => each.event === 'released' || each.event === 'edge')
    .map((each) => `without a quorum: ${each.event} ${String(each.fields['row'] ?? '')} on ${each.host}`);
}

function wrongIn(fault: Fault, before: PairSeen, after: PairSeen, events: readonly LogEvent[]): readonly string[] {
  const right = strikesPrimary(fault) ? before.secondary : before.primary;
  const releases = releasesOf(events);
  const verdicts = events.filter(isEdgeTo('verdict'));
  const wrong: string[] = [];
  const first = releases[0]?.host ?? 'nobody';
  if (first !== right) wrong.push(`${first} went on, not ${right}`);
  if (after.primary !== right) wrong.push(`the guest ended on ${after.primary}, not on ${right}`);
  if (verdicts.length !== 1) wrong.push(`${verdicts.length} verdicts: ${verdicts.map((each) => String(each.fields['row'])).join(', ')}`);
  return [...wrong, ...splitEpochs(releases).map((epoch) => `TWO SIDES RAN ALONE in epoch ${epoch}`)];
}
