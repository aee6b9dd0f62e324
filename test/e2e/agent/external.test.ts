// QEMUs that somebody else starts, as the manual's steps 1 and 2 do by hand: the agents only own their QMP sockets, and never kill them. The
// secondary comes from the example that operators are given, deploy/examples/start-secondary.sh.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Epoch } from '../../../shared/core/ids.js';
import type { VmSpec } from '../../../shared/core/model.js';
import { eventually } from '../../support/wait.js';
import { GuestClient } from './client.js';
import type { Cluster } from './cluster.js';
import { FOLDER, GUEST_ADDRESS, HOSTS, inSpace, missing, namespaceOf, QEMU_DIR, run, type HostName } from './stage.js';
import { mountedFolder, raiseWorld, VM, type World } from './world.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

/** Where each agent sees its own host's folder, so that one definition names the right files on both. */
const AT = join(FOLDER, 'external');
const PROGRAM = join(QEMU_DIR, 'qemu-system-x86_64');
const TAP = 'tap0';
const SCRIPT = join(process.cwd(), 'deploy/examples/start-secondary.sh');
const SOCKETS = ['qmp0.sock', 'qmp1.sock'].map((name) => join(AT, name));

describe.skipIf(why !== null)('QEMUs that somebody else started', () => {
  let world: World;
  let cluster: Cluster;
  let client: GuestClient | null = null;

  afterEach(async () => {
    client?.close();
    client = null;
    for (const host of HOSTS) endBy('SIGKILL', host);
    await world?.strike();
  });

  describe('alone, with one socket', () => {
    beforeEach(async () => {
      world = await raiseWorld({ launch: { kind: 'external', qmpSockets: SOCKETS.slice(0, 1), startSecondary: null } }, AT);
      ({ cluster } = world);
      layDown();
    });

    it('a start -> is taken over on its one socket, and a destroy quits it by QMP', async () => {
      const qemu = startAloneByHand('a', cluster.spec);
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
      await eventually('the end of that QEMU', 10_000, () => qemu.exitCode !== null);
      expect([qemu.exitCode, qemu.signalCode]).toEqual([0, null]);
    });

    it('its death -> is proven by the socket that nobody owns any more', async () => {
      startAloneByHand('a', cluster.spec);
      await cluster.startAlone('a');
      endBy('SIGKILL', 'a');
      await cluster.until(
        'a',
        'dead',
        (report) => report.qemu.kind === 'dead' && report.qemu.born === (cluster.record.primary?.born as Epoch),
      );
    });
  });

  describe('as both halves of a pair', () => {
    beforeEach(async () => {
      const startSecondary = [join(AT, 'start-secondary')];
      world = await raiseWorld({ launch: { kind: 'external', qmpSockets: SOCKETS, startSecondary } }, AT);
      ({ cluster } = world);
      layDown();
      for (const host of HOSTS) writeScript(host, cluster.spec);
    });

    it('protect, death of the primary, protect again, death of the secondary, the loser of a verdict -> all as with QEMUs of our own, and none is killed', async () => {
      startAloneByHand('a', cluster.spec);
      await cluster.startAlone('a');
      client = new GuestClient(GUEST_ADDRESS);
      await client.answers(3, 60_000);

      // First protection is Secondary start and Primary resume replication; then Secondary failover.
      await cluster.protect('a', 'b', 'stop-copy');
      await client.answers(10, 10_000);
      await failOver('b', 'a');

      // The promoted side resumes as a primary, the live way, with a secondary that the operator's command starts on the other host.
      await cluster.protect('b', 'a', 'live');
      await client.answers(10, 10_000);
      // Primary failover.
      await failOver('b', 'a');

      // Both live, and the secondary loses: it is asked to quit, when the winner runs alone.
      await cluster.protect('b', 'a', 'stop-copy');
      await client.answers(10, 10_000);
      const loser = pidOf('a');
      await cluster.release('b', 'a', performance.now());
      await cluster.obey('a', { kind: 'destroy' });
      await cluster.until('a', 'absent', (report) => report.qemu.kind === 'absent');
      await eventually('the end of the loser', 10_000, () => pidOf('a') !== loser);
      await client.answers(5, 20_000);
      expect(client.problems()).toEqual([]);
      expect(readFileSync(join(mountedFolder('a'), 'qemu.log'), 'utf8')).not.toContain('terminating on signal');
    });
  });

  /** The struck side's QEMU dies; the survivor goes on alone and comes to rest. */
  async function failOver(survivor: HostName, victim: HostName): Promise<void> {
    const killed = performance.now();
    endBy('SIGKILL', victim);
    await cluster.until(victim, 'dead', (report) => report.qemu.kind === 'dead');
    await cluster.release(survivor, victim, killed);
    await client?.answers(5, 20_000);
    await cluster.obey(victim, { kind: 'destroy' });
    await cluster.until(victim, 'absent', (report) => report.qemu.kind === 'absent');
    await cluster.until(survivor, 'merged', (report) => report.disk.state === 'clean');
    await cluster.save({ phase: 'solo' });
  }

  /** What an operator has on each host before anything starts: an image and a tap. */
  function layDown(): void {
    for (const host of HOSTS) {
      const image = join(mountedFolder(host), 'disk0.raw');
      mkdirSync(mountedFolder(host), { recursive: true });
      writeFileSync(image, '');
      truncateSync(image, cluster.spec.disks[0]?.sizeBytes ?? 0);
      inSpace(host, 'ip', 'tuntap', 'add', TAP, 'mode', 'tap', 'vnet_hdr');
      inSpace(host, 'ip', 'link', 'set', TAP, 'master', 'br-guest', 'up');
    }
  }
});

/** The options that both sides share. */
function machineOf(spec: VmSpec): readonly string[] {
  const { boot } = spec;
  if (boot.kind !== 'kernel') throw new Error('the guest of these tests boots a kernel');
  return [
    ...['-machine', spec.machine, '-accel', 'tcg', '-cpu', spec.cpuModel, '-m', `${spec.memoryMiB}M`, '-smp', '1'],
    ...['-kernel', boot.kernel, '-initrd', boot.initrd ?? '', '-append', boot.append, '-serial', 'null'],
  ];
}

/** By the manual, but without the pair's filters, which a primary that starts alone gets later. */
function startAloneByHand(host: HostName, spec: VmSpec): ChildProcess {
  const folder = mountedFolder(host);
  const argv = [
    ...[PROGRAM, '-name', `guest=${VM},debug-threads=on`, '-nodefaults', '-no-user-config', '-display', 'none', '-no-shutdown'],
    ...machineOf(spec),
    ...(spec.launch.kind === 'external' ? spec.launch.qmpSockets : []).flatMap((path) => [
      '-qmp',
      `unix:${path.replace(AT, folder)},server=on,wait=off`,
    ]),
    ...['-netdev', `tap,id=hn0,ifname=${TAP},script=no,downscript=no,vhost=off`],
    ...['-device', `virtio-net-pci,id=e0,netdev=hn0,mac=${spec.nics[0]?.mac ?? ''}`],
    '-drive',
    `if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.file.filename=${join(folder, 'disk0.raw')},children.0.driver=raw`,
  ];
  const log = openSync(join(folder, 'qemu.log'), 'a');
  return spawn('ip', ['netns', 'exec', namespaceOf(host), ...argv], { detached: true, stdio: ['ignore', log, log] });
}

/** The operator's command: the example with this host's files. */
function writeScript(host: HostName, spec: VmSpec): void {
  const words = [SCRIPT, join(AT, 'disk0.raw'), TAP, spec.nics[0]?.mac ?? '', AT, ...machineOf(spec)];
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const text = `#!/bin/sh\nexport QEMU='${PROGRAM}' QEMU_IMG='${join(QEMU_DIR, 'qemu-img')}'\nexec ${quoted}\n`;
  writeFileSync(join(mountedFolder(host), 'start-secondary'), text, { mode: 0o755 });
}

/** The QEMU of these tests in a host's namespace; 0 = none. */
function pidOf(host: HostName): number {
  const pids = run('ip', 'netns', 'pids', namespaceOf(host)).split(/\s+/).filter(Boolean).map(Number);
  return pids.find((pid) => programOf(pid).endsWith('/qemu-system-x86_64')) ?? 0;
}

function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '';
  } catch {
    return '';
  }
}

function endBy(signal: NodeJS.Signals, host: HostName): void {
  const pid = pidOf(host);
  if (pid !== 0) process.kill(pid, signal);
}
