// Actions on a pair: make it, prove it, and end it. The two failovers are the hot path of the whole product: nothing is asked there that
// the procedure itself does not ask, and the journal is written while QEMU works wherever the order of things allows.

import { COMMAND_MS, EVENT_HELD_BACK_MS, PROOF_AGAIN_MS, PROOF_MS } from '../core/bounds.js';
import { primaryFailover, secondaryFailover, secondaryParting } from '../core/procedures/failover.js';
import {
  liveResumeReplication,
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../core/procedures/resume.js';
import { forceCheckpointNow, primaryStart } from '../core/procedures/start.js';
import { mergingImages } from '../core/paths.js';
import { proofFailures } from '../core/proof.js';
import { forgetPair } from '../core/seen.js';
import { refreshDisk, reserveOwnDisks, stampParents } from './disk.js';
import { lookNow } from './look.js';
import { runSteps } from './procedure.js';
import type { ActionResult } from './tasks.js';
import { readQemuLog } from './unfit.js';
import type { Task, Vm } from './vm.js';
import { assert } from '../../shared/core/assert.js';
import { epoch } from '../../shared/core/ids.js';

const AGAIN: ActionResult = { kind: 'again' };
const FINISHED: ActionResult = { kind: 'finished' };
const failed = (step: string, error: string): ActionResult => ({ kind: 'failed', step, error });

export async function protect(vm: Vm, task: Task): Promise<ActionResult> {
  const { goal } = task;
  assert(goal.kind === 'protect', 'only `protect` makes a pair');
  const begun = await beginAttempt(vm, task);
  if (begun !== null) return begun;
  const isExSecondary = (vm.facts?.rewriters.length ?? 0) > 0;
  const stopCopy = isExSecondary ? secondaryResumeReplication : primaryResumeReplication;
  const live = vm.link?.capabilities.pauseBeforeSwitchover === true ? switchoverResumeReplication : liveResumeReplication;
  const done = await runSteps(vm, task, goal.method === 'live' ? live : stopCopy);
  return done.kind === 'done' ? AGAIN : done.result;
}

/** The seed's step 4, on a primary that was started to wait for it. */
export async function startPair(vm: Vm, task: Task): Promise<ActionResult> {
  const begun = await beginAttempt(vm, task);
  if (begun !== null) return begun;
  const done = await runSteps(vm, task, primaryStart);
  return done.kind === 'done' ? AGAIN : done.result;
}

/** What the last pair left behind is no evidence about the next one. */
async function beginAttempt(vm: Vm, task: Task): Promise<ActionResult | null> {
  const { qemu } = vm;
  const { clock } = vm.ports;
  assert(qemu !== null, 'a pair is made of a QEMU');
  const heldBack = (): number => (vm.pairEndedAt === null ? 0 : vm.pairEndedAt + EVENT_HELD_BACK_MS - clock.now());
  task.step = 'waits for the last events of the last pair';
  await vm.until(() => heldBack() <= 0, Math.max(0, heldBack()), task.abort.signal);
  task.step = 'reserves the space of its disks';
  const reserved = await reserveOwnDisks(vm, task.spec);
  if (!reserved.ok) return failed('reserve', reserved.error);
  if (vm.seen !== null) vm.seen = forgetPair(vm.seen, vm.facts?.running === true);
  const saved = await vm.saveQemu(qemu.born, () => ({ coloExited: false, provenFor: null, promised: null, unpromotable: null }));
  return saved.ok ? null : failed('journal', saved.error);
}

/** Repeats its questions until they agree: filters, chardevs and checkpoints settle within milliseconds of each other. */
export async function prove(vm: Vm, task: Task): Promise<ActionResult> {
  const { clock } = vm.ports;
  const { qemu } = vm;
  assert(qemu !== null, 'only a QEMU can be proven');
  if ((vm.seen?.checkpoints ?? 0) === 1) {
    const forced = await runSteps(vm, task, forceCheckpointNow);
    if (forced.kind === 'ended') return forced.result;
  }
  const until = clock.now() + PROOF_MS + task.spec.checkpointDelayMs;
  for (;;) {
    await lookNow(vm);
    const failures =
      vm.facts === null || vm.seen === null ? ['QEMU does not answer'] : proofFailures('primary', vm.facts, vm.seen, vm.names);
    if (failures.length === 0) break;
    if (clock.now() >= until || isOver(vm) || task.abort.signal.aborted) return failed('proof', failures.join('; '));
    await vm.change(PROOF_AGAIN_MS, task.abort.signal);
  }
  const saved = await vm.saveQemu(qemu.born, () => ({ promised: task.epoch, provenFor: task.epoch, aloneSince: null }));
  return saved.ok ? FINISHED : failed('journal', saved.error);
}

/** What was seen of this pair does not become unseen: the proof is waited for in vain. */
function isOver({ seen }: Vm): boolean {
  return seen !== null && (seen.coloExit !== null || seen.breaks.length > 0 || seen.peerDiskError);
}

/** The secondary gets no order for it: it proves its side as soon as it can, for the epoch that it was made ready for. */
export async function proveSecondary(vm: Vm): Promise<void> {
  const { qemu, facts, seen } = vm;
  if (qemu === null || facts === null || seen === null) return;
  if (qemu.startedAs !== 'secondary' || qemu.readyFor === null || qemu.provenFor !== null || qemu.aloneSince !== null) return;
  if (facts.colo.mode !== 'secondary' || qemu.unpromotable !== null) return;
  if (proofFailures('secondary', facts, seen, vm.names).length > 0) return;
  const { readyFor } = qemu;
  await vm.saveQemu(qemu.born, () => ({ promised: readyFor, provenFor: readyFor }));
  vm.ports.log.info({ vm: vm.name, epoch: readyFor }, 'secondary-proven');
}

export async function forceCheckpoint(vm: Vm, task: Task): Promise<ActionResult> {
  // Before the first RESUME of a pair QEMU's timer for it is a null pointer.
  if ((vm.seen?.checkpoints ?? 0) === 0 && vm.qemu?.promised === null)
    return failed('force-checkpoint', 'the pair has shown no checkpoint yet');
  const done = await runSteps(vm, task, forceCheckpointNow);
  return done.kind === 'done' ? FINISHED : done.result;
}

export async function rollback(vm: Vm, task: Task): Promise<ActionResult> {
  const done = await runSteps(vm, task, rollbackProtection);
  vm.pairEndedAt = vm.ports.clock.now();
  if (done.kind === 'done') return AGAIN;
  await lookNow(vm);
  // The pair was reached after all: then it is Primary Failover.
  return vm.situation() === 'primary' ? AGAIN : done.result;
}

export async function failOverPrimary(vm: Vm, task: Task): Promise<ActionResult> {
  return release(vm, task, primaryFailover, 'primary', () => Promise.resolve());
}

export async function failOverSecondary(vm: Vm, task: Task): Promise<ActionResult> {
  const { qemu } = vm;
  assert(qemu !== null, 'only a QEMU can be released');
  const parted = await partFromPrimary(vm, task);
  if (parted !== null) return parted;
  // From the release on the data is the chain. The stamp is written while QEMU is yanked, and must be there before we say `alone`.
  const stamping = qemu.external ? Promise.resolve({ ok: true as const, value: null }) : stampParents(vm, task.spec, 'merging', task.epoch);
  const result = await release(vm, task, secondaryFailover, 'secondary', async () => {
    const stamped = await stamping;
    if (!stamped.ok) vm.ports.log.error({ vm: vm.name, error: stamped.error }, 'stamp-failed');
    // As the stamps say now; reading them again would hold up the word that the guest runs.
    const images = mergingImages(vm.setup.folders, task.spec, qemu.born);
    if (!qemu.external) vm.disk = { ...vm.disk, stampEpoch: task.epoch, state: 'merging', images };
  });
  await stamping;
  if (result.kind === 'failed' && vm.qemu?.aloneSince !== task.epoch) {
    await stampParents(vm, task.spec, 'stale', epoch(0));
    await refreshDisk(vm);
  }
  return result;
}

/** Null = the secondary stands alone with a whole state, and may be released. */
async function partFromPrimary(vm: Vm, task: Task): Promise<ActionResult | null> {
  const born = vm.qemu?.born;
  if (born === undefined) return failed('secondary-failover', 'QEMU is gone');
  const done = await runSteps(vm, task, secondaryParting);
  if (done.kind === 'ended') {
    // COLO_EXIT is said once. An agent that was not there when it was said reads in QEMU's log that COLO was left, or looks at the guest: one
    // that runs is not in the middle of a checkpoint, because a secondary stands still from a checkpoint's beginning to its end, and no new
    // one can begin after the yank. Where the primary died in a checkpoint the guest stands still for good, and only the log tells.
    await lookNow(vm);
    await readQemuLog(vm, born);
    const isSecondary = vm.situation() === 'secondary';
    const runs = vm.seen?.sawBegin !== true && vm.facts?.running === true && vm.facts.runstate === 'running';
    if (!isSecondary || !(runs || vm.coloLeftInLog)) return done.result;
    vm.ports.log.warn({ vm: vm.name, born }, 'colo-exit-inferred');
    await vm.saveQemu(born, () => ({ coloExited: true }));
  }
  await readQemuLog(vm, born);
  const unfit = vm.qemu?.unpromotable ?? null;
  return unfit === null ? null : failed('secondary-failover', `this secondary must not run the guest: ${unfit}`);
}

async function release(
  vm: Vm,
  task: Task,
  make: Parameters<typeof runSteps>[2],
  lastMode: 'primary' | 'secondary',
  before: () => Promise<void>,
): Promise<ActionResult> {
  if (vm.qemu?.held === true) await setTaps(vm, true);
  const marking: Promise<ActionResult>[] = [];
  const done = await runSteps(vm, task, make, () => {
    // The steps that were just done have proven all of this; the next look will say the same.
    if (vm.facts !== null) {
      vm.facts = { ...vm.facts, role: 'alone', running: true, runstate: 'running', colo: { mode: 'none', lastMode, reason: 'request' } };
    }
    if (vm.seen !== null) vm.seen = { ...vm.seen, coloSince: null };
    marking.push(before().then(() => markAlone(vm, task)));
  });
  vm.pairEndedAt = vm.ports.clock.now();
  const [marked] = await Promise.all(marking);
  if (marked !== undefined) {
    // The guest runs alone; what failed afterwards is tidying, and the next attempt begins with the same.
    if (done.kind === 'ended') vm.ports.log.warn({ vm: vm.name, ...done.result }, 'release-left-parts');
    return marked;
  }
  return done.kind === 'done' ? AGAIN : done.result;
}

/** The goal of a QEMU that has no part of a pair (any more): it runs the guest, and this order let it. */
export async function goAlone(vm: Vm, task: Task): Promise<ActionResult> {
  const { clock } = vm.ports;
  task.freed = true;
  if (vm.qemu?.held === true) await setTaps(vm, true);
  const until = clock.now() + COMMAND_MS;
  // A guest that one of its writes has stopped is its own again as well: the write is made again as long as it takes.
  while (vm.facts?.running !== true && vm.facts?.runstate !== 'io-error') {
    if (clock.now() >= until || task.abort.signal.aborted)
      return failed('go-alone', `the guest does not run: QEMU is ${vm.facts?.runstate ?? 'silent'}`);
    await vm.change(PROOF_AGAIN_MS, task.abort.signal);
    await lookNow(vm);
  }
  const claimed = await claimDisk(vm, task);
  return claimed === null ? markAlone(vm, task) : failed('stamp', claimed);
}

/**
 * The agent that released this secondary may have died before the stamps were on disk. They still say `stale`, and would for ever: the guest's
 * data would be booted by nobody, and no merge be noticed.
 */
async function claimDisk(vm: Vm, task: Task): Promise<string | null> {
  if (vm.qemu?.external !== false || vm.qemu.startedAs !== 'secondary') return null;
  await refreshDisk(vm);
  if (vm.disk.state !== 'stale') return null;
  const stamped = await stampParents(vm, task.spec, 'merging', task.epoch);
  await refreshDisk(vm);
  return stamped.ok ? null : stamped.error;
}

async function markAlone(vm: Vm, task: Task): Promise<ActionResult> {
  const { qemu } = vm;
  assert(qemu !== null, 'only a QEMU can be alone');
  const saved = await vm.saveQemu(qemu.born, () => ({
    aloneSince: task.epoch,
    releasing: null,
    promised: null,
    readyFor: null,
    provenFor: null,
    held: false,
    unpromotable: null,
  }));
  return saved.ok ? FINISHED : failed('journal', saved.error);
}

/** Taps of an external QEMU are its owner's. */
export async function setTaps(vm: Vm, up: boolean): Promise<string | null> {
  for (const tap of vm.qemu?.taps ?? []) {
    const set = await vm.ports.taps.setUp(tap, up);
    if (!set.ok) return set.error;
  }
  return null;
}
