// What a row of the transition table is. A row says when it holds and what then follows; its name goes into the record, the log and the
// history, and its `why` is written for the operator at night. The first row that holds wins.

import { nextEpoch } from '../../shared/core/ids.js';
import type { Phase, Side, VmRecord } from '../../shared/core/model.js';
import { describeSide, type HostView, type SideView, type VmView } from './view.js';

export type Change =
  /** A phase edge: saved by one transaction with epoch + 1. `stopWanted` also sets the spec's wish to `stopped` in the same transaction. */
  | { readonly kind: 'edge'; readonly patch: Partial<VmRecord>; readonly evidence: readonly string[]; readonly stopWanted?: boolean }
  /** The record is brought up to date without an edge (disk state, last error). */
  | { readonly kind: 'note'; readonly patch: Partial<VmRecord> }
  /** Nothing may be decided, and why. */
  | { readonly kind: 'hold'; readonly reason: string }
  /** Nothing may be decided and nothing ordered, not even again. */
  | { readonly kind: 'freeze'; readonly reason: string }
  /** A checkpoint is forced on the primary, to tell a healthy pair from a broken one. */
  | { readonly kind: 'checkpoint'; readonly reason: string }
  /** A host is asked what it sees now, because its last report is older than the trouble. */
  | { readonly kind: 'probe'; readonly host: string; readonly reason: string }
  /** All is as it should be; `reason` may explain why nothing better is done. */
  | { readonly kind: 'none'; readonly reason: string }
  /** Every trace of the VM leaves the store. */
  | { readonly kind: 'forget' };

/** Row of a verdict that an operator gave, knowing what it may cost. */
export const FORCED = 'forced';

export interface Row {
  readonly name: string;
  readonly from: readonly Phase[];
  readonly to: Phase | 'same';
  readonly why: string;
  when(view: VmView): boolean;
  act(view: VmView): Change;
}

export const sideAt = (host: HostView, view: VmView): Side => ({
  host: host.key.host,
  hostId: host.key.hostId,
  born: nextEpoch(view.record.epoch),
});

export const evidenceOf = (view: VmView): readonly string[] => [...describeSide('primary', view.a), ...describeSide('secondary', view.b)];

export function edge(view: VmView, phase: Phase, reason: string, patch: Partial<VmRecord>, stopWanted = false): Change {
  return { kind: 'edge', patch: { ...patch, phase, reason }, evidence: evidenceOf(view), ...(stopWanted ? { stopWanted } : {}) };
}

/** What went wrong with an order of this very epoch; a failure of an earlier epoch says nothing about this one. */
export function failedTask(view: SideView | null, record: VmRecord): string | null {
  const task = view?.report?.task;
  if (view === null || task?.kind !== 'failed' || task.epoch !== record.epoch) return null;
  return `${view.side.host}: ${task.goal} failed at ${task.step}: ${task.error}`;
}

/** Why this side must not run the guest by itself; null = nothing speaks against it, or nothing is heard. */
export const unfitnessOf = (view: SideView | null): string | null => view?.report?.unpromotable ?? null;

/** A write of its guest failed, and QEMU has stopped the guest instead of telling it. */
export function standsStill({ report }: SideView): boolean {
  return report?.qemu.kind === 'alive' && report.qemu.runstate === 'io-error';
}

/** The guest itself powered off on this side. What an earlier QEMU on that host told of its guest does not count. */
export function poweredOff(view: SideView | null): boolean {
  const report = view?.report;
  if (view === null || report === null || report === undefined) return false;
  const { qemu } = report;
  if (qemu.kind === 'absent' || qemu.born !== view.side.born) return false;
  return report.guestShutdown || (qemu.kind === 'dead' && qemu.guestShutdown);
}
