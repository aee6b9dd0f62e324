// What each host is told, given the record as it is saved. Level-triggered: an order is due as long as the reports do not show what it
// asks for, and giving it twice does no harm. Nothing is ordered here that the saved record does not already say.

import type { Goal, GoalKind, Ports, Side, VmRecord } from '../../shared/core/model.js';
import { unreachable } from '../../shared/core/assert.js';
import { FORCED } from './rows.js';
import { isSameSide, type HostView, type SideView, type VmView } from './view.js';

export interface DueOrder {
  readonly host: string;
  readonly goal: Goal;
}

/** Which goals can be set in which phase; the agents' plans are held against this by a test. */
export const GOALS_BY_PHASE: Readonly<Record<VmRecord['phase'], readonly GoalKind[]>> = {
  stopped: ['destroy'],
  starting: ['start-alone', 'destroy'],
  solo: ['release-primary', 'destroy'],
  syncing: ['start-cold-primary', 'start-secondary', 'protect', 'destroy'],
  protected: ['checkpoint', 'destroy'],
  verdict: ['release-primary', 'release-secondary', 'hold', 'destroy'],
  executed: ['destroy'],
  stopping: ['stop', 'destroy'],
  failed: ['destroy'],
  held: ['release-primary', 'destroy'],
};

/** Orders that are due now. `checkpoint`: the table asks for a forced one. */
export function dueOrders(view: VmView, checkpoint: boolean): readonly DueOrder[] {
  const { record } = view;
  const own = ordersOfPhase(view);
  const forced: readonly DueOrder[] =
    checkpoint && record.phase === 'protected' && view.a?.qemu === 'alive'
      ? [{ host: view.a.side.host, goal: { kind: 'checkpoint', born: view.a.side.born } }]
      : [];
  const first = [...own, ...forced];
  // A host is told one thing at a time; an order to start lets an earlier QEMU go by the same rule as an order to destroy it.
  return [...first, ...leftovers(view).filter((left) => !first.some((each) => each.host === left.host))];
}

function ordersOfPhase(view: VmView): readonly DueOrder[] {
  const { record, a, b } = view;
  switch (record.phase) {
    case 'starting':
      return a === null || a.report?.aloneSince === record.epoch ? [] : [startAlone(view, a)];
    case 'solo':
    case 'held':
      return a === null || a.qemu !== 'alive' || runsAlone(a)
        ? []
        : [{ host: a.side.host, goal: { kind: 'release-primary', born: a.side.born, acceptLoss: false } }];
    case 'syncing':
      return syncing(view, a, b);
    case 'verdict':
      return verdictOrders(view, a, b);
    case 'stopping':
      return stopping(a, b);
    case 'stopped':
    case 'protected':
    case 'executed':
    case 'failed':
      return [];
    default:
      return unreachable(record.phase);
  }
}

/** A side that never came up has nothing to stop; it is told to let go, so that its journal proves that it never will come up. */
function stopping(a: SideView | null, b: SideView | null): readonly DueOrder[] {
  const orders: DueOrder[] = [];
  if (a !== null && a.qemu !== 'dead' && a.qemu !== 'unheard') {
    orders.push({ host: a.side.host, goal: isThere(a) ? { kind: 'stop', born: a.side.born } : { kind: 'destroy' } });
  }
  if (b !== null && b.qemu !== 'dead' && b.qemu !== 'unheard' && !isThere(b)) orders.push({ host: b.side.host, goal: { kind: 'destroy' } });
  return orders;
}

const isThere = (side: SideView): boolean =>
  side.report !== null && side.report.qemu.kind !== 'absent' && side.report.qemu.born === side.side.born;

const runsAlone = (side: SideView): boolean =>
  side.report?.qemu.kind === 'alive' && side.report.qemu.role === 'alone' && side.report.aloneSince !== null;

function startAlone(view: VmView, a: SideView): DueOrder {
  const { disk } = view.record;
  // Images are made only when there is no record of data anywhere, so that an empty disk never takes the place of a lost one.
  return {
    host: a.side.host,
    goal: {
      kind: 'start-alone',
      born: a.side.born,
      images: disk === null || disk.images.length === 0 ? null : disk.images,
      create: disk === null,
    },
  };
}

function syncing(view: VmView, a: SideView | null, b: SideView | null): readonly DueOrder[] {
  const { ports, epoch } = view.record;
  if (a === null || b === null || ports === null) return [];
  const orders: DueOrder[] = [];
  const cold = isCold(a, view.record);
  if (cold && a.report?.readyFor !== epoch && !isProven(a, view.record)) {
    orders.push({ host: a.side.host, goal: { kind: 'start-cold-primary', born: a.side.born, ports, peer: peerOf(view, b.side) } });
  }
  const ready = b.report?.readyFor === epoch;
  if (!ready && !isProven(b, view.record)) {
    orders.push({ host: b.side.host, goal: { kind: 'start-secondary', born: b.side.born, ports, peer: peerOf(view, a.side) } });
  }
  if (ready && (!cold || a.report?.readyFor === epoch) && !isProven(a, view.record)) {
    const method = cold ? 'identical-images' : view.wanted.spec.method === 'identical-images' ? 'stop-copy' : view.wanted.spec.method;
    orders.push({ host: a.side.host, goal: { kind: 'protect', born: a.side.born, ports, peer: peerOf(view, b.side), method } });
  }
  return orders;
}

/** In the seed's cold start both sides are born together. */
const isCold = (a: SideView, record: VmRecord): boolean => a.side.born === record.epoch;
const isProven = (side: SideView, record: VmRecord): boolean => side.report?.provenFor === record.epoch;

function verdictOrders(view: VmView, a: SideView | null, b: SideView | null): readonly DueOrder[] {
  const { verdict, ports, epoch } = view.record;
  if (verdict === null || a === null) return [];
  const orders: DueOrder[] = [];
  if (a.report?.aloneSince !== epoch) {
    const goal: Goal =
      verdict.kind === 'solo-primary'
        ? { kind: 'release-primary', born: a.side.born, acceptLoss: verdict.row === FORCED }
        : { kind: 'release-secondary', born: a.side.born, ports: ports ?? noPorts };
    orders.push({ host: a.side.host, goal });
  }
  if (b !== null && b.qemu !== 'dead' && b.report !== null && !b.report.held)
    orders.push({ host: b.side.host, goal: { kind: 'hold', born: b.side.born } });
  return orders;
}

const noPorts: Ports = { migration: 0, nbd: 0, mirror: [], compare: [] };

/** QEMUs of this VM that the record does not name are let go; the agent asks etcd once more before it does so. */
function leftovers(view: VmView): readonly DueOrder[] {
  return view.hosts.filter((host) => hasForeignQemu(view, host)).map((host) => ({ host: host.key.host, goal: { kind: 'destroy' } }));
}

function hasForeignQemu(view: VmView, host: HostView): boolean {
  const { report } = host;
  if (report === null || report.qemu.kind === 'absent') return false;
  const { primary, secondary, phase } = view.record;
  const here: Side = { host: host.key.host, hostId: host.key.hostId, born: report.qemu.born };
  if (isSameSide(primary, here)) return false;
  // While stopping, the secondary is of no more use; the primary is stopped in its own way.
  return phase === 'stopping' || !isSameSide(secondary, here);
}

function peerOf(view: VmView, side: Side): { host: string; address: string } {
  const host = view.hosts.find((each) => each.key.host === side.host);
  return { host: side.host, address: host?.key.replicationAddress ?? '' };
}
