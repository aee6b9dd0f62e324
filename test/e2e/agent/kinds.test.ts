// Another way to begin and to end: the seed's cold start from identical images, and a guest that powers itself off.

import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nextEpoch } from '../../../shared/core/ids.js';
import { LINE_PORT } from '../../../deploy/lab/guest-protocol.js';
import { portsOf } from './cluster.js';
import { GuestClient } from './client.js';
import { ADDRESS, GUEST_ADDRESS, HOSTS, type HostName, missing } from './stage.js';
import { raiseWorld, VM, type World } from './world.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('two agents', () => {
  let world: World;
  let client: GuestClient | null = null;

  afterEach(async () => {
    client?.close();
    client = null;
    await world?.strike();
  });

  describe('with identical images', () => {
    beforeEach(async () => {
      world = await raiseWorld({ method: 'identical-images' });
    });

    it('a cold start -> both sides prove the pair without a copy; the guest powers off -> that is said, and nothing is called dead', async () => {
      const { cluster, agents } = world;
      for (const host of HOSTS) {
        const image = join(agents[host].stateDir, 'vms', VM, 'disk0.raw');
        mkdirSync(dirname(image), { recursive: true });
        writeFileSync(image, '');
        truncateSync(image, cluster.spec.disks[0]?.sizeBytes ?? 0);
      }
      const born = nextEpoch(cluster.record.epoch);
      const ports = portsOf(born);
      await cluster.save({ phase: 'syncing', primary: cluster.side('a', born), secondary: cluster.side('b', born), ports });
      await cluster.obey('a', { kind: 'start-cold-primary', born, ports, peer: { host: 'b', address: ADDRESS.b } });
      await cluster.obey('b', { kind: 'start-secondary', born, ports, peer: { host: 'a', address: ADDRESS.a } });
      await cluster.until('a', 'ready', (report) => report.readyFor === born);
      await cluster.until('b', 'ready', (report) => report.readyFor === born);
      await cluster.obey('a', { kind: 'protect', born, ports, peer: { host: 'b', address: ADDRESS.b }, method: 'identical-images' });
      for (const host of HOSTS) await cluster.until(host, 'proven', (report) => report.provenFor === born);
      client = new GuestClient(GUEST_ADDRESS);
      await client.answers(3, 90_000);
      await cluster.save({ phase: 'protected' });
      say('poweroff');
      // One side may be ahead, and the next checkpoint then carries the other one past its own poweroff.
      const isOff = (host: HostName): Promise<number> =>
        cluster.until(host, 'powered off', (report) => report.guestShutdown && report.qemu.kind === 'alive');
      await Promise.any(HOSTS.map(isOff));
      for (const host of HOSTS) expect(cluster.report(host)?.qemu.kind).toBe('alive');
    });
  });
});

function say(line: string): void {
  const socket = createConnection({ host: GUEST_ADDRESS, port: LINE_PORT });
  socket.on('error', () => undefined);
  socket.on('connect', () => socket.write(`${line}\n`));
}
