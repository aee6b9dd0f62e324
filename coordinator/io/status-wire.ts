// The summary as the messages of proto/colo/v1/coordinator.proto, where an empty string or 0 stands for "none".

import type { Explanation as ExplanationMessage, RecoverReply, Status, VmStatus, Vm } from '../../shared/gen/colo/v1/coordinator.js';
import type { VmWanted } from '../../shared/core/model.js';
import { certificateToWire } from '../../shared/io/wire/certificate.js';
import { specToWire } from '../../shared/io/wire/spec.js';
import { uint64 } from '../../shared/io/wire/reader.js';
import type { Summary, VmSummary } from '../core/summary.js';
import type { Explanation, Recovered } from './operations.js';

export function statusToWire(summary: Summary): Status {
  return {
    cluster: summary.cluster,
    leader: summary.leader ?? '',
    term: summary.term,
    vms: summary.vms.map(vmStatusToWire),
    hosts: summary.hosts.map(({ key, state, freeDiskBytes, strange }) => ({
      name: key.host,
      state,
      address: key.agentAddress,
      replicationAddress: key.replicationAddress,
      qemuVersion: key.qemuVersion,
      agentVersion: key.agentVersion,
      freeDiskBytes: uint64(freeDiskBytes),
      strange: [...strange],
    })),
    problem: summary.problem?.text ?? '',
    answeredBy: summary.answeredBy,
    problemKind: summary.problem?.kind ?? '',
    coordinators: summary.coordinators.map((each) => ({ ...each })),
    certificates: summary.certificates.map(certificateToWire),
  };
}

export function vmToWire(wanted: VmWanted, status: VmSummary): Vm {
  return { spec: specToWire(wanted.spec), uid: wanted.uid, wanted: wanted.wanted, protect: wanted.protect, status: vmStatusToWire(status) };
}

function vmStatusToWire(vm: VmSummary): VmStatus {
  return {
    name: vm.name,
    uid: vm.uid,
    phase: vm.phase,
    epoch: vm.epoch,
    primary: vm.primary ?? '',
    secondary: vm.secondary ?? '',
    reason: vm.reason,
    wanted: vm.wanted,
    protect: vm.protect,
    sinceMs: uint64(vm.sinceMs),
    row: vm.row,
    lastError: vm.lastError ?? '',
    sides: vm.sides.map((side) => ({
      host: side.host,
      born: side.born ?? 0,
      role: side.role ?? '',
      qemu: side.qemu,
      pid: side.pid ?? 0,
      runstate: side.runstate ?? '',
      pair: side.pair,
      evidence: [...side.evidence],
      task: side.task,
    })),
    diskHost: vm.disk?.host ?? '',
    diskState: vm.disk?.state ?? '',
    resyncDoneBytes: uint64(vm.resync?.doneBytes ?? 0),
    resyncTotalBytes: uint64(vm.resync?.totalBytes ?? 0),
    splitSuspected: vm.splitSuspected,
    onHold: vm.onHold,
    storeBehind: vm.storeBehind,
  };
}

export function recoveredToWire(recovered: Recovered): RecoverReply {
  return {
    vms: recovered.vms.map(({ wanted, plan }) => {
      const base = { name: wanted.spec.name, uid: wanted.uid, found: [...plan.found] };
      if (plan.kind === 'agrees') return { ...base, changed: false, phase: '', epoch: 0, reason: '', wantedRunning: false };
      const { phase, epoch, reason } = plan.record;
      return { ...base, changed: true, phase, epoch, reason, wantedRunning: plan.wanted !== null };
    }),
    unknown: [...recovered.unknown],
    incarnation: recovered.incarnation ?? '',
  };
}

export function explanationToWire(explanation: Explanation, status: VmStatus | undefined): ExplanationMessage {
  const { row, why, reason, orders } = explanation;
  return { status, row, why, reason, orders: [...orders] };
}
