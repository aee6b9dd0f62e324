// What a procedure must know about the VM and its two hosts. Pure data, made by the agent from the order, the spec and the facts in
// the very tick in which the procedure is started: `coloExited` and `rewriters` are seen, not remembered.

import type { Peer, Ports, VmSpec } from '../../../shared/core/model.js';
import type { QemuCapabilities } from '../capabilities.js';
import { vmNames, type VmNames } from '../names.js';
import type { PairTls } from '../pair-tls.js';

export interface ProcedureContext {
  readonly names: VmNames;
  readonly ports: Ports;
  /** IP address of the other side on the replication network. */
  readonly peerAddress: string;
  /** Own IP address on the replication network; everything that listens is bound to it. */
  readonly bindAddress: string;
  /** Folder for the unix sockets of compare0/compare_out; short, because a socket path holds 107 bytes. */
  readonly runtimeDir: string;
  readonly capabilities: QemuCapabilities;
  /** Ids of the filter-rewriters that are there (facts). */
  readonly rewriters: readonly string[];
  /** COLO_EXIT(secondary) was seen on this QEMU, so the wait for it is left out. */
  readonly coloExited: boolean;
  readonly memoryMiB: number;
  readonly checkpointDelayMs: number;
  readonly compareTimeoutMs: number;
  readonly expiredScanCycleMs: number;
  readonly maxBandwidthBytes: number;
  /** Null = QEMU's streams go in the open. */
  readonly tls: PairTls | null;
}

/** The context of one order. `seen` comes from the facts of this QEMU. */
export function procedureContext(
  spec: VmSpec,
  place: {
    readonly ports: Ports;
    readonly peer: Peer;
    readonly bindAddress: string;
    readonly runtimeDir: string;
    readonly capabilities: QemuCapabilities;
    readonly tls: PairTls | null;
  },
  seen: { readonly rewriters: readonly string[]; readonly coloExited: boolean },
): ProcedureContext {
  return {
    names: vmNames(spec.disks.length, spec.nics.length),
    ports: place.ports,
    peerAddress: place.peer.address,
    bindAddress: place.bindAddress,
    runtimeDir: place.runtimeDir,
    capabilities: place.capabilities,
    rewriters: seen.rewriters,
    coloExited: seen.coloExited,
    memoryMiB: spec.memoryMiB,
    checkpointDelayMs: spec.checkpointDelayMs,
    compareTimeoutMs: spec.compareTimeoutMs,
    expiredScanCycleMs: spec.expiredScanCycleMs,
    maxBandwidthBytes: spec.maxBandwidthBytes,
    tls: place.tls,
  };
}
