// SAFETY 4: between a verdict and its execution there are two copies of the guest, and either may be the last one. The loser is silent and is
// kept, so that it can go on when the winner dies before anybody heard of it.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cluster } from '../agent/cluster.js';
import { GuestClient } from '../agent/client.js';
import { GUEST_ADDRESS, missing } from '../agent/stage.js';
import { raiseWorld, VM, type World } from '../agent/world.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('two sides of a pair', () => {
  let world: World;
  let cluster: Cluster;
  let client: GuestClient | null = null;

  beforeAll(async () => {
    world = await raiseWorld();
    ({ cluster } = world);
  });

  afterAll(async () => {
    client?.close();
    await world?.strike();
  });

  it('the winner of a verdict dies before it is released -> the loser, which was kept, goes on', async () => {
    await cluster.startAlone('a');
    client = new GuestClient(GUEST_ADDRESS);
    await client.answers(3, 60_000);
    await cluster.protect('a', 'b', 'stop-copy');
    await client.answers(3, 20_000);
    const { primary: winner, secondary: loser } = cluster.record;
    if (winner === null || loser === null) throw new Error('no pair');
    await cluster.save({
      phase: 'verdict',
      verdict: { row: 'test', kind: 'solo-primary', winner, loser, evidence: [], atMs: 0 },
    });
    expect(await cluster.order('b', { kind: 'destroy' })).toMatchObject({ refusal: 'not-permitted-now' });
    const killed = performance.now();
    world.agents.a.killQemu(VM);
    await cluster.until('a', 'dead', (report) => report.qemu.kind === 'dead');
    expect(cluster.report('a')?.aloneSince ?? null).not.toBe(cluster.record.epoch);
    await cluster.release('b', 'a', killed);
    await client.answers(10, 30_000);
    expect(client.problems()).toEqual([]);
  });
});
