// The decision: one view in, one set of effects out. It performs nothing. The record's edge is saved first; orders follow from what is
// saved, so that a crash between the two is just another view.

import { nextEpoch } from '../../shared/core/ids.js';
import { assert, unreachable } from '../../shared/core/assert.js';
import { PHASES, type HistoryEntry, type VmRecord } from '../../shared/core/model.js';
import { dueOrders, type DueOrder } from './orders.js';
import type { Change, Row } from './rows.js';
import { budgetRows, staysHeld } from './transitions-budget.js';
import { executionRows } from './transitions-execution.js';
import { guestPoweredOff, runRows, stopWanted } from './transitions-run.js';
import { storeRow } from './transitions-store.js';
import { syncRows } from './transitions-sync.js';
import { verdictRows } from './transitions-verdict.js';
import type { VmView } from './view.js';

/**
 * The whole table, in order. A store that knows less than the hosts decides nothing at all. Then row 0 of SAFETY 9; an operator's stop comes
 * before any verdict about the pair that is to end anyway; the verdicts stand before the rest, and the budget before a new pair.
 */
export const TABLE: readonly Row[] = [
  storeRow,
  guestPoweredOff,
  stopWanted,
  ...verdictRows,
  ...budgetRows,
  ...syncRows,
  ...executionRows,
  ...runRows,
  staysHeld,
];

/** The rows that can hold in each phase, in the table's order. */
const BY_PHASE = new Map(PHASES.map((phase) => [phase, TABLE.filter((row) => row.from.includes(phase))]));

/**
 * An agent in doubt forces a checkpoint by itself. The order is for doubts that only we have, and one that goes out at the first sign would
 * have to be journalled and broken off before a release that follows on its heels.
 */
const CHECKPOINT_ORDER_AFTER_MS = 150;

export type Decision =
  /** Save this record (and the history entry), guarded by the leader key and the record's revision. */
  | {
      readonly kind: 'save';
      readonly row: string;
      readonly record: VmRecord;
      readonly history: HistoryEntry | null;
      readonly stopWanted: boolean;
    }
  | { readonly kind: 'forget'; readonly row: string }
  /** The record stays; these orders are due. */
  | {
      readonly kind: 'act';
      readonly row: string;
      readonly orders: readonly DueOrder[];
      /** A host to be asked for a report now; null = none. */
      readonly probe: string | null;
      readonly reason: string;
      readonly hold: boolean;
    };

export function decide(view: VmView): Decision {
  const row = rowOf(view);
  return carryOut(view, row, row.act(view));
}

/** The row that holds now. */
export function rowOf(view: VmView): Row {
  const row = BY_PHASE.get(view.record.phase)?.find((each) => each.when(view));
  assert(row !== undefined, `no row for phase ${view.record.phase}`);
  return row;
}

function carryOut(view: VmView, row: Row, change: Change): Decision {
  const { record } = view;
  switch (change.kind) {
    case 'edge': {
      const { record: next, history } = takeEdge(view, row.name, change, 'coordinator');
      return { kind: 'save', row: row.name, record: next, history, stopWanted: change.stopWanted === true };
    }
    case 'note':
      return { kind: 'save', row: row.name, record: { ...record, ...change.patch }, history: null, stopWanted: false };
    case 'forget':
      return { kind: 'forget', row: row.name };
    case 'freeze':
      return { kind: 'act', row: row.name, orders: [], probe: null, reason: change.reason, hold: true };
    case 'hold':
      return act(view, row, change.reason, { hold: true });
    case 'checkpoint':
      return act(view, row, change.reason, { checkpoint: true });
    case 'probe':
      return act(view, row, change.reason, { probe: change.host });
    case 'none':
      return act(view, row, change.reason, {});
    default:
      return unreachable(change);
  }
}

/** The record and the history entry of an edge, whoever decided it. */
export function takeEdge(
  view: VmView,
  row: string,
  change: Extract<Change, { kind: 'edge' }>,
  by: string,
): { readonly record: VmRecord; readonly history: HistoryEntry } {
  const record: VmRecord = { ...view.record, ...change.patch, epoch: nextEpoch(view.record.epoch), row, sinceMs: view.wallMs };
  return { record, history: historyOf(view, record, change.evidence, by) };
}

function act(
  view: VmView,
  row: Row,
  reason: string,
  how: { readonly hold?: true; readonly checkpoint?: true; readonly probe?: string },
): Decision {
  const orders = dueOrders(view, how.checkpoint === true && view.doubtMs >= CHECKPOINT_ORDER_AFTER_MS);
  return { kind: 'act', row: row.name, orders, probe: how.probe ?? null, reason, hold: how.hold === true };
}

function historyOf(view: VmView, next: VmRecord, evidence: readonly string[], by: string): HistoryEntry {
  const durationsMs = { ...view.a?.report?.durationsMs, ...view.durationsMs };
  return {
    atMs: view.wallMs,
    vm: next.vm,
    epoch: next.epoch,
    row: next.row,
    from: view.record.phase,
    to: next.phase,
    primary: next.primary?.host ?? null,
    secondary: next.secondary?.host ?? null,
    evidence: [next.reason, ...evidence],
    by,
    durationsMs,
  };
}
