// The leader's loop: for each VM, look at everything, decide, save, then order, and again. Level-triggered: watches, streams and timers only
// wake it. It relies on ports alone, so that the same loop runs in a simulated world; it never decides, and it never acts before the saving.

import { dueOrders } from './core/orders.js';
import { assemble, initialRecord, type Known } from './core/assemble.js';
import { decide, type Decision } from './core/decide.js';
import type { Memory } from './core/memory.js';
import type { VmView } from './core/view.js';
import type { Catalogue } from './catalogue.js';
import { GivenOrders } from './given.js';
import { guardOf, type LeadershipState } from './leadership.js';
import type { CoordinatorPorts } from './ports.js';
import { saveDecision, type Saved } from './save.js';
import type { Instant, Term } from '../shared/core/ids.js';
import type { Keys } from '../shared/core/keys.js';
import { FAILOVERS_PER_HOUR, LATE_TICK_MS, PROBE_MS, RECONCILE_INTERVAL_MS } from '../shared/core/limits.js';
import type { VmRecord, VmWanted } from '../shared/core/model.js';

/** More edges than this in one go would be a circle in the table. */
const MOST_EDGES = 8;
/** A reason that changes is written into the record at most so often. */
const REASON_PAUSE_MS = 1_000;
/** A reason that lasts shorter is not written at all: words must not stand in the way of a verdict that follows on their heels. */
const REASON_LASTS_MS = 400;

export interface LoopOptions {
  readonly keys: Keys;
  readonly portRange: { readonly first: number; readonly last: number };
  /** Absent = FAILOVERS_PER_HOUR. */
  readonly failoversPerHour?: number;
}

export interface CoordinatorLoop {
  /** Something changed; null = anywhere. */
  wake(vm: string | null): void;
  /** What the last look at this VM said; null = this coordinator does not lead, or has not looked. */
  decisionOf(vm: string): { readonly row: string; readonly reason: string; readonly hold: boolean } | null;
  /** When the last full round ended, for the watchdog. */
  lastRoundAt(): Instant;
  close(): void;
}

interface VmState {
  memory: Memory | null;
  term: Term | null;
  readonly given: GivenOrders;
  /** Record that is being saved: its ports are taken, whatever comes of it. */
  saving: VmRecord | null;
  /**
   * Revision of a record on which an edge of ours may come yet: its transaction was sent and not answered. What was right when it was sent may
   * be wrong by then, so a record that gets no other edge is written anew, and the late transaction finds another revision than its own.
   */
  unanswered: number | null;
  /** When a record was last written for its words alone. */
  reasonAt: Instant | null;
  /** The reason that was given last, and since when. */
  reason: { readonly text: string; readonly since: Instant } | null;
  shown: { readonly row: string; readonly reason: string; readonly hold: boolean };
  asking: boolean;
  running: boolean;
  again: boolean;
}

export function runCoordinator(
  ports: CoordinatorPorts,
  options: LoopOptions,
  catalogue: Catalogue,
  leadership: { state(): LeadershipState },
): CoordinatorLoop {
  const { clock, store, agents, log } = ports;
  const { keys, portRange } = options;
  const states = new Map<string, VmState>();
  let closed = false;
  let lateUntil: Instant | null = null;
  let lastRound = clock.now();
  let cancelTick = tick();

  function tick(): () => void {
    const from = clock.now();
    return clock.after(RECONCILE_INTERVAL_MS, () => {
      const now = clock.now();
      lateUntil = now - from - RECONCILE_INTERVAL_MS > LATE_TICK_MS ? ((now + RECONCILE_INTERVAL_MS) as Instant) : lateUntil;
      wake(null);
      lastRound = clock.now();
      if (!closed) cancelTick = tick();
    });
  }

  function wake(vm: string | null): void {
    if (closed || leadership.state().kind !== 'leader' || catalogue.snapshot() === null || catalogue.cluster() === null) return;
    const names = vm === null ? [...catalogue.wanted().keys()] : [vm];
    for (const name of names) void reconcile(name);
    for (const name of states.keys()) if (!catalogue.wanted().has(name)) states.delete(name);
  }

  async function reconcile(vm: string): Promise<void> {
    const state = stateOf(vm);
    if (state.running) {
      state.again = true;
      return;
    }
    state.running = true;
    try {
      do {
        state.again = false;
        for (let edges = 0; edges < MOST_EDGES && (await look(vm, state)); edges += 1);
      } while (state.again && !closed);
    } finally {
      state.running = false;
    }
  }

  function stateOf(vm: string): VmState {
    const found = states.get(vm);
    if (found !== undefined) return found;
    const made: VmState = {
      memory: null,
      term: null,
      given: new GivenOrders(ports, vm, () => wake(vm)),
      saving: null,
      unanswered: null,
      reasonAt: null,
      reason: null,
      shown: { row: '', reason: '', hold: false },
      asking: false,
      running: false,
      again: false,
    };
    states.set(vm, made);
    return made;
  }

  /** One look at one VM. True = the record changed, so look again at once. */
  async function look(vm: string, state: VmState): Promise<boolean> {
    const leading = leadership.state();
    const wanted = catalogue.wanted().get(vm);
    const cluster = catalogue.cluster();
    if (closed || leading.kind !== 'leader' || wanted === undefined || cluster === null) return false;
    if (catalogue.unreadable().has(keys.record(vm))) return false;
    if (state.term !== leading.term) {
      // A new leader knows nothing: every clock starts anew.
      state.term = leading.term;
      state.memory = null;
      state.unanswered = null;
      state.given.forget();
    }
    const stored = catalogue.records().get(vm);
    if (stored !== undefined && stored.value.uid !== wanted.value.uid) return false;
    const record = stored?.value ?? initialRecord(wanted.value);
    const known: Known = {
      incarnation: cluster.incarnation,
      term: leading.term,
      termBase: cluster.termBase ?? 0,
      now: clock.now(),
      wallMs: clock.wallMs(),
      late: lateUntil !== null && clock.now() < lateUntil,
      portRange,
      failoversPerHour: options.failoversPerHour ?? FAILOVERS_PER_HOUR,
      hosts: catalogue.hosts(),
      links: agents.links(),
      ...recordsNow(vm),
    };
    const { view, memory } = assemble(known, wanted.value, record, state.memory);
    state.memory = memory;
    const decision = decide(view);
    if (decision.kind === 'act') return act(vm, state, view, decision, stored?.modRevision ?? 0);
    state.saving = decision.kind === 'save' ? decision.record : null;
    const saved = await save(vm, state, view, decision, stored?.modRevision ?? 0, wanted.modRevision);
    state.saving = null;
    if (saved === 'saved' && decision.kind === 'save') orderNow(state, view, decision.record, wanted.value);
    return saved !== 'nothing';
  }

  /** Other VMs as they are about to be: two that choose their ports in one moment must not choose the same, nor those that one of them is leaving. */
  function recordsNow(vm: string): Pick<Known, 'records' | 'replaced'> {
    const records = new Map([...catalogue.records()].map(([name, each]) => [name, each.value]));
    const replaced: VmRecord[] = [];
    for (const [name, { saving }] of states) {
      if (saving === null || name === vm) continue;
      const stored = records.get(name);
      if (stored !== undefined) replaced.push(stored);
      records.set(name, saving);
    }
    return { records, replaced };
  }

  async function save(
    vm: string,
    state: VmState,
    view: VmView,
    decision: Exclude<Decision, { kind: 'act' }>,
    recordRevision: number,
    specRevision: number,
  ): Promise<'saved' | 'look-again' | 'nothing'> {
    const began = clock.now();
    const outcome: Saved = await saveDecision(store, keys, guardOf(keys, view.term), {
      vm,
      decision,
      recordRevision,
      specRevision,
      wanted: view.wanted,
    });
    const tookMs = clock.now() - began;
    const fields = { vm, row: decision.row, term: view.term };
    state.unanswered = outcome.kind !== 'saved' && outcome.mayCome ? recordRevision : null;
    switch (outcome.kind) {
      case 'saved':
        catalogue.accept(vm, outcome.record, outcome.revision);
        if (decision.kind === 'save' && decision.history !== null) {
          measure(state, view, decision.record, began, tookMs);
          log.info(
            {
              ...fields,
              epoch: decision.record.epoch,
              from: view.record.phase,
              to: decision.record.phase,
              reason: decision.record.reason,
              tookMs,
            },
            'edge',
          );
        }
        return 'saved';
      case 'lost-race':
        log.info({ ...fields, tookMs }, 'save-lost-race');
        catalogue.accept(vm, outcome.record, outcome.revision);
        // Somebody else's record is no ground for our orders: all is looked at anew.
        return leadership.state().kind === 'leader' && outcome.record?.modRevision !== recordRevision ? 'look-again' : 'nothing';
      case 'failed':
        log.warn({ ...fields, tookMs, detail: outcome.detail }, 'save-failed');
        return 'nothing';
    }
  }

  /** Keeps what the history wants to know: how long it took to see, to save and to carry out. */
  function measure(state: VmState, view: VmView, record: VmRecord, began: Instant, tookMs: number): void {
    const memory = state.memory;
    if (memory === null) return;
    const failedHosts = new Map(memory.failedHosts);
    if (record.phase === 'solo' && view.record.phase === 'syncing' && view.b !== null) failedHosts.set(view.b.side.host, began);
    if (record.phase === 'protected') failedHosts.clear();
    const durationsMs: Record<string, number> = {};
    if (record.phase === 'verdict') {
      durationsMs['detect'] = memory.troubleSince === null ? 0 : began - memory.troubleSince;
      durationsMs['verdict'] = tookMs;
    }
    if (view.record.phase === 'verdict') durationsMs['execute'] = began - memory.epochSince;
    state.memory = {
      ...memory,
      failedHosts,
      durationsMs: { ...(view.record.phase === 'verdict' ? memory.durationsMs : {}), ...durationsMs },
    };
  }

  /** The orders that follow from a record just saved go out without another look: a failover waits for nothing. */
  function orderNow(state: VmState, before: VmView, record: VmRecord, wanted: VmWanted): void {
    if (record.phase !== 'verdict') return;
    const byHost = new Map([before.a, before.b].flatMap((side) => (side === null ? [] : [[side.side.host, side] as const])));
    const view: VmView = {
      ...before,
      record,
      a: record.primary === null ? null : (byHost.get(record.primary.host) ?? null),
      b: record.secondary === null ? null : (byHost.get(record.secondary.host) ?? null),
    };
    state.given.give(view, wanted, dueOrders(view, false));
  }

  async function act(
    vm: string,
    state: VmState,
    view: VmView,
    decision: Extract<Decision, { kind: 'act' }>,
    recordRevision: number,
  ): Promise<boolean> {
    state.given.give(view, view.wanted, decision.orders);
    if (decision.probe !== null) ask(vm, state, decision.probe);
    const { row, reason, hold } = decision;
    const isNews = reason !== state.shown.reason || hold !== state.shown.hold;
    state.shown = { row, reason, hold };
    if (isNews) {
      log[hold ? 'warn' : 'info']({ vm, row, phase: view.record.phase, reason }, hold ? 'hold' : 'state');
    }
    const now = clock.now();
    if (state.reason?.text !== reason) state.reason = { text: reason, since: now };
    const isNew = decision.reason !== view.record.reason && now - state.reason.since >= REASON_LASTS_MS;
    const isDue =
      recordRevision !== 0 &&
      (isNew || state.unanswered === recordRevision) &&
      (state.reasonAt === null || now - state.reasonAt >= REASON_PAUSE_MS);
    if (!isDue) return false;
    state.reasonAt = now;
    const record = { ...view.record, reason: decision.reason };
    const outcome = await saveDecision(store, keys, guardOf(keys, view.term), {
      vm,
      decision: { kind: 'save', row: decision.row, record, history: null, stopWanted: false },
      recordRevision,
      specRevision: 0,
      wanted: view.wanted,
    });
    if (outcome.kind !== 'failed') catalogue.accept(vm, outcome.record, outcome.revision);
    return false;
  }

  /** One question at a time; its answer comes as a report and wakes the loop. */
  function ask(vm: string, state: VmState, host: string): void {
    if (state.asking) return;
    state.asking = true;
    void agents.probe(host, vm, PROBE_MS).then(() => {
      state.asking = false;
      wake(vm);
    });
  }

  return {
    wake,
    decisionOf: (vm) => {
      const shown = leadership.state().kind === 'leader' ? states.get(vm)?.shown : undefined;
      return shown === undefined || shown.row === '' ? null : shown;
    },
    lastRoundAt: () => lastRound,
    close: () => {
      closed = true;
      cancelTick();
    },
  };
}
