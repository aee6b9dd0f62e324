// What can happen on one host of the small world: an order arrives and is judged, its task does a step, QEMU or the agent dies, and what was
// done is seen. The judgements are the product's; what an action does to QEMU is said here in one line each.

import { judgeDestroy } from '../../../agent/core/destroy-rule.js';
import {
  bornOf,
  journalOrder,
  startsQemu,
  withoutDoubt,
  type Outcome,
  type QemuJournal,
  type VmJournal,
} from '../../../agent/core/journal.js';
import { judgeOrder } from '../../../agent/core/orders.js';
import { plan, type Action, type Situation } from '../../../agent/core/plan.js';
import { reportOf } from '../../../agent/core/report.js';
import { diskId, epoch, hostId, instant } from '../../../shared/core/ids.js';
import type { HostReport, Order, VmReport } from '../../../shared/core/model.js';
import { INCARNATION, PARENT, type Disk, type Host, type HostState, type Qemu, type State } from './state.js';

/** A world after something, or what was broken by it. */
export type Next = State | { readonly broken: string };

export const other = (host: Host): Host => (host === 'h1' ? 'h2' : 'h1');
export const withHost = (state: State, host: Host, change: Partial<HostState>): State => ({
  ...state,
  hosts: { ...state.hosts, [host]: { ...state.hosts[host], ...change } },
});
const withQemu = (state: State, host: Host, change: Partial<Qemu>): State => {
  const { qemu } = state.hosts[host];
  return qemu === null ? state : withHost(state, host, { qemu: { ...qemu, ...change } });
};
const withJournal = (state: State, host: Host, patch: Partial<QemuJournal>, change: Partial<VmJournal> = {}): State => {
  const { journal } = state.hosts[host];
  if (journal === null) return state;
  return withHost(state, host, { journal: { ...journal, ...change, qemu: journal.qemu === null ? null : { ...journal.qemu, ...patch } } });
};
const breaks = (state: State): State => (state.pair === 'colo' || state.pair === 'copying' ? { ...state, pair: 'broken' } : state);

export function situationOf({ journal, qemu, adopted }: HostState): Situation {
  if (journal === null || journal.qemu === null) return 'absent';
  if (journal.qemu.death !== null) return 'dead';
  if (qemu === null || qemu.born !== journal.qemu.born) return 'absent';
  return adopted ? qemu.role : 'unseen';
}

/** Its images as the report names them. */
function imagesOf({ state }: Disk): readonly string[] {
  if (state === 'missing') return [];
  return state === 'clean' ? [PARENT] : ['active', 'hidden', PARENT];
}

const reports = new WeakMap<HostState, HostReport>();

/** The same object as long as the host is the same. */
export function reportOfHost(state: State, host: Host): HostReport {
  const known = reports.get(state.hosts[host]);
  if (known !== undefined) return known;
  const report = madeReport(state.hosts[host], host);
  reports.set(state.hosts[host], report);
  return report;
}

function madeReport(state: HostState, host: Host): HostReport {
  const { journal, qemu, task, disk } = state;
  const situation = situationOf(state);
  const isHalf = situation === 'primary' || situation === 'secondary';
  const vms: VmReport[] = [];
  if (journal !== null) {
    const failed = journal.outcome.kind === 'failed' ? journal.outcome : null;
    const about = { goal: journal.goal.kind, epoch: journal.epoch };
    vms.push(
      reportOf(
        {
          journal,
          situation,
          launching: false,
          pid: null,
          runstate: 'running',
          seen: null,
          mergeFailed: false,
          replication: 'none',
          pair: { state: !isHalf ? 'none' : qemu?.noticed === true ? 'hard' : state.sawCheckpoint ? 'ok' : 'unknown', evidence: [] },
          mainLoopSilentSince: null,
          task:
            task !== null
              ? { kind: 'running', ...about, procedure: '', step: '' }
              : failed === null
                ? { kind: 'idle' }
                : { kind: 'failed', ...about, step: '', error: '' },
          disk: {
            diskId: disk.state === 'missing' ? null : diskId(`disk-${host}`),
            stampEpoch: disk.state === 'missing' ? null : epoch(disk.stampEpoch),
            state: disk.state,
            images: imagesOf(disk),
          },
          resync: null,
          durationsMs: {},
        },
        instant(0),
      ),
    );
  }
  return {
    host,
    hostId: hostId(`id-${host}`),
    session: '',
    sequence: 0,
    latenessMs: 0,
    incarnation: INCARNATION,
    vms,
    peersSilentMs: {},
    freeDiskBytes: 1e12,
    etcdSilentMs: 0,
  };
}

/** An order arrives at a living agent that has looked at what is here. */
export function obey(state: State, host: Host, order: Order): Next {
  const { journal, task } = state.hosts[host];
  const agent = { format: 1, hostId: hostId(`id-${host}`), incarnation: INCARNATION } as const;
  const word = { incarnation: INCARNATION, record: state.record };
  const first = judgeOrder(order, agent, journal, task !== null, null);
  const judged = first.kind === 'ask-store' ? judgeOrder(order, agent, journal, task !== null, word) : first;
  if (judged.kind === 'repeated')
    return journal !== null && order.term > journal.term ? withJournal(state, host, {}, { term: order.term }) : state;
  if (judged.kind !== 'obey') return state;
  let after: Next = state;
  const { goal } = order;
  const mustGo =
    goal.kind === 'destroy' ||
    (startsQemu(goal) && journal?.qemu !== null && journal?.qemu !== undefined && journal.qemu.born !== bornOf(goal));
  if (mustGo && journal !== null && journal.qemu !== null) {
    if (judgeDestroy(journal, journal.qemu, agent.hostId, state.record).kind !== 'permitted') return state;
    if (goal.kind !== 'destroy') after = destroy(state, host);
  }
  if ('broken' in after) return after;
  const now = after.hosts[host].journal;
  if (journal !== null && (order.term < journal.term || order.epoch < journal.epoch))
    return { broken: `${host} obeys term ${order.term} epoch ${order.epoch} after ${journal.term}/${journal.epoch}` };
  return withHost(after, host, { journal: journalOrder(now, order, diskId(`disk-${host}`)), task: 'begin' });
}

/** An agent kills what is here and clears away after it. */
function destroy(state: State, host: Host): Next {
  const { qemu } = state.hosts[host];
  const { record } = state;
  if (qemu?.alive === true) {
    const named = [record.primary, record.secondary].some((side) => side?.host === host && side.born === qemu.born);
    if (named && record.phase !== 'stopping')
      return { broken: `${host} kills the QEMU that the record of epoch ${record.epoch} (${record.phase}) names` };
    if (record.phase === 'verdict') return { broken: `${host} kills a QEMU before the verdict of epoch ${record.epoch} is executed` };
  }
  const gone = qemuEnds(state, host);
  const { journal } = gone.hosts[host];
  return withHost(gone, host, { qemu: null, journal: journal === null ? null : { ...journal, qemu: null } });
}

/** QEMU ends, by whomever. What it had on disk is what counts from now on. */
export function qemuEnds(state: State, host: Host): State {
  const { qemu, disk } = state.hosts[host];
  if (qemu === null || !qemu.alive) return state;
  // A secondary's own view is kept in its overlays; one that was never in lock-step has none.
  const count = qemu.whole ? qemu.count : -1;
  return breaks(withHost(state, host, { qemu: { ...qemu, alive: false, heard: false }, disk: { ...disk, count } }));
}

const ended = (state: State, host: Host, outcome: Outcome): State => {
  const { journal } = state.hosts[host];
  if (journal === null) return withHost(state, host, { task: null });
  const isSure = outcome.kind === 'failed' && journal.qemu !== null;
  return withHost(state, host, {
    task: null,
    journal: { ...journal, outcome, qemu: isSure ? withoutDoubt(journal.qemu, journal.epoch) : journal.qemu },
  });
};
const failed = (state: State, host: Host): State => ended(state, host, { kind: 'failed', step: '', error: '' });
const done = (state: State, host: Host): State => ended(state, host, { kind: 'done' });

/** The next step of the task; null = it waits. */
export function step(state: State, host: Host): Next | null {
  const { journal, qemu, task } = state.hosts[host];
  if (journal === null || task === null) return null;
  if (task === 'mark') {
    const alone = { aloneSince: journal.epoch, releasing: null, promised: null, readyFor: null, provenFor: null, held: false };
    return done(withJournal(state, host, alone), host);
  }
  if (task === 'pairing') return pairOn(state, host);
  // A death that was not seen yet answers nothing.
  if (qemu !== null && !qemu.alive && journal.qemu?.born === qemu.born && journal.qemu.death === null) return null;
  const planned = plan(journal.goal.kind, situationOf(state.hosts[host]));
  switch (planned.kind) {
    case 'done':
      return done(state, host);
    case 'fail':
      return failed(state, host);
    case 'wait':
      return null;
    case 'do':
      return ACT[planned.action]?.(state, host, journal) ?? null;
  }
}

/** The peer answers and both are equal; or it does not. */
function pairOn(state: State, host: Host): State {
  const [own, peer] = [state.hosts[host].qemu, state.hosts[other(host)].qemu];
  if (own === null || !own.alive) return failed(state, host);
  if (state.linkCut || peer === null || !peer.alive || peer.role !== 'incoming') return failed(breaks(state), host);
  const paired = withQemu({ ...state, pair: 'colo' }, other(host), { role: 'secondary', whole: true, count: own.count, noticed: false });
  const seen = withHost(paired, other(host), { sawCheckpoint: true });
  return withHost(withQemu(seen, host, { role: 'primary', noticed: false }), host, { task: 'begin', sawCheckpoint: true });
}

type Act = (state: State, host: Host, journal: VmJournal) => Next;

const ACT: Readonly<Partial<Record<Action, Act>>> = {
  'launch-alone': (state, host, journal) => {
    const { goal } = journal;
    const { disk } = state.hosts[host];
    if (goal.kind !== 'start-alone') return failed(state, host);
    const isChain = (goal.images?.length ?? 0) > 1;
    const usable = disk.state === 'clean' || ((disk.state === 'merging' || disk.state === 'stale') && isChain && disk.count >= 0);
    if (disk.state === 'missing' ? !goal.create : !usable) return failed(state, host);
    const count = disk.state === 'missing' ? 0 : disk.count;
    const qemu: Qemu = { born: goal.born, alive: true, role: 'alone', heard: true, noticed: false, whole: count >= 0, count };
    return withHost(state, host, { qemu, task: 'mark', disk: { count, state: 'clean', stampEpoch: journal.epoch } });
  },
  'launch-secondary': (state, host, journal) => {
    const born = bornOf(journal.goal) ?? 0;
    const qemu: Qemu = { born, alive: true, role: 'incoming', heard: false, noticed: false, whole: false, count: -1 };
    return withHost(state, host, { qemu, disk: { count: -1, state: 'stale', stampEpoch: 0 } });
  },
  'prepare-secondary': (state, host, journal) => done(withJournal(state, host, { readyFor: journal.epoch }), host),
  'go-alone': (state, host) => withHost(withQemu(state, host, { heard: true }), host, { task: 'mark' }),
  protect: (state, host) => {
    const peer = state.hosts[other(host)].qemu;
    if (state.linkCut || peer?.alive !== true || peer.role !== 'incoming') return failed(state, host);
    const begun = withJournal(state, host, { coloExited: false, provenFor: null, promised: null, unpromotable: null });
    return withHost(withQemu({ ...begun, pair: 'copying' }, host, { role: 'attempt', heard: false }), host, { task: 'pairing' });
  },
  prove: (state, host, journal) => {
    if (state.pair !== 'colo') return failed(state, host);
    return done(withJournal(state, host, { promised: journal.epoch, provenFor: journal.epoch, aloneSince: null }), host);
  },
  rollback: (state, host) => withQemu({ ...state, pair: 'none' }, host, { role: 'alone', heard: true }),
  'primary-failover': (state, host) => withHost(withQemu(breaks(state), host, { role: 'alone', heard: true }), host, { task: 'mark' }),
  'secondary-failover': (state, host, journal) => {
    const { qemu } = state.hosts[host];
    const disk: Disk = { count: qemu?.count ?? -1, state: 'merging', stampEpoch: journal.epoch };
    return withHost(withQemu(breaks(state), host, { role: 'alone', heard: true }), host, { task: 'mark', disk });
  },
  'tap-down': (state, host) => done(withJournal(withQemu(state, host, { heard: false }), host, { held: true }), host),
  'force-checkpoint': (state, host) => done(state, host),
  kill: (state, host) => {
    const after = destroy(state, host);
    return 'broken' in after ? after : done(after, host);
  },
  'clean-up': (state, host) => {
    const { journal } = state.hosts[host];
    return done(withHost(state, host, { qemu: null, journal: journal === null ? null : { ...journal, qemu: null } }), host);
  },
};
