// Two real agents with real QEMUs and a real etcd, ordered by hand: start, protect, the death of either side, release, adoption, destroy.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vmUid, type Epoch } from '../../../shared/core/ids.js';
import type { Cluster } from './cluster.js';
import { GuestClient } from './client.js';
import { GUEST_ADDRESS, missing, taps } from './stage.js';
import { raiseWorld, rounded, VM, type World } from './world.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('two agents', () => {
  let world: World;
  let cluster: Cluster;
  let agents: World['agents'];
  let client: GuestClient;

  beforeAll(async () => {
    world = await raiseWorld();
    ({ cluster, agents } = world);
  });

  afterAll(async () => {
    client?.close();
    await world?.strike();
  });

  it('a first start -> the guest runs alone, on a disk that was made', async () => {
    const began = performance.now();
    await cluster.startAlone('a');
    console.log('start-alone', Math.round(performance.now() - began), 'ms');
    const report = cluster.report('a');
    expect(report?.qemu).toMatchObject({ kind: 'alive', role: 'alone', runstate: 'running' });
    expect(report?.disk.state).toBe('clean');
    client = new GuestClient(GUEST_ADDRESS);
    await client.answers(5, 60_000);
  });

  it('a secondary and a protect -> both sides prove the pair', async () => {
    const began = performance.now();
    await cluster.protect('a', 'b', 'stop-copy');
    console.log('protect stop-copy', Math.round(performance.now() - began), 'ms', cluster.report('a')?.durationsMs);
    expect(cluster.report('a')?.aloneSince).toBeNull();
    await client.answers(5, 10_000);
  });

  it('the agent of the primary is killed and started again -> the pair is untouched and reported within 2 s', async () => {
    const before = agents.a.qemuPid(VM);
    await agents.a.end('SIGKILL');
    await client.answers(5, 10_000);
    cluster.reports.a = null;
    const began = performance.now();
    agents.a.start();
    await cluster.until('a', 'adopted', (report) => report.qemu.kind === 'alive' && report.qemu.role === 'primary');
    console.log('adopted after', Math.round(performance.now() - began), 'ms');
    await cluster.until('a', 'ok again', (report) => report.pair.state === 'ok');
    console.log('pair ok after', Math.round(performance.now() - began), 'ms');
    expect(cluster.report('a')?.provenFor).toBe(cluster.record.epoch - 1);
    expect(agents.a.qemuPid(VM)).toBe(before);
    await client.answers(5, 10_000);
  });

  it('the primary is killed -> the secondary goes on, and its overlays are merged', async () => {
    const killed = performance.now();
    process.kill(agents.a.qemuPid(VM), 'SIGKILL');
    await cluster.until('a', 'dead', (report) => report.qemu.kind === 'dead');
    const times = await cluster.release('b', 'a', killed);
    console.log('kill primary', rounded(times), cluster.report('b')?.durationsMs);
    await client.answers(5, 20_000);
    await cluster.until('b', 'clean', (report) => report.disk.state === 'clean');
    console.log('gap', client.longestGapMs(), 'ms');
  });

  it('the loser is destroyed -> nothing of it is left but its disk', async () => {
    const answer = await cluster.order('a', { kind: 'destroy' });
    expect(answer).toEqual({ kind: 'accepted' });
    await cluster.until('a', 'absent', (report) => report.qemu.kind === 'absent');
    expect(taps('a')).toEqual([]);
    await cluster.save({ phase: 'solo' });
  });

  it('protected again the other way round, and the secondary is killed -> the primary goes on', async () => {
    await cluster.protect('b', 'a', 'stop-copy');
    await client.answers(5, 10_000);
    client.forgetGaps();
    const killed = performance.now();
    process.kill(agents.a.qemuPid(VM), 'SIGKILL');
    await cluster.until('a', 'dead', (report) => report.qemu.kind === 'dead');
    const times = await cluster.release('b', 'a', killed);
    console.log('kill secondary', rounded(times), cluster.report('b')?.durationsMs);
    await client.answers(5, 20_000);
    console.log('gap', client.longestGapMs(), 'ms');
    await cluster.obey('a', { kind: 'destroy' });
    await cluster.until('a', 'absent', (report) => report.qemu.kind === 'absent');
    await cluster.save({ phase: 'solo' });
  });

  it('live protection -> proven as well', async () => {
    const began = performance.now();
    await cluster.protect('b', 'a', 'live');
    console.log('protect live', Math.round(performance.now() - began), 'ms', cluster.report('b')?.durationsMs);
    await client.answers(5, 10_000);
  });

  it('an order of an older epoch, another uid, another cluster or for another QEMU -> refused', async () => {
    const born = cluster.record.primary?.born as Epoch;
    const hold = { kind: 'hold', born } as const;
    expect(await cluster.order('b', hold, { epoch: 1 as Epoch })).toMatchObject({ refusal: 'older-epoch' });
    expect(await cluster.order('b', hold, { term: 1 })).toMatchObject({ refusal: 'older-term' });
    expect(await cluster.order('b', hold, { uid: 'other' })).toMatchObject({ refusal: 'foreign-uid' });
    expect(await cluster.order('b', hold, { incarnation: 'other' })).toMatchObject({ refusal: 'foreign-incarnation' });
    expect(await cluster.order('b', { kind: 'hold', born: 999 as Epoch })).toMatchObject({ refusal: 'not-this-qemu' });
    expect(await cluster.order('b', { kind: 'destroy' })).toMatchObject({ refusal: 'not-permitted-now' });
  });

  it('the record is gone, older or another VM’s -> nothing is destroyed, and the reason says so', async () => {
    const behind = { refusal: 'not-permitted-now', detail: expect.stringContaining('store behind agents') as string };
    await cluster.forget();
    expect(await cluster.order('b', { kind: 'destroy' })).toMatchObject(behind);
    await cluster.putRecord({ ...cluster.record, epoch: 2 as Epoch, primary: null, secondary: null });
    expect(await cluster.order('b', { kind: 'destroy' })).toMatchObject(behind);
    await cluster.putRecord({ ...cluster.record, uid: vmUid('other'), primary: null, secondary: null });
    expect(await cluster.order('b', { kind: 'destroy' })).toMatchObject(behind);
    await cluster.putRecord(cluster.record);
    expect(cluster.report('b')?.qemu.kind).toBe('alive');
  });

  it('stop -> both QEMUs end, the guest first', async () => {
    const { primary, secondary } = cluster.record;
    await cluster.save({ phase: 'stopping' });
    await cluster.obey('b', { kind: 'stop', born: primary?.born as Epoch });
    await cluster.until('b', 'dead', (report) => report.qemu.kind === 'dead', 60_000);
    await cluster.obey('a', { kind: 'stop', born: secondary?.born as Epoch });
    await cluster.until('a', 'dead', (report) => report.qemu.kind === 'dead');
    await cluster.save({ phase: 'stopped', primary: null, secondary: null });
    for (const host of ['a', 'b'] as const) {
      await cluster.obey(host, { kind: 'destroy' });
      await cluster.until(host, 'absent', (report) => report.qemu.kind === 'absent');
      expect(taps(host)).toEqual([]);
    }
    expect(client.problems()).toEqual([]);
  });

  it('an agent -> has a lease and an inventory key', async () => {
    const keys = await cluster.keys();
    expect(keys).toContain('/colo/stage/hosts/a');
    expect(keys).toContain('/colo/stage/inventory/b');
    expect(readFileSync(agents.a.logFile, 'utf8')).toContain('lease-held');
  });
});
