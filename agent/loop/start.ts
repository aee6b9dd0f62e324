// Actions that bring a QEMU into being: images, taps, the process, its monitor; and the seed's step 3 on a secondary.

import { EXTERNAL_START_MS } from '../core/bounds.js';
import { checkSocketPaths, tapName } from '../core/paths.js';
import { secondaryStart } from '../core/procedures/start.js';
import { qemuCommand, type QemuStart } from '../core/qemu-args.js';
import { prepareBoot, prepareSecondary, refreshDisk } from './disk.js';
import { runSteps } from './procedure.js';
import { readRecord } from './store.js';
import type { ActionResult } from './tasks.js';
import type { Task, Vm } from './vm.js';
import { watchQemu } from './watch.js';
import { START_MS } from '../../shared/core/limits.js';
import type { Epoch } from '../../shared/core/ids.js';
import { unreachable } from '../../shared/core/assert.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

const AGAIN: ActionResult = { kind: 'again' };
const failed = (step: string, error: string): ActionResult => ({ kind: 'failed', step, error });

export async function launchAlone(vm: Vm, task: Task): Promise<ActionResult> {
  const { goal, spec } = task;
  if (goal.kind !== 'start-alone') return failed('launch', 'not a start');
  return launch(vm, task, goal.born, async () => {
    const parents = await prepareBoot(vm, spec, goal.images, goal.create, task.epoch);
    return parents.ok ? ok({ kind: 'alone', images: parents.value.map((each) => [each]) }) : parents;
  });
}

export async function launchColdPrimary(vm: Vm, task: Task): Promise<ActionResult> {
  const { goal, spec } = task;
  if (goal.kind !== 'start-cold-primary') return failed('launch', 'not a cold start');
  return launch(vm, task, goal.born, async () => {
    const parents = await prepareBoot(vm, spec, null, true, task.epoch);
    if (!parents.ok) return parents;
    return ok({ kind: 'cold-primary', images: parents.value, ports: goal.ports, bindAddress: vm.setup.replicationAddress });
  });
}

export async function launchSecondary(vm: Vm, task: Task): Promise<ActionResult> {
  const { goal, spec } = task;
  if (goal.kind !== 'start-secondary') return failed('launch', 'not a start of a secondary');
  return launch(vm, task, goal.born, async () => {
    const identical = await isColdStart(vm, task);
    if (!identical.ok) return identical;
    const made = await prepareSecondary(vm, spec, goal.born, identical.value);
    if (!made.ok) return made;
    return ok({
      kind: 'secondary',
      ...made.value,
      ports: goal.ports,
      bindAddress: vm.setup.replicationAddress,
      primaryAddress: goal.peer.address,
    });
  });
}

/** The seed's step 3: the parent disks are exported; the coordinator may now order the primary to protect. */
export async function prepareSecondaryStart(vm: Vm, task: Task): Promise<ActionResult> {
  const born = vm.qemu?.born;
  if (born === undefined) return failed('secondary-start', 'no QEMU');
  const done = await runSteps(vm, task, secondaryStart);
  if (done.kind !== 'done') return done.result;
  const saved = await vm.saveQemu(born, () => ({ readyFor: task.epoch }));
  return saved.ok ? { kind: 'finished' } : failed('journal', saved.error);
}

/** A cold-start primary stands still with all its filters: the coordinator may order the pair as soon as the secondary is ready, too. */
export async function awaitPair(vm: Vm, task: Task): Promise<ActionResult> {
  const born = vm.qemu?.born;
  if (born === undefined) return failed('await-pair', 'no QEMU');
  const saved = await vm.saveQemu(born, () => ({ readyFor: task.epoch }));
  return saved.ok ? { kind: 'finished' } : failed('journal', saved.error);
}

/**
 * A secondary of the very first start from images that the operator made identical keeps what is in its image. Every later one is filled
 * by a resync. Only the record tells them apart: it knows no valid disk before the first start.
 */
async function isColdStart(vm: Vm, task: Task): Promise<Result<boolean, string>> {
  if (task.spec.method !== 'identical-images') return ok(false);
  const record = await readRecord(vm.ports.store, vm.setup.keys, vm.name);
  if (!record.ok) return record;
  return ok(record.value?.disk === null);
}

async function launch(vm: Vm, task: Task, born: Epoch, prepare: () => Promise<Result<QemuStart, string>>): Promise<ActionResult> {
  vm.launching = true;
  vm.changed();
  try {
    const { spec } = task;
    const started = spec.launch.kind === 'external' ? await startExternal(vm, task, born) : await startManaged(vm, task, born, prepare);
    if (!started.ok) {
      if (vm.process === null) await giveUpLaunch(vm, born, started.error);
      return failed('launch', started.error);
    }
    beginWatch(vm, born);
    const answered = await vm.until(() => vm.facts !== null || vm.situation() === 'dead', START_MS, task.abort.signal);
    if (!answered) return failed('launch', `QEMU's monitor did not answer within ${START_MS} ms`);
    if (vm.situation() === 'dead') return failed('launch', `QEMU ended at once: ${vm.qemu?.death?.why ?? ''}`);
    await refreshDisk(vm);
    return AGAIN;
  } finally {
    vm.launching = false;
    vm.changed();
  }
}

async function startManaged(
  vm: Vm,
  task: Task,
  born: Epoch,
  prepare: () => Promise<Result<QemuStart, string>>,
): Promise<Result<null, string>> {
  const { spec } = task;
  const { qemus } = vm.ports;
  const short = checkSocketPaths(vm.setup.folders, vm.name, born);
  if (!short.ok) return short;
  task.step = 'images';
  const start = await prepare();
  if (!start.ok) return start;
  if (task.abort.signal.aborted) return fail('a newer order came');
  task.step = 'taps';
  const taps = await makeTaps(vm, born);
  if (!taps.ok) return taps;
  const paths = vm.paths(born);
  const { program, version, sandbox } = vm.setup;
  const command = qemuCommand(spec, start.value, {
    program,
    version,
    sandbox,
    runtimeDir: paths.runtimeDir,
    serialFile: paths.serialFile,
    taps: taps.value,
    tls: vm.setup.tls,
  });
  task.step = 'process';
  if (task.abort.signal.aborted) return fail('a newer order came');
  const launched = await qemus.launch({
    vm: vm.name,
    born,
    argv: command.argv,
    runtimeDir: paths.runtimeDir,
    sockets: command.sockets,
    logFile: paths.logFile,
    serialFile: paths.serialFile,
    images: imagesOf(start.value),
  });
  if (!launched.ok) return launched;
  vm.process = launched.value;
  vm.ports.log.info({ vm: vm.name, born, pid: launched.value.pid }, 'qemu-launched');
  return ok(null);
}

function imagesOf(start: QemuStart): readonly string[] {
  switch (start.kind) {
    case 'alone':
      return start.images.flat();
    case 'cold-primary':
      return start.images;
    case 'secondary':
      return [...start.images, ...start.overlays.flatMap(({ active, hidden }) => [active, hidden])];
    default:
      return unreachable(start);
  }
}

/** Somebody else starts it; for a secondary the operator may have named a command, which is told what the manual's step 2 needs. */
async function startExternal(vm: Vm, task: Task, born: Epoch): Promise<Result<null, string>> {
  const { launch: how } = task.spec;
  // Our procedures put the sockets of colo-compare there.
  const folder = await vm.ports.qemus.makeRuntimeFolder(vm.paths(born).runtimeDir);
  if (!folder.ok) return folder;
  if (how.kind !== 'external' || task.goal.kind !== 'start-secondary' || how.startSecondary === null) return ok(null);
  const { ports, peer } = task.goal;
  return vm.ports.qemus.run(how.startSecondary, EXTERNAL_START_MS, {
    COLO_VM: vm.name,
    COLO_EPOCH: String(born),
    COLO_ADDRESS: vm.setup.replicationAddress,
    COLO_PRIMARY_ADDRESS: peer.address,
    COLO_MIGRATION_PORT: String(ports.migration),
    COLO_MIRROR_PORTS: ports.mirror.join(' '),
    COLO_COMPARE_PORTS: ports.compare.join(' '),
  });
}

/** Journalled before they are made, so that none is ever forgotten. */
async function makeTaps(vm: Vm, born: Epoch): Promise<Result<readonly string[], string>> {
  const { journal } = vm;
  if (journal === null) return fail('no journal');
  const taps = journal.spec.nics.map((_, k) => tapName(journal.uid, born, k));
  const saved = await vm.saveQemu(born, () => ({ taps }));
  if (!saved.ok) return saved;
  for (const [k, tap] of taps.entries()) {
    const bridge = journal.spec.nics[k]?.bridge ?? vm.setup.bridge;
    if (bridge === null) return fail(`NIC ${k} names no bridge, and the agent's configuration has no default`);
    const made = await vm.ports.taps.make(tap, bridge);
    if (!made.ok) return made;
  }
  return ok(taps);
}

/** Nothing was started: the QEMU that the journal announced is said to be dead, and its taps go. */
async function giveUpLaunch(vm: Vm, born: Epoch, why: string): Promise<void> {
  for (const tap of vm.qemu?.taps ?? []) await vm.ports.taps.remove(tap);
  vm.die(born, `it was never started: ${why}`, false);
}

/** The watch lives as long as its QEMU, and longer than the task that began it. */
export function beginWatch(vm: Vm, born: Epoch): void {
  vm.watching?.abort();
  const watching = new AbortController();
  vm.watching = watching;
  void watchQemu(vm, born, watching.signal);
}
