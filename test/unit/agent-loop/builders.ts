// Journals, orders, records and facts for tests, so that a case shows only what differs.

import type { QemuFacts } from '../../../agent/core/facts.js';
import type { AgentJournal, QemuJournal, VmJournal } from '../../../agent/core/journal.js';
import { nothingSeen, type Seen } from '../../../agent/core/seen.js';
import { diskId, epoch, hostId, incarnation, instant, term, vmUid } from '../../../shared/core/ids.js';
import type { Goal, Order, Ports, VmRecord } from '../../../shared/core/model.js';
import { aSpec } from '../../support/spec.js';

export const UID = vmUid('uid');
export const HERE = hostId('here');
export const PORTS: Ports = { migration: 1, nbd: 2, mirror: [3], compare: [4] };
export const PEER = { host: 'b', address: '10.0.0.2' };

export function anAgent(change: Partial<AgentJournal> = {}): AgentJournal {
  return { format: 1, hostId: HERE, incarnation: incarnation('one'), ...change };
}

export function aQemu(change: Partial<QemuJournal> = {}): QemuJournal {
  return {
    born: epoch(2),
    obeyed: epoch(2),
    startedAs: 'alone',
    external: false,
    taps: ['tap'],
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
  };
}

export function aJournal(change: Partial<VmJournal> = {}): VmJournal {
  return {
    format: 1,
    vm: 'web',
    uid: UID,
    term: term(5),
    epoch: epoch(2),
    goal: { kind: 'start-alone', born: epoch(2), images: null, create: true },
    spec: aSpec(),
    outcome: { kind: 'done' },
    diskId: diskId('disk'),
    qemu: aQemu(),
    ...change,
  };
}

export function anOrder(goal: Goal, change: Partial<Order> = {}): Order {
  return { incarnation: incarnation('one'), vm: 'web', uid: UID, term: term(5), epoch: epoch(3), goal, spec: aSpec(), ...change };
}

export function aRecord(change: Partial<VmRecord> = {}): VmRecord {
  return {
    vm: 'web',
    uid: UID,
    epoch: epoch(3),
    phase: 'solo',
    reason: '',
    row: '',
    sinceMs: 0,
    primary: null,
    secondary: null,
    ports: null,
    verdict: null,
    disk: null,
    lastError: null,
    failedAttempts: 0,
    failoversAtMs: [],
    ...change,
  };
}

/** A guest that runs alone. */
export function someFacts(change: Partial<QemuFacts> = {}): QemuFacts {
  return {
    role: 'alone',
    runstate: 'running',
    running: true,
    colo: { mode: 'none', lastMode: 'none', reason: 'none' },
    migration: { status: 'none', error: null },
    objects: [],
    filters: [],
    rewriters: [],
    chardevs: [],
    disks: [{ present: true, images: ['/disk0.raw'], peer: 'none', innerJob: false }],
    exports: [],
    jobs: [],
    replication: 'none',
    ...change,
  };
}

const filter = (id: string): QemuFacts['filters'][number] => ({ id, on: true, vnetHdr: true });
const chardev = (id: string): QemuFacts['chardevs'][number] => ({ id, connected: true });

export function primaryFacts(change: Partial<QemuFacts> = {}): QemuFacts {
  return someFacts({
    role: 'primary',
    colo: { mode: 'primary', lastMode: 'none', reason: 'none' },
    migration: { status: 'colo', error: null },
    filters: ['m0', 'redire0', 'redire1', 'comp0'].map(filter),
    chardevs: ['mirror0', 'compare1', 'compare0', 'compare0-0', 'compare_out', 'compare_out0'].map(chardev),
    disks: [{ present: true, images: ['/disk0.raw'], peer: 'replication', innerJob: false }],
    replication: 'clean',
    ...change,
  });
}

export function secondaryFacts(change: Partial<QemuFacts> = {}): QemuFacts {
  return someFacts({
    role: 'secondary',
    colo: { mode: 'secondary', lastMode: 'none', reason: 'none' },
    migration: { status: 'colo', error: null },
    filters: ['f1', 'f2', 'rew0'].map(filter),
    rewriters: ['rew0'],
    chardevs: ['red0', 'red1'].map(chardev),
    disks: [{ present: true, images: ['/active', '/hidden', '/disk0.raw'], peer: 'none', innerJob: true }],
    exports: ['parent0'],
    replication: 'clean',
    ...change,
  });
}

export function someSeen(change: Partial<Seen> = {}): Seen {
  return { ...nothingSeen(instant(0)), ...change };
}
