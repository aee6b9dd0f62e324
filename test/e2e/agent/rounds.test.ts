// Rounds of death and resync on one guest, the sides in alternation, and how long each part of a failover takes. COLO_ROUNDS says how many.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cluster } from './cluster.js';
import { GuestClient } from './client.js';
import { GUEST_ADDRESS, missing, type HostName } from './stage.js';
import { raiseWorld, rounded, VM, type World } from './world.js';

const ROUNDS = Number(process.env['COLO_ROUNDS'] ?? 6);
const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('one guest', () => {
  let world: World;
  let cluster: Cluster;
  let client: GuestClient;

  beforeAll(async () => {
    world = await raiseWorld();
    ({ cluster } = world);
    await cluster.startAlone('a');
    client = new GuestClient(GUEST_ADDRESS);
    await client.answers(3, 60_000);
  });

  afterAll(async () => {
    client?.close();
    await world?.strike();
  });

  it(`whose primary and secondary die in turn, ${ROUNDS} times -> goes on without a hole`, async () => {
    const times: Record<'primary' | 'secondary', Readonly<Record<string, number>>[]> = { primary: [], secondary: [] };
    let primary: HostName = 'a';
    for (let round = 0; round < ROUNDS; round += 1) {
      const secondary: HostName = primary === 'a' ? 'b' : 'a';
      await cluster.protect(primary, secondary, 'live');
      await client.answers(10, 10_000);
      client.forgetGaps();
      const dies = round % 2 === 0 ? 'primary' : 'secondary';
      const victim: HostName = dies === 'primary' ? primary : secondary;
      const survivor: HostName = dies === 'primary' ? secondary : primary;
      const killed = performance.now();
      process.kill(world.agents[victim].qemuPid(VM), 'SIGKILL');
      await cluster.until(victim, 'dead', (report) => report.qemu.kind === 'dead');
      const parts = await cluster.release(survivor, victim, killed);
      await client.answers(5, 20_000);
      times[dies].push({ ...parts, gap: client.longestGapMs() });
      await cluster.obey(victim, { kind: 'destroy' });
      await cluster.until(victim, 'absent', (report) => report.qemu.kind === 'absent');
      await cluster.until(survivor, 'merged', (report) => report.disk.state === 'clean');
      await cluster.save({ phase: 'solo' });
      primary = survivor;
    }
    for (const dies of ['primary', 'secondary'] as const) console.log(`kill ${dies}, n = ${times[dies].length}`, summary(times[dies]));
    expect(client.problems()).toEqual([]);
  });
});

/** Median and longest of each part, in milliseconds. */
function summary(
  times: readonly Readonly<Record<string, number>>[],
): Readonly<Record<string, { readonly p50: number; readonly max: number }>> {
  const names = Object.keys(times[0] ?? {});
  return Object.fromEntries(
    names.map((name) => {
      const sorted = times.map((each) => each[name] ?? 0).sort((one, other) => one - other);
      const { p50, max } = rounded({ p50: sorted[Math.floor(sorted.length / 2)] ?? 0, max: sorted.at(-1) ?? 0 }) as {
        p50: number;
        max: number;
      };
      return [name, { p50, max }];
    }),
  );
}
