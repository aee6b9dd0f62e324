// What the status says of a picture: hosts, sides, splits, and which problem comes first.

import { describe, expect, it } from 'vitest';
import { summarize, type ClusterPicture, type HostPicture } from '../../../coordinator/core/summary.js';
import { epoch, term, vmUid } from '../../../shared/core/ids.js';
import type { VmReport } from '../../../shared/core/model.js';
import { aHost, aLink, aRecord, aReport, aWish } from '../../support/cluster.js';

const aHostPicture = (name: string, reports: readonly VmReport[] = [], change: Partial<HostPicture> = {}): HostPicture => ({
  key: aHost(name),
  leased: true,
  heard: true,
  report: aLink(name, { vms: reports }).report,
  strange: [],
  ...change,
});

const aPicture = (change: Partial<ClusterPicture> = {}): ClusterPicture => ({
  cluster: 'demo',
  answeredBy: 'one',
  leader: 'one',
  term: term(7),
  storeProblem: null,
  vms: [{ name: 'web', wanted: aWish(), record: aRecord(), decision: null }],
  hosts: [aHostPicture('a', [aReport()]), aHostPicture('b', [aReport()])],
  coordinators: [],
  unreadable: [],
  storeDoubt: null,
  certificate: null,
  wallMs: 0,
  ...change,
});

const vmOf = (picture: ClusterPicture) => {
  const vm = summarize(picture).vms[0];
  if (vm === undefined) throw new Error('no VM');
  return vm;
};

const alone = (born: number): Partial<VmReport> => ({
  qemu: { kind: 'alive', born: epoch(born), pid: 1, role: 'alone', runstate: 'running' },
  aloneSince: epoch(born),
});

describe('a host', () => {
  it.each([
    [true, true, 'ready'],
    [true, false, 'silent'],
    [false, true, 'unleased'],
    [false, false, 'lost'],
  ] as const)('with lease %s and stream %s -> %s', (leased, heard, state) => {
    expect(summarize(aPicture({ hosts: [aHostPicture('a', [], { leased, heard })] })).hosts[0]?.state).toBe(state);
  });
});

describe('a VM', () => {
  it('that is protected -> both sides, by their hosts', () => {
    const vm = vmOf(aPicture());
    expect(vm).toMatchObject({ phase: 'protected', epoch: 3, primary: 'a', secondary: 'b', splitSuspected: false, onHold: false });
    expect(vm.sides.map((side) => [side.host, side.role, side.qemu])).toEqual([
      ['a', 'primary', 'alive'],
      ['b', 'secondary', 'alive'],
    ]);
  });

  it('whose primary is not heard -> that side is unheard, whatever its last report said', () => {
    const vm = vmOf(aPicture({ hosts: [aHostPicture('a', [aReport()], { heard: false }), aHostPicture('b', [aReport()])] }));
    expect(vm.sides[0]).toMatchObject({ host: 'a', qemu: 'unheard', pid: null });
  });

  it('that two hosts run alone -> split suspected, and the reason says where', () => {
    const vm = vmOf(aPicture({ hosts: [aHostPicture('a', [aReport(alone(1))]), aHostPicture('b', [aReport(alone(2))])] }));
    expect(vm.splitSuspected).toBe(true);
    expect(vm.reason).toBe('split suspected: it runs alone on a and b');
  });

  it('that runs alone beside a held loser -> no split', () => {
    const vm = vmOf(
      aPicture({ hosts: [aHostPicture('a', [aReport(alone(1))]), aHostPicture('b', [aReport({ ...alone(2), held: true })])] }),
    );
    expect(vm.splitSuspected).toBe(false);
  });

  it('with a QEMU on a host that the record does not name -> a stray side', () => {
    const hosts = [aHostPicture('a', [aReport()]), aHostPicture('b', [aReport()]), aHostPicture('c', [aReport(alone(9))])];
    expect(vmOf(aPicture({ hosts })).sides.map((side) => [side.host, side.role])).toEqual([
      ['a', 'primary'],
      ['b', 'secondary'],
      ['c', null],
    ]);
  });

  it('defined and never started -> stopped, without sides', () => {
    const wanted = aWish({ wanted: 'stopped' });
    const vm = vmOf(aPicture({ hosts: [aHostPicture('a')], vms: [{ name: 'web', wanted, record: null, decision: null }] }));
    expect(vm).toMatchObject({ phase: 'stopped', epoch: 0, primary: null, secondary: null, sides: [], reason: 'defined, never started' });
  });

  it('with the record of an earlier VM of its name -> that record is not shown', () => {
    const vm = vmOf(aPicture({ vms: [{ name: 'web', wanted: aWish({ uid: vmUid('u2') }), record: aRecord(), decision: null }] }));
    expect(vm).toMatchObject({ uid: 'u2', phase: 'stopped', epoch: 0 });
  });

  it('that is held by a decision -> its reason, and on hold', () => {
    const decision = { row: 'blind', reason: 'blind: neither agent is heard', hold: true };
    const vm = vmOf(aPicture({ vms: [{ name: 'web', wanted: aWish(), record: aRecord(), decision }] }));
    expect(vm).toMatchObject({ phase: 'protected', onHold: true, reason: 'blind: neither agent is heard' });
  });

  it('that is being copied -> progress as the primary reports it', () => {
    const hosts = [aHostPicture('a', [aReport({ resync: { doneBytes: 1, totalBytes: 4 } })]), aHostPicture('b', [aReport()])];
    const vm = vmOf(aPicture({ hosts, vms: [{ name: 'web', wanted: aWish(), record: aRecord({ phase: 'syncing' }), decision: null }] }));
    expect(vm.resync).toEqual({ doneBytes: 1, totalBytes: 4 });
  });
});

describe('a problem', () => {
  it.each([
    ['nothing wrong', {}, null],
    ['no leader', { leader: null }, 'leader'],
    ['no store and no leader', { leader: null, storeProblem: { kind: 'lost', detail: 'cut off' } }, 'store'],
    ['an older store and no leader', { leader: null, storeProblem: { kind: 'older', detail: 'it is at revision 3 and was at 9' } }, 'data'],
    ['a value that cannot be read', { unreadable: ['/colo/demo/vms/web/record: format 9'] }, 'data'],
  ] as const)('of %s -> %s comes first', (_, change, kind) => {
    expect(summarize(aPicture(change)).problem?.kind ?? null).toBe(kind);
  });
});
