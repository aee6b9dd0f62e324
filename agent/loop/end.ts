// Actions that end a QEMU or keep it quiet. Nothing here asks whether it may: `destroy` was judged on the record before it was journalled.

import { COMMAND_MS, KILL_MS, MERGE_MS, QUIT_MS } from '../core/bounds.js';
import { removableImages } from '../core/destroy-rule.js';
import { hasMergeFailed, isMerging } from '../core/situation.js';
import { primaryFailover } from '../core/procedures/failover.js';
import { refreshDisk } from './disk.js';
import { setTaps } from './pair.js';
import { runSteps } from './procedure.js';
import type { ActionResult } from './tasks.js';
import type { Task, Vm } from './vm.js';
import type { VmRecord } from '../../shared/core/model.js';

const AGAIN: ActionResult = { kind: 'again' };
const FINISHED: ActionResult = { kind: 'finished' };
const failed = (step: string, error: string): ActionResult => ({ kind: 'failed', step, error });

/** The loser of a verdict is cut from the guest's network and otherwise left alone: it may still be the last live copy. */
export async function tapDown(vm: Vm, _task: Task): Promise<ActionResult> {
  const { qemu } = vm;
  // The taps of an external QEMU are its owner's, and are not known here.
  if (qemu === null || qemu.external) return FINISHED;
  const error = await setTaps(vm, false);
  if (error !== null) return failed('tap-down', error);
  const saved = await vm.saveQemu(qemu.born, () => ({ held: true }));
  return saved.ok ? FINISHED : failed('journal', saved.error);
}

/** Lets the guest shut itself down within the spec's grace, then ends QEMU. A merge is waited for: QEMU's end would cancel it. */
export async function shutDown(vm: Vm, task: Task): Promise<ActionResult> {
  const { signal } = task.abort;
  const merging = (): boolean =>
    vm.facts !== null && vm.facts.role === 'alone' && isMerging(vm.facts) && !hasMergeFailed(vm.facts) && vm.situation() !== 'dead';
  if (merging()) {
    task.step = 'waits for the merge of the overlays';
    if (!(await vm.until(() => !merging(), MERGE_MS, signal)))
      return failed('shut-down', 'the overlays of the last failover are still merged');
  }
  const { shutdownGraceMs } = task.spec;
  if (shutdownGraceMs > 0) await letGuestShutDown(vm, task, shutdownGraceMs);
  return vm.situation() === 'dead' ? FINISHED : quit(vm, task);
}

/**
 * The secondary of a pair that is being stopped is ended at once, and a primary without it may stand still in the middle of a checkpoint.
 * The record says `stopping`, so nobody will promote the secondary: the primary is released, and its guest can end by itself.
 */
async function letGuestShutDown(vm: Vm, task: Task, graceMs: number): Promise<void> {
  const { clock } = vm.ports;
  const { signal } = task.abort;
  const until = clock.now() + graceMs;
  const off = (): boolean => vm.seen?.guestShutdown === true || vm.situation() === 'shutdown' || vm.situation() === 'dead';
  const broken = (): boolean => vm.situation() === 'primary' && (vm.seen?.breaks.length ?? 0) > 0;
  const press = async (): Promise<void> => {
    task.step = 'waits for the guest';
    await vm.link?.monitor.execute('system_powerdown', {}, { deadlineMs: COMMAND_MS, oob: false, signal });
  };
  if (vm.facts?.running === true) await press();
  else if (!broken()) return;
  await vm.until(() => off() || broken(), until - clock.now(), signal);
  if (off() || !broken() || signal.aborted) return;
  const released = await runSteps(vm, task, primaryFailover);
  if (released.kind !== 'done') return;
  await press();
  await vm.until(off, until - clock.now(), signal);
}

/** A QEMU that does not obey is left as it is: it takes a `destroy`, judged on the record, to kill it. */
export async function quit(vm: Vm, task: Task): Promise<ActionResult> {
  const { link } = vm;
  if (link === null) return failed('quit', 'the monitor of QEMU is not connected');
  // Ends without an answer as often as not; what counts is the death.
  const asked = link.monitor.execute('quit', {}, { deadlineMs: QUIT_MS, oob: false, signal: task.abort.signal });
  const dead = await vm.until(() => vm.situation() === 'dead', QUIT_MS, task.abort.signal);
  const answer = await asked;
  if (dead) return FINISHED;
  return failed('quit', answer.ok ? `QEMU did not end within ${QUIT_MS} ms` : answer.error.description);
}

export async function kill(vm: Vm, task: Task): Promise<ActionResult> {
  const { qemus } = vm.ports;
  const { qemu } = vm;
  if (qemu === null) return AGAIN;
  if (qemu.external) {
    const ended = await quit(vm, task);
    return ended.kind === 'finished' ? AGAIN : ended;
  }
  const process = vm.process ?? qemus.processOf(vm.name, qemu.born, vm.sockets(qemu.born)[0] ?? '');
  if (process !== null) qemus.kill(process);
  const gone = await waitGone(vm, task, () => process === null || qemus.inspect(process) !== 'running');
  if (!gone) return failed('kill', `the process ${process?.pid ?? ''} is still there ${KILL_MS} ms after SIGKILL`);
  vm.die(qemu.born, 'destroyed by order', false);
  return AGAIN;
}

async function waitGone(vm: Vm, task: Task, gone: () => boolean): Promise<boolean> {
  const until = vm.ports.clock.now() + KILL_MS;
  while (!gone()) {
    if (vm.ports.clock.now() >= until || task.abort.signal.aborted) return false;
    await vm.change(1, task.abort.signal);
  }
  return true;
}

export async function cleanUpByOrder(vm: Vm, task: Task): Promise<ActionResult> {
  const cleaned = await cleanUp(vm, task.record, []);
  return cleaned === null ? AGAIN : failed('clean-up', cleaned);
}

/**
 * All that a dead QEMU left behind goes: taps, sockets, and the overlays that nobody needs. Its disk stays, and so do its logs.
 * Null = done; else what went wrong.
 */
export async function cleanUp(vm: Vm, record: VmRecord | null, keep: readonly string[]): Promise<string | null> {
  const { qemu } = vm;
  if (qemu === null) return null;
  const paths = vm.paths(qemu.born);
  vm.letGo();
  for (const tap of qemu.taps) {
    const removed = await vm.ports.taps.remove(tap);
    if (!removed.ok) return removed.error;
  }
  if (!qemu.external) {
    await vm.ports.disks.remove(removableImages([...paths.active, ...paths.hidden], record, keep));
    await vm.ports.qemus.forget(vm.name, qemu.born, paths.runtimeDir);
  }
  const saved = await vm.save((journal) =>
    journal === null ? journal : { ...journal, qemu: journal.qemu?.born === qemu.born ? null : journal.qemu },
  );
  await refreshDisk(vm);
  return saved.ok ? null : saved.error;
}
