// What agents report, between the model and the wire. Times are rounded to whole milliseconds on the way out.
//
// In a rolling upgrade an agent may be newer than the coordinator that hears it. A word that the coordinator does not know must neither
// make the whole host unheard nor be guessed at, so each field has a meaning that permits nothing: a QEMU, a role or a pair of which
// nothing is known, a task that is still under way, a disk that cannot be booted, a secondary's disk that cannot be promoted.

import { unreachable } from '../../core/assert.js';
import { diskId, epoch, hostId, incarnation, term, vmUid, type Epoch } from '../../core/ids.js';
import type {
  DiskReport,
  GoalKind,
  HostReport,
  PairReport,
  PairState,
  QemuReport,
  QemuRole,
  TaskReport,
  VmReport,
} from '../../core/model.js';
import type { Result } from '../../core/result.js';
import type {
  DiskReport as DiskMessage,
  HostReport as HostMessage,
  PairState as PairMessage,
  QemuState as QemuMessage,
  TaskState as TaskMessage,
  VmReport as VmMessage,
} from '../../gen/colo/v1/agent.js';
import { certificateFromWire, certificateToWire } from './certificate.js';
import { emptyToNull, Reader, uint32, uint64, whole, type WireProblems, type Words } from './reader.js';

const QEMU_KINDS: Words<QemuReport['kind']> = { absent: true, starting: true, unknown: true, alive: true, hung: true, dead: true };
const ROLES: Words<QemuRole> = { none: true, alone: true, primary: true, secondary: true };
const PAIR_STATES: Words<PairState> = { none: true, ok: true, hard: true, silent: true, unknown: true };
const TASK_KINDS: Words<TaskReport['kind']> = { idle: true, running: true, failed: true };
const DISK_STATES: Words<DiskReport['state']> = { clean: true, merging: true, stale: true, missing: true };
const REPLICATION: Words<DiskReport['replication']> = { none: true, clean: true, error: true };
const GOALS: Words<GoalKind> = {
  'start-alone': true,
  'start-cold-primary': true,
  'start-secondary': true,
  protect: true,
  'release-primary': true,
  'release-secondary': true,
  hold: true,
  checkpoint: true,
  stop: true,
  destroy: true,
};

export function reportToWire(report: HostReport): HostMessage {
  return {
    host: report.host,
    hostId: report.hostId,
    session: report.session,
    sequence: report.sequence,
    latenessMs: uint32(report.latenessMs),
    incarnation: report.incarnation ?? '',
    vms: report.vms.map(vmToWire),
    peersSilentMs: Object.fromEntries(Object.entries(report.peersSilentMs).map(([peer, ms]) => [peer, uint32(ms)])),
    freeDiskBytes: uint64(report.freeDiskBytes),
    etcdSilentMs: report.etcdSilentMs === null ? undefined : uint32(report.etcdSilentMs),
    certificate: report.certificate ? certificateToWire(report.certificate) : undefined,
  };
}

/** `strange`: words of a newer agent, each with its field and as what it was read; empty = all is understood. */
export interface ReadReport {
  readonly report: HostReport;
  readonly strange: readonly string[];
}

export function reportFromWire(message: HostMessage): Result<ReadReport, WireProblems> {
  const reader = new Reader();
  const vms = reader.list('vms', message.vms, readVm);
  const report: HostReport = {
    host: reader.filled('host', message.host),
    hostId: hostId(reader.filled('host_id', message.hostId)),
    session: reader.filled('session', message.session),
    sequence: message.sequence,
    latenessMs: message.latenessMs,
    incarnation: message.incarnation === '' ? null : incarnation(message.incarnation),
    vms: vms.filter((each) => each !== undefined),
    peersSilentMs: message.peersSilentMs,
    freeDiskBytes: message.freeDiskBytes,
    etcdSilentMs: message.etcdSilentMs ?? null,
    ...(message.certificate === undefined ? {} : { certificate: certificateFromWire(message.certificate) }),
  };
  return whole(reader, { report, strange: reader.strange() });
}

function vmToWire(vm: VmReport): VmMessage {
  return {
    vm: vm.vm,
    uid: vm.uid,
    term: vm.term,
    epoch: vm.epoch,
    qemu: qemuToWire(vm.qemu),
    pair: { state: vm.pair.state, evidence: [...vm.pair.evidence] },
    aloneSince: vm.aloneSince ?? undefined,
    readyFor: vm.readyFor ?? undefined,
    provenFor: vm.provenFor ?? undefined,
    guestShutdown: vm.guestShutdown,
    held: vm.held,
    coloExited: vm.coloExited,
    unpromotable: vm.unpromotable ?? '',
    task: taskToWire(vm.task),
    disk: diskToWire(vm.disk),
    resync: vm.resync === null ? undefined : { doneBytes: uint64(vm.resync.doneBytes), totalBytes: uint64(vm.resync.totalBytes) },
    durationsMs: { ...vm.durationsMs },
  };
}

function readVm(message: VmMessage, reader: Reader): VmReport | undefined {
  const qemu = reader.part('qemu', message.qemu, readQemu);
  const pair = reader.part('pair', message.pair, readPair);
  const task = reader.part('task', message.task, readTask);
  const disk = reader.part('disk', message.disk, readDisk);
  const vm = reader.filled('vm', message.vm);
  const uid = vmUid(reader.filled('uid', message.uid));
  if (qemu === undefined || pair === undefined || task === undefined || disk === undefined) return undefined;
  return {
    vm,
    uid,
    term: term(message.term),
    epoch: epoch(message.epoch),
    qemu,
    pair,
    aloneSince: epochOrNull(message.aloneSince),
    readyFor: epochOrNull(message.readyFor),
    provenFor: epochOrNull(message.provenFor),
    guestShutdown: message.guestShutdown,
    held: message.held,
    coloExited: message.coloExited,
    unpromotable: emptyToNull(message.unpromotable),
    task,
    disk,
    resync: message.resync === undefined ? null : { doneBytes: message.resync.doneBytes, totalBytes: message.resync.totalBytes },
    durationsMs: message.durationsMs,
  };
}

function epochOrNull(value: number | undefined): Epoch | null {
  return value === undefined ? null : epoch(value);
}

function qemuToWire(qemu: QemuReport): QemuMessage {
  const none: QemuMessage = { kind: qemu.kind, born: 0, pid: 0, role: '', runstate: '', why: '', guestShutdown: false };
  switch (qemu.kind) {
    case 'absent':
      return none;
    case 'starting':
      return { ...none, born: qemu.born };
    case 'unknown':
    case 'hung':
      return { ...none, born: qemu.born, pid: qemu.pid ?? 0 };
    case 'alive':
      return { ...none, born: qemu.born, pid: qemu.pid ?? 0, role: qemu.role, runstate: qemu.runstate };
    case 'dead':
      return { ...none, born: qemu.born, why: qemu.why, guestShutdown: qemu.guestShutdown };
    default:
      return unreachable(qemu);
  }
}

function readQemu(message: QemuMessage, reader: Reader): QemuReport {
  const kind = reader.wordOr('kind', message.kind, QEMU_KINDS, 'unknown');
  const born = epoch(message.born);
  const pid = message.pid === 0 ? null : message.pid;
  switch (kind) {
    case 'absent':
      return { kind };
    case 'starting':
      return { kind, born };
    case 'unknown':
    case 'hung':
      return { kind, born, pid };
    case 'alive':
      return { kind, born, pid, role: reader.wordOr('role', message.role, ROLES, 'none'), runstate: message.runstate };
    case 'dead':
      return { kind, born, why: message.why, guestShutdown: message.guestShutdown };
    default:
      return unreachable(kind);
  }
}

function readPair(message: PairMessage, reader: Reader): PairReport {
  return { state: reader.wordOr('state', message.state, PAIR_STATES, 'unknown'), evidence: message.evidence };
}

function taskToWire(task: TaskReport): TaskMessage {
  const none: TaskMessage = { kind: task.kind, goal: '', epoch: 0, procedure: '', step: '', error: '' };
  switch (task.kind) {
    case 'idle':
      return none;
    case 'running':
      return { ...none, goal: task.goal, epoch: task.epoch, procedure: task.procedure, step: task.step };
    case 'failed':
      return { ...none, goal: task.goal, epoch: task.epoch, step: task.step, error: task.error };
    default:
      return unreachable(task);
  }
}

function readTask(message: TaskMessage, reader: Reader): TaskReport {
  const kind = reader.wordOr('kind', message.kind, TASK_KINDS, 'running');
  switch (kind) {
    case 'idle':
      return { kind };
    case 'running':
      return {
        kind,
        goal: reader.wordOr('goal', message.goal, GOALS, 'unknown'),
        epoch: epoch(message.epoch),
        procedure: message.procedure,
        step: message.step,
      };
    case 'failed':
      return {
        kind,
        goal: reader.wordOr('goal', message.goal, GOALS, 'unknown'),
        epoch: epoch(message.epoch),
        step: message.step,
        error: message.error,
      };
    default:
      return unreachable(kind);
  }
}

function diskToWire(disk: DiskReport): DiskMessage {
  return {
    diskId: disk.diskId ?? '',
    stampEpoch: disk.stampEpoch ?? undefined,
    state: disk.state,
    images: [...disk.images],
    replication: disk.replication,
    localError: disk.localError,
  };
}

function readDisk(message: DiskMessage, reader: Reader): DiskReport {
  return {
    diskId: message.diskId === '' ? null : diskId(message.diskId),
    stampEpoch: epochOrNull(message.stampEpoch),
    state: reader.wordOr('state', message.state, DISK_STATES, 'missing'),
    images: message.images,
    replication: reader.wordOr('replication', message.replication, REPLICATION, 'error'),
    localError: message.localError,
  };
}
