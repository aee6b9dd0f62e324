// Builders for views, so that a case shows only what differs from a healthy protected pair: primary on host1, secondary on host2, spare host3.

import { diskId, epoch, hostId, incarnation, term, vmUid } from '../../shared/core/ids.js';
import type { HostKey, PairState, Side, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import { initialRecord } from '../../coordinator/core/assemble.js';
import { judgeSide, type HostView, type Judged, type SideView, type VmView } from '../../coordinator/core/view.js';
import { aSpec } from './spec.js';

export function aWanted(change: Partial<VmWanted> = {}): VmWanted {
  return { uid: vmUid('uid-1'), spec: aSpec({ name: 'demo', shutdownGraceMs: 0 }), wanted: 'running', protect: true, ...change };
}

export function aSide(host: string, born: number): Side {
  return { host, hostId: hostId(`id-${host}`), born: epoch(born) };
}

export function aRecord(change: Partial<VmRecord> = {}): VmRecord {
  return {
    ...initialRecord(aWanted()),
    epoch: epoch(4),
    phase: 'protected',
    reason: 'protected',
    row: 'protected',
    primary: aSide('host1', 1),
    secondary: aSide('host2', 3),
    ports: { migration: 20000, nbd: 20001, mirror: [20002], compare: [20003] },
    disk: { host: 'host1', diskId: diskId('disk-host1'), epoch: epoch(4), state: 'clean', images: ['/d/disk0.raw'] },
    ...change,
  };
}

export function aReport(born: number, change: Partial<VmReport> = {}): VmReport {
  return {
    vm: 'demo',
    uid: vmUid('uid-1'),
    term: term(1),
    epoch: epoch(4),
    qemu: { kind: 'alive', born: epoch(born), pid: 100, role: 'alone', runstate: 'running' },
    pair: { state: 'none', evidence: [] },
    aloneSince: null,
    readyFor: null,
    provenFor: null,
    guestShutdown: false,
    held: false,
    coloExited: false,
    unpromotable: null,
    task: { kind: 'idle' },
    disk: {
      diskId: diskId('disk'),
      stampEpoch: epoch(1),
      state: 'clean',
      images: ['/d/disk0.raw'],
      replication: 'none',
      localError: false,
    },
    resync: null,
    durationsMs: {},
    ...change,
  };
}

/** A side of a protected pair as the table sees it. */
export function aJudged(
  side: Side,
  role: 'primary' | 'secondary',
  qemu: Judged,
  pair: PairState,
  change: Partial<VmReport> = {},
): SideView {
  if (qemu === 'unheard') return { side, qemu, pair: 'none', fresh: true, report: null };
  const pid = 100;
  const state: VmReport['qemu'] =
    qemu === 'alive'
      ? { kind: 'alive', born: side.born, pid, role, runstate: 'running' }
      : qemu === 'dead'
        ? { kind: 'dead', born: side.born, why: 'killed', guestShutdown: false }
        : qemu === 'hung'
          ? { kind: 'hung', born: side.born, pid }
          : { kind: 'unknown', born: side.born, pid };
  return { side, qemu, pair, fresh: true, report: aReport(side.born, { qemu: state, pair: { state: pair, evidence: [] }, ...change }) };
}

export function aHost(name: string, change: Partial<HostView> = {}): HostView {
  const key: HostKey = {
    host: name,
    hostId: hostId(`id-${name}`),
    agentAddress: '192.0.2.1:7400',
    replicationAddress: `198.51.100.${name.slice(4)}`,
    qemuVersion: '11.1.2',
    agentVersion: '0',
  };
  return {
    key,
    heard: true,
    leased: true,
    freeDiskBytes: 100 * 2 ** 30,
    peersSilentMs: {},
    report: null,
    sides: 0,
    failedAgoMs: null,
    ...change,
  };
}

export function aView(change: Partial<VmView> = {}): VmView {
  const record = change.record ?? aRecord();
  const judged = (side: Side | null, role: 'primary' | 'secondary'): SideView | null =>
    side === null ? null : aJudged(side, role, 'alive', 'ok');
  return {
    incarnation: incarnation('inc-1'),
    term: term(7),
    termBase: 0,
    wallMs: 1_700_000_000_000,
    late: false,
    wanted: aWanted(),
    hosts: ['host1', 'host2', 'host3'].map((name) => aHost(name)),
    a: judged(record.primary, 'primary'),
    b: judged(record.secondary, 'secondary'),
    epochAgeMs: 10_000,
    doubtMs: 0,
    durationsMs: {},
    portBlocksTaken: new Set(),
    portRange: { first: 20000, last: 29999 },
    failoversPerHour: 12,
    ...change,
    record,
  };
}

/** A side judged from a report, as the coordinator does it. */
export function judged(side: Side, report: VmReport): SideView {
  return judgeSide(side, report, true, 0, true);
}
