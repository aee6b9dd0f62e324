// The JSON that coloctl prints, for scripts. These shapes are a promise: fields may be added, none is removed or changes its meaning, and
// "none" is always null.

import type { HistoryEntry, Status, Vm, VmStatus } from '../../shared/gen/colo/v1/coordinator.js';
import { iso } from './text.js';

const orNull = (text: string): string | null => (text === '' ? null : text);

export interface VmShape {
  readonly name: string;
  readonly phase: string;
  readonly epoch: number;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly reason: string;
  readonly uid: string;
  readonly wanted: string;
  readonly protect: boolean;
  /** ISO 8601 UTC; null = never started. */
  readonly since: string | null;
  readonly row: string | null;
  readonly lastError: string | null;
  readonly onHold: boolean;
  readonly splitSuspected: boolean;
  readonly storeBehind: boolean;
  readonly disk: { readonly host: string; readonly state: string } | null;
  readonly resync: { readonly doneBytes: number; readonly totalBytes: number } | null;
  readonly sides: readonly SideShape[];
}

export interface SideShape {
  readonly host: string;
  readonly role: string | null;
  readonly qemu: string;
  readonly pid: number | null;
  readonly runstate: string | null;
  readonly pair: string;
  readonly evidence: readonly string[];
  readonly task: string;
  readonly born: number | null;
}

export interface StatusShape {
  readonly cluster: string;
  readonly leader: string | null;
  readonly term: number | null;
  readonly vms: readonly VmShape[];
  readonly hosts: readonly {
    readonly name: string;
    readonly state: string;
    readonly address: string;
    readonly replicationAddress: string;
    readonly qemuVersion: string;
    readonly agentVersion: string;
    readonly freeDiskBytes: number;
    /** What a newer agent says and the coordinator that answers does not know. */
    readonly strange: readonly string[];
  }[];
  readonly coordinators: readonly { readonly name: string; readonly address: string; readonly leader: boolean }[];
  readonly problem: string | null;
  /** store, leader or data. */
  readonly problemKind: string | null;
  readonly answeredBy: string;
}

export interface HistoryShape {
  readonly at: string;
  readonly vm: string;
  readonly epoch: number;
  readonly row: string;
  readonly from: string;
  readonly to: string;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly evidence: readonly string[];
  readonly durationsMs: Readonly<Record<string, number>>;
  readonly by: string;
}

export function statusShape(status: Status): StatusShape {
  return {
    cluster: status.cluster,
    leader: orNull(status.leader),
    term: status.term === 0 ? null : status.term,
    vms: status.vms.map(vmShape),
    hosts: status.hosts.map((host) => ({
      name: host.name,
      state: host.state,
      address: host.address,
      replicationAddress: host.replicationAddress,
      qemuVersion: host.qemuVersion,
      agentVersion: host.agentVersion,
      freeDiskBytes: host.freeDiskBytes,
      strange: host.strange,
    })),
    coordinators: status.coordinators.map(({ name, address, leader }) => ({ name, address, leader })),
    problem: orNull(status.problem),
    problemKind: orNull(status.problemKind),
    answeredBy: status.answeredBy,
  };
}

export function vmShape(vm: VmStatus): VmShape {
  return {
    name: vm.name,
    phase: vm.phase,
    epoch: vm.epoch,
    primary: orNull(vm.primary),
    secondary: orNull(vm.secondary),
    reason: vm.reason,
    uid: vm.uid,
    wanted: vm.wanted,
    protect: vm.protect,
    since: vm.sinceMs === 0 ? null : iso(vm.sinceMs),
    row: orNull(vm.row),
    lastError: orNull(vm.lastError),
    onHold: vm.onHold,
    splitSuspected: vm.splitSuspected,
    storeBehind: vm.storeBehind,
    disk: vm.diskHost === '' ? null : { host: vm.diskHost, state: vm.diskState },
    resync: vm.resyncTotalBytes === 0 ? null : { doneBytes: vm.resyncDoneBytes, totalBytes: vm.resyncTotalBytes },
    sides: vm.sides.map((side) => ({
      host: side.host,
      role: orNull(side.role),
      qemu: side.qemu,
      pid: side.pid === 0 ? null : side.pid,
      runstate: orNull(side.runstate),
      pair: side.pair,
      evidence: side.evidence,
      task: side.task,
      born: side.born === 0 ? null : side.born,
    })),
  };
}

export function historyShape(entry: HistoryEntry): HistoryShape {
  return {
    at: iso(entry.atMs),
    vm: entry.vm,
    epoch: entry.epoch,
    row: entry.row,
    from: entry.from,
    to: entry.to,
    primary: orNull(entry.primary),
    secondary: orNull(entry.secondary),
    evidence: entry.evidence,
    durationsMs: entry.durationsMs,
    by: entry.by,
  };
}

/** A definition with what became of it. `spec` has the fields of proto/colo/v1/common.proto. */
export function definitionShape(vm: Vm): Readonly<Record<string, unknown>> {
  return {
    name: vm.spec?.name ?? '',
    uid: vm.uid,
    wanted: vm.wanted,
    protect: vm.protect,
    spec: vm.spec ?? null,
    status: vm.status === undefined ? null : vmShape(vm.status),
  };
}
