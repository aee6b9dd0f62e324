// The small world that is explored exhaustively: two hosts, two coordinators, one VM, one store, and what is on its way between them. What
// decides is the product's own code: `assemble` and `decide`, `dueOrders`, `saveDecision` with its guards, `judgeOrder`, `journalOrder`,
// `plan`, `judgeDestroy`, `reportOf`. What is abstracted, so that the world stays small:
//
// - Time. There is none: whatever a clock could have brought about may happen at any moment. A coordinator looks with all its patience
//   used up or with none; so every timer is both too early and too late.
// - Messages. An order waits until it is delivered, in any sequence, once or twice or never. A report is what a host says at the moment at
//   which it arrives, and a coordinator keeps the last one as long as nothing newer comes: late reports are late looks.
// - QEMU. A pair is being copied, in lock-step, or broken; a broken one lets nobody be heard. A checkpoint is not seen from outside. Data is a
//   counter: the guest counts, a client is told a number, and whoever is heard or booted must have counted so far.
// - A procedure is two steps: what frees the guest's output, and the journal's word that it did. An agent may die between any two steps.
// - The network between hosts is cut or not; that a side notices is a step of its own.
// - Where it begins, both coordinators have heard both hosts: how they came to is no part of what is explored.

import type { Draft } from '../../../coordinator/save.js';
import type { VmJournal } from '../../../agent/core/journal.js';
import { hostId, incarnation, term, type Term } from '../../../shared/core/ids.js';
import type { Compare } from '../../../shared/ports.js';
import type { HostKey, HostReport, Order, VmRecord } from '../../../shared/core/model.js';
import { aVm } from '../world/setup.js';

export const HOSTS = ['h1', 'h2'] as const;
export const COORDINATORS = ['c1', 'c2'] as const;
export type Host = (typeof HOSTS)[number];
export type Coordinator = (typeof COORDINATORS)[number];

export const WANTED = aVm('demo', { checkpointDelayMs: 200, hosts: ['h1', 'h2'] });
export const INCARNATION = incarnation('small');
export const PARENT = '/state/vms/demo/disk0.raw';

export interface Qemu {
  readonly born: number;
  readonly alive: boolean;
  readonly role: 'incoming' | 'alone' | 'attempt' | 'primary' | 'secondary';
  /** Its guest is heard, and nobody compares what it says. */
  readonly heard: boolean;
  /** This side has seen that its pair is broken. */
  readonly noticed: boolean;
  /** Its memory and its view of the disk are of one moment. */
  readonly whole: boolean;
  readonly count: number;
}

export interface Disk {
  /** What would be booted; -1 = a mixture of moments. */
  readonly count: number;
  readonly state: 'missing' | 'clean' | 'merging' | 'stale';
  readonly stampEpoch: number;
}

export interface HostState {
  readonly agentUp: boolean;
  /** The agent has looked at its QEMU since it started. */
  readonly adopted: boolean;
  /** And has seen a checkpoint of its pair; before that it can say neither that the pair is well nor that it is broken. */
  readonly sawCheckpoint: boolean;
  readonly journal: VmJournal | null;
  readonly qemu: Qemu | null;
  /** What the task of the journalled goal has still to do; null = it rests. */
  readonly task: 'begin' | 'pairing' | 'mark' | null;
  readonly disk: Disk;
}

export interface CoordinatorState {
  /** Term that it believes to lead in; 0 = it follows. */
  readonly leads: number;
  /** The record as it last saw it. */
  readonly seen: { readonly record: VmRecord | null; readonly revision: number };
  readonly reports: Readonly<Record<Host, HostReport | null>>;
  readonly heard: Readonly<Record<Host, boolean>>;
  /** A decision that is on its way to the store. */
  readonly draft: (Draft & { readonly term: number }) | null;
}

export interface Late {
  readonly by: Coordinator;
  readonly compares: readonly Compare[];
  readonly record: VmRecord;
}

export interface State {
  readonly revision: number;
  readonly leader: { readonly name: Coordinator; readonly revision: number };
  readonly record: VmRecord;
  readonly recordRevision: number;
  readonly coordinators: Readonly<Record<Coordinator, CoordinatorState>>;
  readonly hosts: Readonly<Record<Host, HostState>>;
  /** A write whose outcome was told to be unknown and that may still be carried out; the record that it would make. */
  readonly late: Late | null;
  /** Oldest first; those that were delivered once may come once more. */
  readonly orders: readonly { readonly to: Host; readonly order: Order; readonly delivered: boolean }[];
  readonly pair: 'none' | 'copying' | 'colo' | 'broken';
  readonly linkCut: boolean;
  readonly told: number;
  readonly faults: number;
}

export const hostKey = (host: Host): HostKey => ({
  host,
  hostId: hostId(`id-${host}`),
  agentAddress: `${host}:7400`,
  replicationAddress: host === 'h1' ? '10.0.0.1' : '10.0.0.2',
  qemuVersion: '11.1.2',
  agentVersion: 'small',
});

export const asTerm = (value: number): Term => term(value);
