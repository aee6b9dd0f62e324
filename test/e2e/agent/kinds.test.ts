// Other ways to begin and to end: the seed's cold start from identical images, a guest that powers itself off, and a QEMU that somebody
// else started.

import { spawn } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { qemuCommand } from '../../../agent/core/qemu-args.js';
import { versionFromText } from '../../../agent/core/capabilities.js';
import { nextEpoch, type Epoch } from '../../../shared/core/ids.js';
import { LINE_PORT } from '../../../deploy/lab/guest-protocol.js';
import { portsOf } from './cluster.js';
import { GuestClient } from './client.js';
import { ADDRESS, FOLDER, GUEST_ADDRESS, HOSTS, type HostName, inSpace, missing, namespaceOf, QEMU_DIR, run } from './stage.js';
import { raiseWorld, VM, type World } from './world.js';
import { eventually } from '../../support/wait.js';

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

  describe('with a QEMU that somebody else started', () => {
    const socket = join(FOLDER, 'external', 'qmp.sock');

    beforeEach(async () => {
      world = await raiseWorld({ launch: { kind: 'external', qmpSockets: [socket], startSecondary: null } });
    });

    it('a start -> is taken over on its one socket, and a destroy quits it by QMP', async () => {
      const { cluster } = world;
      const pid = startByHand(cluster.spec, dirname(socket));
      await cluster.startAlone('a');
      expect(cluster.report('a')?.qemu).toMatchObject({ kind: 'alive', role: 'alone' });
      expect(cluster.report('a')?.disk).toMatchObject({ state: 'clean' });
      client = new GuestClient(GUEST_ADDRESS);
      await client.answers(3, 60_000);
      client.close();
      await cluster.save({ phase: 'stopping' });
      await cluster.obey('a', { kind: 'destroy' });
      await cluster.until('a', 'absent', (report) => report.qemu.kind === 'absent');
      // A death is told as soon as it is certain; the kernel then still frees the guest's memory.
      await eventually('the end of that QEMU', 10_000, () => isGone(pid));
    });

    it('its death -> is proven by the socket that nobody owns any more', async () => {
      const { cluster } = world;
      const pid = startByHand(cluster.spec, dirname(socket));
      await cluster.startAlone('a');
      process.kill(pid, 'SIGKILL');
      await cluster.until(
        'a',
        'dead',
        (report) => report.qemu.kind === 'dead' && report.qemu.born === (cluster.record.primary?.born as Epoch),
      );
    });
  });
});

/** As an operator would, by the seed's step 1: one monitor. */
function startByHand(spec: World['cluster']['spec'], folder: string): number {
  mkdirSync(folder, { recursive: true });
  const image = join(folder, 'disk0.raw');
  writeFileSync(image, '');
  truncateSync(image, spec.disks[0]?.sizeBytes ?? 0);
  inSpace('a', 'ip', 'tuntap', 'add', 'tap0', 'mode', 'tap', 'vnet_hdr');
  inSpace('a', 'ip', 'link', 'set', 'tap0', 'master', 'br-guest', 'up');
  const program = join(QEMU_DIR, 'qemu-system-x86_64');
  const version = versionFromText(run(program, '--version'));
  if (version === null) throw new Error('QEMU tells no version');
  const { argv } = qemuCommand(
    spec,
    { kind: 'alone', images: [[image]] },
    { program, version, runtimeDir: folder, serialFile: join(folder, 'serial.log'), taps: ['tap0'] },
  );
  const child = spawn('ip', ['netns', 'exec', namespaceOf('a'), ...argv], { detached: true, stdio: 'ignore' });
  child.unref();
  return child.pid ?? 0;
}

function say(line: string): void {
  const socket = createConnection({ host: GUEST_ADDRESS, port: LINE_PORT });
  socket.on('error', () => undefined);
  socket.on('connect', () => socket.write(`${line}\n`));
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}
