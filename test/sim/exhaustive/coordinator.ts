// What a coordinator of the small world can do: look at what it last saw and decide, carry its decision to the store, hear of what is new,
// take the leader's place, and die. Deciding, ordering and saving are the product's own functions.

import { assemble, type Known } from '../../../coordinator/core/assemble.js';
import { decide } from '../../../coordinator/core/decide.js';
import type { HostLink } from '../../../coordinator/core/link.js';
import type { Memory } from '../../../coordinator/core/memory.js';
import { guardOf } from '../../../coordinator/leadership.js';
import { saveDecision, type Draft, type Saved } from '../../../coordinator/save.js';
import { vmRecordCodec } from '../../../shared/core/codec.js';
import { instant } from '../../../shared/core/ids.js';
import { keysOf } from '../../../shared/core/keys.js';
import type { Order, VmRecord } from '../../../shared/core/model.js';
import { fail, ok } from '../../../shared/core/result.js';
import type { Compare, Store, Write } from '../../../shared/ports.js';
import { drain } from '../world/drain.js';
import { asTerm, hostKey, HOSTS, INCARNATION, WANTED, type Coordinator, type CoordinatorState, type Host, type State } from './state.js';
import type { Next } from './host.js';

const KEYS = keysOf('/small');
const LONG_AGO = instant(-1e9);
const NOW = instant(0);
/** More orders than this are not on their way at once; the oldest is lost. */
const MOST_ORDERS = 3;

export const withCoordinator = (state: State, name: Coordinator, change: Partial<CoordinatorState>): State => ({
  ...state,
  coordinators: { ...state.coordinators, [name]: { ...state.coordinators[name], ...change } },
});

/** Texts for people, and times, are no part of a state. */
function bare(record: VmRecord): VmRecord {
  const { verdict } = record;
  return {
    ...record,
    reason: '',
    lastError: null,
    failedAttempts: 0,
    failoversAtMs: [],
    sinceMs: 0,
    verdict: verdict === null ? null : { ...verdict, evidence: [], atMs: 0 },
  };
}

function bareDraft(draft: Draft): Draft {
  const { decision } = draft;
  if (decision.kind === 'forget') return draft;
  const history = decision.history === null ? null : { ...decision.history, evidence: [], durationsMs: {} };
  return { ...draft, decision: { ...decision, record: bare(decision.record), history } };
}

/** `patient`: every timer has run out; else none has begun. Null = nothing follows. */
export function look(state: State, name: Coordinator, patient: boolean): State | null {
  const own = state.coordinators[name];
  const { record, revision } = own.seen;
  if (own.leads === 0 || own.draft !== null || record === null) return null;
  const links = new Map<string, HostLink>(
    HOSTS.map((host) => [host, { host, heard: own.heard[host], lastReportAt: NOW, report: own.reports[host], strange: [] }]),
  );
  const known: Known = {
    incarnation: INCARNATION,
    term: asTerm(own.leads),
    termBase: 0,
    now: NOW,
    wallMs: 0,
    late: false,
    portRange: { first: 20_000, last: 20_999 },
    failoversPerHour: 12,
    hosts: new Map(HOSTS.map((host) => [host, { key: hostKey(host), leased: true }])),
    links,
    records: new Map([['demo', record]]),
  };
  const memory: Memory | null = patient
    ? {
        epoch: record.epoch,
        epochSince: LONG_AGO,
        unknownSince: { a: LONG_AGO, b: LONG_AGO },
        doubtSince: LONG_AGO,
        troubleSince: LONG_AGO,
        failedHosts: new Map(),
        durationsMs: {},
      }
    : null;
  const { view } = assemble(known, WANTED, record, memory);
  const decision = decide(view);
  if (decision.kind !== 'act') {
    const draft = bareDraft({ vm: 'demo', decision, recordRevision: revision, specRevision: 1, wanted: WANTED });
    return withCoordinator(state, name, { draft: { ...draft, term: own.leads } });
  }
  let { orders } = state;
  for (const due of decision.orders) {
    const order: Order = {
      incarnation: INCARNATION,
      vm: 'demo',
      uid: WANTED.uid,
      term: asTerm(own.leads),
      epoch: record.epoch,
      goal: due.goal,
      spec: WANTED.spec,
    };
    const to: Host = due.host === 'h1' ? 'h1' : 'h2';
    const text = JSON.stringify(order);
    if (orders.some((each) => each.to === to && JSON.stringify(each.order) === text)) continue;
    orders = [...orders, { to, order, delivered: false }].slice(-MOST_ORDERS);
  }
  return orders === state.orders ? null : { ...state, orders };
}

export type Luck = 'known' | 'unknown, and written' | 'unknown, and not written' | 'unknown, and still on its way';

/** The draft reaches the store, and what came of it is heard. */
export function commit(state: State, name: Coordinator, luck: Luck): Next | null {
  const { draft } = state.coordinators[name];
  if (draft === null) return null;
  if (luck === 'unknown, and still on its way' && state.late !== null) return null;
  let after = state;
  let wrong: string | null = null;
  const read = (key: string) => {
    if (key !== KEYS.record('demo')) return { kv: null, revision: after.revision };
    const value = vmRecordCodec.encode(after.record);
    return { kv: { key, value, createRevision: 1, modRevision: after.recordRevision, lease: '0' }, revision: after.revision };
  };
  const apply = (writes: readonly Write[]): void => {
    after = { ...after, revision: after.revision + 1 };
    for (const write of writes) {
      if (write.kind !== 'put' || write.key !== KEYS.record('demo')) continue;
      const decoded = vmRecordCodec.decode(write.key, write.value);
      if (!decoded.ok) continue;
      wrong ??= whatIsWrong(state, name, decoded.value);
      after = { ...after, record: decoded.value, recordRevision: after.revision };
    }
  };
  const store: Pick<Store, 'txn' | 'get'> = {
    txn: async (compares, writes) => {
      const holds = compares.every((each) => revisionIn(state, each.key) === each.revision);
      if (luck === 'unknown, and still on its way') after = { ...after, late: lateWrite(name, compares, writes) };
      else if (holds && luck !== 'unknown, and not written') apply(writes);
      if (luck !== 'known') return fail({ kind: 'unknown', detail: '' });
      return ok({ succeeded: holds, revision: after.revision });
    },
    get: async (key) => ok(read(key)),
  };
  let saved: Saved | null = null;
  void saveDecision(store as Store, KEYS, guardOf(KEYS, asTerm(draft.term)), draft).then((answer) => {
    saved = answer;
  });
  drain();
  if (wrong !== null) return { broken: wrong };
  const outcome = saved as Saved | null;
  if (outcome === null) return { broken: 'a save did not end' };
  const seen =
    outcome.kind === 'failed' || outcome.record === null
      ? state.coordinators[name].seen
      : { record: outcome.record.value, revision: outcome.record.modRevision };
  return withCoordinator(after, name, { draft: null, seen });
}

function lateWrite(by: Coordinator, compares: readonly Compare[], writes: readonly Write[]): State['late'] {
  for (const write of writes) {
    if (write.kind !== 'put' || write.key !== KEYS.record('demo')) continue;
    const decoded = vmRecordCodec.decode(write.key, write.value);
    if (decoded.ok) return { by, compares, record: decoded.value };
  }
  return null;
}

/** A write that nobody waits for any more reaches the store, whoever leads by now. */
export function lateArrives(state: State): Next | null {
  const { late } = state;
  if (late === null) return null;
  const rest = { ...state, late: null };
  if (!late.compares.every((each) => revisionIn(state, each.key) === each.revision)) return rest;
  const wrong = whatIsWrong(state, late.by, late.record);
  if (wrong !== null) return { broken: wrong };
  return { ...rest, revision: state.revision + 1, record: late.record, recordRevision: state.revision + 1 };
}

const revisionIn = (state: State, key: string): number =>
  key === KEYS.leader ? state.leader.revision : key === KEYS.record('demo') ? state.recordRevision : 1;

/** Null = this record may follow the one that is there. */
function whatIsWrong(state: State, by: Coordinator, next: VmRecord): string | null {
  const { record, leader } = state;
  if (leader.name !== by) return `${by} saves epoch ${next.epoch}, and ${leader.name} leads`;
  if (next.epoch === record.epoch) return next.phase === record.phase ? null : `the phase changed within epoch ${next.epoch}`;
  if (next.epoch !== record.epoch + 1) return `the epoch went from ${record.epoch} to ${next.epoch}`;
  const isPromotion = next.phase === 'verdict' && next.verdict?.kind === 'promote-secondary';
  if (isPromotion && record.phase !== 'protected' && record.phase !== 'verdict') return `a promotion out of ${record.phase}`;
  return wrongEdge(state, next);
}

/** What the hosts themselves must bear out when the record says it. */
function wrongEdge(state: State, next: VmRecord): string | null {
  const { record, hosts, pair } = state;
  const own = (each: VmRecord['primary']) => {
    const journal = each === null ? null : (hosts[each.host === 'h1' ? 'h1' : 'h2'].journal?.qemu ?? null);
    return journal?.born === each?.born ? journal : null;
  };
  const alive = (each: VmRecord['primary']) => {
    const qemu = each === null ? null : hosts[each.host === 'h1' ? 'h1' : 'h2'].qemu;
    return qemu?.alive === true && qemu.born === each?.born ? qemu : null;
  };
  const [a, b] = [alive(record.primary), alive(record.secondary)];
  if (next.phase === 'executed' && own(next.primary)?.aloneSince !== record.epoch)
    return `the verdict of epoch ${record.epoch} is called executed, and ${next.primary?.host ?? 'nobody'} has not said so`;
  if (next.phase === 'protected' && [next.primary, next.secondary].some((each) => own(each)?.provenFor !== record.epoch))
    return `epoch ${next.epoch} is called protected, and a side has not proven itself`;
  const isHealthy = pair === 'colo' && a !== null && b !== null && !a.noticed && !b.noticed;
  if (record.phase === 'protected' && isHealthy) return `a healthy pair is taken apart by ${next.row}`;
  const last = [a, b].find((each) => each?.whole === true && each.count >= state.told);
  const wasReleased = record.phase === 'verdict' && own(record.primary)?.aloneSince === record.epoch;
  if (
    (record.phase === 'protected' || record.phase === 'verdict') &&
    next.phase === 'stopped' &&
    last !== undefined &&
    last !== null &&
    !wasReleased
  )
    return `the last live copy is given up by ${next.row}`;
  return null;
}

/** The mirror brings what is there now. */
export function learn(state: State, name: Coordinator): State | null {
  const { seen } = state.coordinators[name];
  if (seen.revision === state.recordRevision) return null;
  return withCoordinator(state, name, { seen: { record: state.record, revision: state.recordRevision } });
}

export function usurp(state: State, name: Coordinator): State | null {
  if (state.coordinators[name].leads === state.leader.revision) return null;
  const revision = state.revision + 1;
  const after = { ...state, revision, leader: { name, revision } };
  return withCoordinator(after, name, { leads: revision, draft: null });
}

/** It hears that another leads. */
export function yieldPlace(state: State, name: Coordinator): State | null {
  const { leads } = state.coordinators[name];
  if (leads === 0 || leads === state.leader.revision) return null;
  return withCoordinator(state, name, { leads: 0, draft: null });
}

/** It ends and begins anew, with the record as it is now and nothing heard of any host. */
export function restart(state: State, name: Coordinator): State {
  return withCoordinator(state, name, {
    leads: 0,
    draft: null,
    seen: { record: state.record, revision: state.recordRevision },
    reports: { h1: null, h2: null },
    heard: { h1: false, h2: false },
  });
}
