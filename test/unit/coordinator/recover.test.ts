// What a recovered record says, by what the hosts have: a running guest is adopted, the newest disk is named, and where two answers are
// possible the operator is asked.

import { describe, expect, it } from 'vitest';
import { bootableDisk } from '../../../coordinator/core/disks.js';
import { decide } from '../../../coordinator/core/decide.js';
import { planRecovery, type Recovery, type RecoveryWishes } from '../../../coordinator/core/recover.js';
import { initialRecord } from '../../../coordinator/core/assemble.js';
import { diskId, epoch } from '../../../shared/core/ids.js';
import type { DiskReport, QemuReport, VmReport, VmWanted } from '../../../shared/core/model.js';
import type { Result } from '../../../shared/core/result.js';
import { aHost, aReport, aView, aWanted } from '../../support/views.js';

type Change = Partial<VmReport>;
const CHAIN = ['/d/active0.qcow2', '/d/hidden0.qcow2', '/d/disk0.raw'];

const alive = (born: number, role: 'alone' | 'primary' | 'secondary'): { qemu: QemuReport } => ({
  qemu: { kind: 'alive', born: epoch(born), pid: 1, role, runstate: 'running' },
});
const dead = (born: number): { qemu: QemuReport } => ({ qemu: { kind: 'dead', born: epoch(born), why: 'killed', guestShutdown: false } });
const absent: { qemu: QemuReport } = { qemu: { kind: 'absent' } };
const disk = (state: DiskReport['state'], stamp: number | null, more: Partial<DiskReport> = {}): { disk: DiskReport } => ({
  disk: {
    diskId: state === 'missing' ? null : diskId('d'),
    stampEpoch: stamp === null ? null : epoch(stamp),
    state,
    images: ['/d/disk0.raw'],
    replication: 'none',
    localError: false,
    ...more,
  },
});

const alone = (born: number, since: number): Change => ({ ...alive(born, 'alone'), aloneSince: epoch(since), ...disk('clean', since) });
const primary = (proven: number, state: VmReport['pair']['state'] = 'ok'): Change => ({
  ...alive(1, 'primary'),
  provenFor: epoch(proven),
  pair: { state, evidence: [] },
  ...disk('clean', 1),
});
const secondary = (proven: number, state: VmReport['pair']['state'] = 'ok'): Change => ({
  ...alive(proven, 'secondary'),
  provenFor: epoch(proven),
  pair: { state, evidence: [] },
  ...disk('stale', 0, { images: CHAIN }),
});

/** `null` = the host knows nothing of the VM. The store was emptied and the VM defined again, wanted stopped. */
function plan(
  reports: readonly (Change | null)[],
  wishes: Partial<RecoveryWishes> = {},
  wanted: Partial<VmWanted> = {},
): Result<Recovery, string> {
  const off = wishes.off ?? new Set<string>();
  const hosts = reports.map((each, index) => {
    const host = `host${index + 1}`;
    return aHost(host, { heard: !off.has(host), report: each === null ? null : aReport(1, { epoch: epoch(9), ...each }) });
  });
  const wish = aWanted({ wanted: 'stopped', ...wanted });
  return planRecovery(aView({ hosts, wanted: wish, record: initialRecord(wish), a: null, b: null }), { off, disk: null, ...wishes });
}

const written = (done: Result<Recovery, string>) => {
  if (!done.ok) throw new Error(done.error);
  if (done.value.kind === 'agrees') throw new Error('agrees');
  return { ...done.value, record: done.value.record };
};

describe('a guest that runs', () => {
  it('alone on one host -> solo there, wanted running, and the epoch is above all that any host obeyed', () => {
    const { record, wanted, history } = written(plan([alone(5, 7), { ...absent, ...disk('stale', 0), epoch: epoch(12) }, null]));
    expect(record).toMatchObject({
      phase: 'solo',
      primary: { host: 'host1', born: 5 },
      secondary: null,
      disk: { host: 'host1', state: 'clean' },
    });
    expect(record.epoch).toBeGreaterThan(12);
    expect(wanted?.wanted).toBe('running');
    expect(history).toMatchObject({ by: 'operator', row: 'recovered', to: 'solo', epoch: record.epoch });
  });

  it('alone, with its overlays not merged yet -> solo, and the chain is the disk', () => {
    const { record } = written(plan([{ ...alone(5, 7), ...disk('merging', 7, { images: CHAIN }) }, null, null]));
    expect(record.disk).toMatchObject({ state: 'merging', images: CHAIN });
  });

  it('alone beside a held loser and a torn secondary -> solo; the others are let go by their own rule', () => {
    const loser: Change = { ...primary(6, 'hard'), held: true };
    expect(written(plan([loser, alone(6, 7), { ...alive(8, 'secondary'), ...disk('stale', 0) }])).record).toMatchObject({
      phase: 'solo',
      primary: { host: 'host2', born: 6 },
    });
  });

  it('alone, in the middle of an attempt -> solo, and the attempt is rolled back by the next order', () => {
    const half: Change = { ...alive(5, 'primary'), aloneSince: epoch(7), ...disk('clean', 7) };
    const { record } = written(plan([half, null, null]));
    expect(record.phase).toBe('solo');
  });

  it('alone on two hosts -> failed, both are named so that neither is let go, and it stays wanted running', () => {
    const { record, wanted } = written(plan([alone(5, 7), alone(6, 8), null]));
    expect(record).toMatchObject({ phase: 'failed', primary: { host: 'host2' }, secondary: { host: 'host1' }, disk: { state: 'stale' } });
    expect(record.reason).toMatch(/runs alone on host2 and host1.*--without HOST/);
    expect(wanted?.wanted).toBe('running');
  });

  it('alone, while another host ran it later and died -> failed, because the running one may be old', () => {
    const { record } = written(plan([alone(1, 3), { ...dead(6), aloneSince: epoch(8), ...disk('merging', 8, { images: CHAIN }) }, null]));
    expect(record).toMatchObject({ phase: 'failed', primary: { host: 'host1' } });
    expect(record.reason).toContain('host2 ran the guest later');
  });

  it('in a healthy pair -> protected, with ports for the failover to come', () => {
    const { record } = written(plan([primary(7), secondary(7), null]));
    expect(record).toMatchObject({
      phase: 'protected',
      primary: { host: 'host1', born: 1 },
      secondary: { host: 'host2', born: 7 },
      disk: { host: 'host1', state: 'clean' },
    });
    expect(record.ports?.mirror).toHaveLength(1);
  });

  it('in a pair that is in doubt -> asked again later, because it may be well', () => {
    expect(plan([primary(7), secondary(7, 'unknown'), null])).toMatchObject({
      ok: false,
      error: expect.stringContaining('try again') as string,
    });
  });

  it('in a pair that broke, and nobody was told to go on -> a verdict for the primary', () => {
    expect(written(plan([primary(7, 'hard'), secondary(7, 'hard'), null])).record).toMatchObject({
      phase: 'verdict',
      verdict: { kind: 'solo-primary', winner: { host: 'host1' }, loser: { host: 'host2' } },
    });
  });

  it('as a secondary whose primary died in the same pair -> a verdict for it', () => {
    const { record } = written(plan([{ ...dead(1), provenFor: epoch(7), ...disk('clean', 1) }, secondary(7, 'hard'), null]));
    expect(record).toMatchObject({ phase: 'verdict', verdict: { kind: 'promote-secondary', winner: { host: 'host2' } } });
    expect(record.disk).toMatchObject({ host: 'host2', state: 'merging', images: CHAIN });
  });

  it.each([
    ['its primary is of another pair', [{ ...dead(1), provenFor: epoch(5), ...disk('clean', 1) }, secondary(7, 'hard'), null], {}],
    ['nothing is known of its primary', [null, secondary(7, 'hard'), null], {}],
    ['it did not load its checkpoint', [{ ...dead(1), provenFor: epoch(7) }, { ...secondary(7, 'hard'), unpromotable: 'x' }, null], {}],
    ['the host of its primary is off', [null, secondary(7, 'hard'), null], { off: new Set(['host1']) }],
  ] as const)('as a secondary, and %s -> failed, never promoted', (_, reports, wishes) => {
    expect(written(plan(reports, wishes)).record).toMatchObject({ phase: 'failed', primary: { host: 'host2' } });
  });

  it('on a host whose agent has just started -> asked again later', () => {
    const unsure: Change = { qemu: { kind: 'unknown', born: epoch(1), pid: 1 } };
    expect(plan([unsure, null, null])).toMatchObject({ ok: false, error: expect.stringContaining('host1 is still looking') as string });
  });
});

describe('a guest that runs nowhere', () => {
  it('-> stopped, with the newest disk that is not stale, and not started by itself', () => {
    const { record, wanted } = written(
      plan([
        { ...absent, ...disk('clean', 3) },
        { ...absent, ...disk('clean', 8) },
        { ...absent, ...disk('stale', 0) },
      ]),
    );
    expect(record).toMatchObject({ phase: 'stopped', primary: null, disk: { host: 'host2', epoch: 8 } });
    expect(wanted).toBeNull();
  });

  it('and its newest disk is a chain -> the chain', () => {
    const { record } = written(plan([{ ...absent, ...disk('clean', 3) }, { ...dead(6), ...disk('merging', 8, { images: CHAIN }) }, null]));
    expect(record.disk).toMatchObject({ host: 'host2', state: 'merging', images: CHAIN });
  });

  it.each([
    ['two disks are equally new', [{ ...absent, ...disk('clean', 8) }, { ...absent, ...disk('clean', 8) }, null], {}],
    ['a host is off', [{ ...absent, ...disk('clean', 8) }, null, null], { off: new Set(['host3']) }],
    ['all disks are stale', [{ ...absent, ...disk('stale', 0) }, null, null], {}],
  ] as const)('and %s -> failed with the choice, and nothing can be booted before it is made', (_, reports, wishes) => {
    const { record } = written(plan(reports, wishes));
    expect(record).toMatchObject({ phase: 'failed', disk: { state: 'stale' } });
    expect(record.reason).toContain('coloctl recover demo --disk HOST');
    const stopped = aView({ record: { ...record, phase: 'stopped' }, a: null, b: null });
    expect(decide(stopped)).toMatchObject({ kind: 'act', hold: true, reason: expect.stringContaining('--disk HOST') as string });
  });

  it('and an operator chooses -> stopped with that disk, though it is the older one', () => {
    const reports = [{ ...absent, ...disk('clean', 3) }, { ...absent, ...disk('clean', 8) }, null];
    expect(written(plan(reports, { disk: 'host1' })).record).toMatchObject({ phase: 'stopped', disk: { host: 'host1', epoch: 3 } });
  });

  it.each([
    ['a stale one', [{ ...absent, ...disk('stale', 0) }, { ...absent, ...disk('clean', 8) }, null], /stale, torn or missing/],
    ['one while a QEMU lives', [{ ...absent, ...disk('clean', 3) }, alone(5, 7), null], /a QEMU of it is on host2/],
  ] as const)('and an operator chooses %s -> refused', (_, reports, refusal) => {
    const refused = plan(reports, { disk: 'host1' });
    expect(refused.ok ? '' : refused.error).toMatch(refusal);
  });

  it('and never ran -> agrees with the store', () => {
    expect(plan([null, null, null])).toMatchObject({ ok: true, value: { kind: 'agrees' } });
  });
});

describe('a disk', () => {
  it.each([
    ['of a secondary that proved its pair', secondary(7), 'merging'],
    ['of a secondary that never did', { ...secondary(7), provenFor: null }, null],
    ['of a secondary that missed writes', { ...secondary(7), ...disk('stale', 0, { images: CHAIN, replication: 'error' }) }, null],
    ['that was overwritten', { ...absent, ...disk('stale', 0) }, null],
    ['that is missing', { ...absent, ...disk('missing', null) }, null],
  ] as const)('%s -> its chain, or nothing', (_, report, state) => {
    expect(bootableDisk(aHost('host1', { report: aReport(1, report) }))?.state ?? null).toBe(state);
  });
});
