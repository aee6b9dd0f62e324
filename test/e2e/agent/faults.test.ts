// What goes wrong while a pair is made, and what ends otherwise than by death: real agents and QEMUs, ordered by hand.

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nextEpoch, type Epoch } from '../../../shared/core/ids.js';
import type { Cluster } from './cluster.js';
import { portsOf } from './cluster.js';
import { GuestClient } from './client.js';
import { ADDRESS, GUEST_ADDRESS, HOSTS, missing, type HostName } from './stage.js';
import { raiseWorld, VM, type World } from './world.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('two agents in trouble', () => {
  let world: World;
  let cluster: Cluster;
  let agents: World['agents'];
  let client: GuestClient | null = null;

  beforeAll(async () => {
    world = await raiseWorld();
    ({ cluster, agents } = world);
  });

  afterAll(async () => {
    client?.close();
    await world?.strike();
  });

  afterEach(() => expect(client?.problems() ?? []).toEqual([]));

  const bornOf = (side: 'primary' | 'secondary'): Epoch => cluster.record[side]?.born as Epoch;

  async function endSecondary(host: HostName): Promise<void> {
    await cluster.obey(host, { kind: 'destroy' });
    await cluster.until(host, 'absent', (report) => report.qemu.kind === 'absent');
  }

  it('the secondary dies while the disk is copied -> protect fails, the release rolls back, the guest goes on', async () => {
    await cluster.startAlone('a');
    client = new GuestClient(GUEST_ADDRESS);
    await client.answers(3, 60_000);
    const born = nextEpoch(cluster.record.epoch);
    const ports = portsOf(born);
    await cluster.save({ phase: 'syncing', secondary: cluster.side('b', born), ports });
    await cluster.obey('b', { kind: 'start-secondary', born, ports, peer: { host: 'a', address: ADDRESS.a } });
    await cluster.until('b', 'ready', (report) => report.readyFor === born);
    await cluster.obey('a', { kind: 'protect', born: bornOf('primary'), ports, peer: { host: 'b', address: ADDRESS.b }, method: 'live' });
    await cluster.until('a', 'at work', (report) => report.task.kind === 'running');
    agents.b.killQemu(VM);
    await expect(cluster.until('a', 'failed', () => false, 90_000)).rejects.toThrow(/protect failed/);
    await cluster.save({ phase: 'solo', secondary: null });
    await cluster.obey('a', { kind: 'release-primary', born: bornOf('primary'), acceptLoss: false });
    await cluster.until(
      'a',
      'alone',
      (report) => report.aloneSince === cluster.record.epoch && report.qemu.kind === 'alive' && report.qemu.role === 'alone',
    );
    await client.answers(3, 10_000);
    await endSecondary('b');
  });

  it('after a failed attempt -> the next one succeeds', async () => {
    await cluster.protect('a', 'b', 'stop-copy');
    await client?.answers(3, 10_000);
  });

  it('QEMU of the secondary is stopped -> hung, and alive again when it goes on', async () => {
    const pid = agents.b.qemuPid(VM);
    const began = performance.now();
    process.kill(pid, 'SIGSTOP');
    await cluster.until('b', 'hung', (report) => report.qemu.kind === 'hung');
    console.log('hung after', Math.round(performance.now() - began), 'ms');
    process.kill(pid, 'SIGCONT');
    await cluster.until('b', 'alive', (report) => report.qemu.kind === 'alive');
  });

  it('QEMU of the primary hangs and the secondary is released -> the guest goes on there, and the loser is destroyed', async () => {
    await client?.answers(3, 20_000);
    await cluster.until('b', 'pair ok', (report) => report.pair.state === 'ok');
    const began = performance.now();
    process.kill(agents.a.qemuPid(VM), 'SIGSTOP');
    await cluster.until('a', 'hung', (report) => report.qemu.kind === 'hung');
    await cluster.release('b', 'a', began);
    await client?.answers(3, 20_000);
    await cluster.obey('a', { kind: 'destroy' });
    await cluster.until('a', 'absent', (report) => report.qemu.kind === 'absent');
    await cluster.until('b', 'merged', (report) => report.disk.state === 'clean');
    await cluster.save({ phase: 'solo' });
  });

  it('the agent is killed in the middle of a protect -> the release rolls back what its successor finds', async () => {
    const born = nextEpoch(cluster.record.epoch);
    const ports = portsOf(born);
    await cluster.save({ phase: 'syncing', secondary: cluster.side('a', born), ports });
    await cluster.obey('a', { kind: 'start-secondary', born, ports, peer: { host: 'b', address: ADDRESS.b } });
    await cluster.until('a', 'ready', (report) => report.readyFor === born);
    await cluster.obey('b', {
      kind: 'protect',
      born: bornOf('primary'),
      ports,
      peer: { host: 'a', address: ADDRESS.a },
      method: 'stop-copy',
    });
    await cluster.until('b', 'in its procedure', (report) => report.task.kind === 'running' && report.task.procedure !== '');
    await agents.b.end('SIGKILL');
    cluster.reports.b = null;
    agents.b.start();
    await cluster.until('b', 'adopted', (report) => report.qemu.kind === 'alive');
    await cluster.save({ phase: 'solo', secondary: null });
    await cluster.obey('b', { kind: 'release-primary', born: bornOf('primary'), acceptLoss: false });
    await cluster.until(
      'b',
      'alone',
      (report) => report.aloneSince === cluster.record.epoch && report.qemu.kind === 'alive' && report.qemu.role === 'alone',
    );
    await client?.answers(3, 20_000);
    await endSecondary('a');
  });

  it('a hold -> the tap is down, and a release takes it up again', async () => {
    await cluster.save({});
    await cluster.obey('b', { kind: 'hold', born: bornOf('primary') });
    await cluster.until('b', 'held', (report) => report.held);
    await cluster.save({});
    await cluster.obey('b', { kind: 'release-primary', born: bornOf('primary'), acceptLoss: false });
    await cluster.until('b', 'not held', (report) => !report.held && report.aloneSince === cluster.record.epoch);
    await client?.answers(3, 20_000);
  });

  it('the agent and QEMU die together -> the next agent proves the death', async () => {
    await agents.b.end('SIGKILL');
    agents.b.killQemu(VM);
    client?.close();
    client = null;
    cluster.reports.b = null;
    agents.b.start();
    await cluster.until('b', 'dead', (report) => report.qemu.kind === 'dead' && !report.qemu.guestShutdown);
    const disk = cluster.report('b')?.disk;
    expect(disk).toMatchObject({ state: 'clean' });
  });

  it('a new start on the valid disk -> boots it; on a stale one -> refused with the reason', async () => {
    const born = nextEpoch(cluster.record.epoch);
    await cluster.save({ phase: 'starting', primary: cluster.side('a', born), secondary: null, verdict: null });
    await cluster.obey('a', { kind: 'start-alone', born, images: null, create: false });
    await expect(cluster.until('a', 'refused', () => false)).rejects.toThrow(/stale/);
    await cluster.startAlone('b', cluster.report('b')?.disk.images ?? []);
    client = new GuestClient(GUEST_ADDRESS);
    await client.answers(3, 60_000);
    for (const host of HOSTS) expect(cluster.report(host)?.unpromotable ?? null).toBeNull();
  });
});
