// Where explorations of the small world begin: a world at rest, and worlds in the middle of what takes many moves to come to. Later beginnings
// reach further: what leads up to them is explored from the earlier ones.

import type { VmJournal } from '../../../agent/core/journal.js';
import { initialRecord } from '../../../coordinator/core/assemble.js';
import { diskId, epoch, hostId, term } from '../../../shared/core/ids.js';
import type { Order, Side, VmRecord } from '../../../shared/core/model.js';
import { hostKey, INCARNATION, PARENT, WANTED, type CoordinatorState, type Host, type HostState, type State } from './state.js';

const side = (host: Host, born: number): Side => ({ host, hostId: hostId(`id-${host}`), born: epoch(born) });

function journalOf(
  host: Host,
  born: number,
  change: Partial<NonNullable<VmJournal['qemu']>>,
  goal: VmJournal['goal'],
  at: number,
): VmJournal {
  return {
    format: 1,
    vm: 'demo',
    uid: WANTED.uid,
    term: term(1),
    epoch: epoch(at),
    goal,
    spec: WANTED.spec,
    outcome: { kind: 'done' },
    diskId: diskId(`disk-${host}`),
    qemu: {
      born: epoch(born),
      obeyed: epoch(at),
      startedAs: 'alone',
      external: false,
      taps: [],
      attempt: null,
      promised: null,
      releasing: null,
      aloneSince: null,
      readyFor: null,
      provenFor: null,
      held: false,
      coloExited: false,
      guestShutdown: false,
      unpromotable: null,
      death: null,
      ...change,
    },
  };
}

const PORTS = { migration: 20_000, nbd: 20_001, mirror: [20_002], compare: [20_003] };

export const BEGINNINGS = ['solo', 'syncing', 'protected', 'verdict', 'promoted', 'late'] as const;
export type Beginning = (typeof BEGINNINGS)[number];

/** Where an exploration begins. Later beginnings reach further: what leads up to them is explored from the earlier ones. */
export function beginning(from: Beginning): State {
  switch (from) {
    case 'solo':
    case 'protected':
      return atRest(from);
    case 'syncing':
      return copying();
    case 'verdict':
      return broken();
    case 'promoted':
      return promoted();
    case 'late':
      return late();
  }
}

/** The secondary waits for its migration stream, and the primary has its order and has begun nothing. */
function copying(): State {
  const solo = atRest('solo');
  const h2 = side('h2', 3);
  const record: VmRecord = { ...solo.record, epoch: epoch(3), phase: 'syncing', secondary: h2, ports: PORTS };
  const protect = {
    kind: 'protect',
    born: epoch(1),
    ports: PORTS,
    peer: { host: 'h2', address: '10.0.0.2' },
    method: 'stop-copy',
  } as const;
  const start = { kind: 'start-secondary', born: epoch(3), ports: PORTS, peer: { host: 'h1', address: '10.0.0.1' } } as const;
  const { h1 } = solo.hosts;
  return savedAs(solo, record, {
    h1: { ...h1, journal: { ...journalOf('h1', 1, { aloneSince: epoch(1) }, protect, 3), outcome: { kind: 'open' } }, task: 'begin' },
    h2: {
      ...solo.hosts.h2,
      qemu: { born: 3, alive: true, role: 'incoming', heard: false, noticed: false, whole: false, count: -1 },
      journal: journalOf('h2', 3, { startedAs: 'secondary', readyFor: epoch(3) }, start, 3),
      disk: { count: -1, state: 'stale', stampEpoch: 0 },
    },
  });
}

/** The link is cut, both sides know it, and the verdict for the primary is saved and nobody has been told. */
function broken(): State {
  const pair = atRest('protected');
  const [h1, h2] = [side('h1', 1), side('h2', 3)];
  const verdict = { row: 'link-cut', kind: 'solo-primary', winner: h1, loser: h2, evidence: [], atMs: 0 } as const;
  const noticed = (state: HostState): HostState => ({ ...state, qemu: state.qemu === null ? null : { ...state.qemu, noticed: true } });
  const record: VmRecord = { ...pair.record, epoch: epoch(5), phase: 'verdict', row: 'link-cut', verdict };
  return { ...savedAs(pair, record, { h1: noticed(pair.hosts.h1), h2: noticed(pair.hosts.h2) }), pair: 'broken', linkCut: true };
}

/** The primary's QEMU died, the verdict for the secondary is saved, its order is under way, and the other coordinator still sees the pair. */
function promoted(): State {
  const pair = atRest('protected');
  const [h1, h2] = [side('h1', 1), side('h2', 3)];
  const verdict = { row: 'primary-dead', kind: 'promote-secondary', winner: h2, loser: h1, evidence: [], atMs: 0 } as const;
  const disk = { host: 'h2', diskId: diskId('disk-h2'), epoch: epoch(4), state: 'merging', images: ['active', 'hidden', PARENT] } as const;
  const record: VmRecord = {
    ...pair.record,
    epoch: epoch(5),
    phase: 'verdict',
    row: 'primary-dead',
    verdict,
    primary: h2,
    secondary: h1,
    disk,
  };
  const { qemu, journal } = pair.hosts.h1;
  const dead: HostState = {
    ...pair.hosts.h1,
    qemu: qemu === null ? null : { ...qemu, alive: false, heard: false },
    journal: journal === null || journal.qemu === null ? journal : { ...journal, qemu: { ...journal.qemu, death: { why: 'it ended' } } },
  };
  const noticed = { ...pair.hosts.h2, qemu: pair.hosts.h2.qemu === null ? null : { ...pair.hosts.h2.qemu, noticed: true } };
  const saved = savedAs({ ...pair, revision: 3, recordRevision: 3 }, record, { h1: dead, h2: noticed });
  const after = { ...saved, pair: 'broken' } as const;
  return {
    ...after,
    coordinators: { ...after.coordinators, c2: { ...after.coordinators.c2, seen: pair.coordinators.c2.seen } },
    orders: [orderTo('h2', 5, { kind: 'release-secondary', born: epoch(3), ports: PORTS }, false)],
  };
}

/**
 * A verdict for the primary was carried out and h1 runs alone; h2, the loser, is still there. Orders of the verdict may come late or once more,
 * and the other coordinator, which led before, still sees the pair and believes that it leads.
 */
function late(): State {
  const was = broken();
  const disk = was.record.disk;
  const record: VmRecord = {
    ...was.record,
    epoch: epoch(7),
    phase: 'solo',
    row: 'alone-again',
    secondary: null,
    disk: disk === null ? null : { ...disk, epoch: epoch(7) },
  };
  const { h1, h2 } = was.hosts;
  const release = { kind: 'release-primary', born: epoch(1), acceptLoss: false } as const;
  const hold = { kind: 'hold', born: epoch(3) } as const;
  const alone: HostState = {
    ...h1,
    qemu: h1.qemu === null ? null : { ...h1.qemu, role: 'alone', heard: true },
    journal: { ...journalOf('h1', 1, { aloneSince: epoch(5), obeyed: epoch(5) }, release, 5), term: term(2) },
  };
  const after = savedAs({ ...was, revision: 4, recordRevision: 4, leader: { name: 'c1', revision: 3 } }, record, { h1: alone, h2 });
  const { c1, c2 } = after.coordinators;
  return {
    ...after,
    coordinators: {
      c1: { ...c1, leads: 3 },
      c2: { ...c2, leads: 1, seen: { record: atRest('protected').record, revision: 2 } },
    },
    orders: [orderTo('h2', 5, hold, false), orderTo('h1', 5, release, true)],
  };
}

const orderTo = (to: Host, at: number, goal: Order['goal'], delivered: boolean): State['orders'][number] => ({
  to,
  delivered,
  order: { incarnation: INCARNATION, vm: 'demo', uid: WANTED.uid, term: term(1), epoch: epoch(at), goal, spec: WANTED.spec },
});

function savedAs(state: State, record: VmRecord, hosts: State['hosts']): State {
  const { c1, c2 } = state.coordinators;
  const seen = { record, revision: state.recordRevision };
  return { ...state, record, hosts, coordinators: { c1: { ...c1, seen }, c2: { ...c2, seen } } };
}

/** A guest that runs alone on h1, or a pair with its secondary on h2. */
function atRest(from: 'solo' | 'protected'): State {
  const isPair = from === 'protected';
  const record: VmRecord = {
    ...initialRecord(WANTED),
    epoch: epoch(isPair ? 4 : 2),
    phase: from,
    row: 'begin',
    reason: from,
    primary: side('h1', 1),
    secondary: isPair ? side('h2', 3) : null,
    ports: isPair ? PORTS : null,
    disk: { host: 'h1', diskId: diskId('disk-h1'), epoch: epoch(2), state: 'clean', images: [PARENT] },
  };
  const idle: CoordinatorState = {
    leads: 0,
    seen: { record, revision: 2 },
    reports: { h1: null, h2: null },
    heard: { h1: false, h2: false },
    draft: null,
  };
  const primary = {
    born: 1,
    alive: true,
    role: isPair ? 'primary' : 'alone',
    heard: !isPair,
    noticed: false,
    whole: true,
    count: 0,
  } as const;
  const peer = (host: string) => ({ host, address: hostKey(host as Host).replicationAddress });
  const none: HostState = {
    agentUp: true,
    adopted: true,
    sawCheckpoint: true,
    journal: null,
    qemu: null,
    task: null,
    disk: { count: -1, state: 'missing', stampEpoch: 0 },
  };
  return {
    revision: 2,
    leader: { name: 'c1', revision: 1 },
    record,
    recordRevision: 2,
    coordinators: { c1: { ...idle, leads: 1 }, c2: idle },
    hosts: {
      h1: {
        ...none,
        qemu: primary,
        journal: isPair
          ? journalOf(
              'h1',
              1,
              { provenFor: epoch(3), promised: epoch(3) },
              { kind: 'protect', born: epoch(1), ports: PORTS, peer: peer('h2'), method: 'stop-copy' },
              3,
            )
          : journalOf('h1', 1, { aloneSince: epoch(1) }, { kind: 'start-alone', born: epoch(1), images: null, create: true }, 1),
        disk: { count: 0, state: 'clean', stampEpoch: 1 },
      },
      h2: isPair
        ? {
            ...none,
            qemu: { born: 3, alive: true, role: 'secondary', heard: false, noticed: false, whole: true, count: 0 },
            journal: journalOf(
              'h2',
              3,
              { startedAs: 'secondary', readyFor: epoch(3), provenFor: epoch(3), promised: epoch(3) },
              { kind: 'start-secondary', born: epoch(3), ports: PORTS, peer: peer('h1') },
              3,
            ),
            disk: { count: -1, state: 'stale', stampEpoch: 0 },
          }
        : none,
    },
    late: null,
    orders: [],
    pair: isPair ? 'colo' : 'none',
    linkCut: false,
    told: 0,
    faults: 0,
  };
}
