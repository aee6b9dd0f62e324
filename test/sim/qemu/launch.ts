// A QEMU is started: its command line is read, its images are opened, and after a while its monitors listen and its guest boots or waits.

import type { LaunchRequest } from '../../../agent/ports.js';
import { addChardev } from './commands.js';
import { readCommandLine, type Options } from './options.js';
import { SimQemu } from './qemu.js';
import type { Machine, Qemu, QemuWorld } from './shapes.js';

/** A text says why it ended at once. */
export function launchQemu(world: QemuWorld, machine: Machine, request: LaunchRequest): Qemu | string {
  const line = readCommandLine(request.argv);
  const pid = 1_000 + machine.processes.size + machine.boots * 100_000;
  const has = (key: string): Options | undefined => line.drives.find((each) => each.has(key));
  const parent = line.drives.find((each) => each.get('id') === 'parent0');
  const own = has('children.0.file.filename');
  const path = parent?.get('file.filename') ?? own?.get('children.0.file.filename') ?? '';
  const image = machine.image(path);
  if (image === null) return `Could not open '${path}': No such file or directory`;
  const inUse = machine.running().some((each) => each.block.image === image);
  if (inUse) return `Failed to get "write" lock: is another process using the image [${path}]?`;
  const qemu = new SimQemu(world, machine, pid, request, line, image);
  const replication = line.drives.find((each) => each.get('driver') === 'replication');
  if (replication !== undefined) {
    qemu.block.useOverlays(replication.get('file.file.filename') ?? '', replication.get('file.backing.file.filename') ?? '');
  }
  for (const each of line.objects) {
    qemu.objects.set(each.get('id') ?? '', {
      id: each.get('id') ?? '',
      type: each.get('') ?? '',
      outdev: each.get('outdev') ?? '',
      vnetHdr: each.get('vnet_hdr_support') === 'on',
      on: each.get('status') !== 'off',
    });
    if (each.has('compare_timeout')) qemu.compareTimeoutMs = Number(each.get('compare_timeout'));
  }
  machine.processes.set(pid, qemu);
  world.note(`${qemu.name} launched as ${line.incoming !== null ? 'secondary' : line.stopped ? 'cold primary' : 'alone'}`);
  qemu.runstate = line.incoming !== null ? 'inmigrate' : 'prelaunch';
  qemu.after(world.rng.delay(40, 400), () => {
    const { incoming } = line;
    const waits = (each: Qemu): boolean => each !== qemu && each.runstate === 'inmigrate' && each.pair === null && each.listening;
    if (incoming !== null && machine.running().some((each) => waits(each) && each.line.incoming?.port === incoming.port))
      return qemu.die('Failed to find an available port: Address already in use');
    qemu.listening = true;
    for (const each of line.chardevs) {
      const port = each.has('port') ? Number(each.get('port')) : null;
      addChardev(qemu, {
        id: each.get('id') ?? '',
        listens: each.get('server') === 'on',
        port,
        host: each.get('host') ?? '',
        path: each.get('path') ?? '',
        channel: null,
        mate: null,
      });
    }
    if (line.incoming !== null) return;
    qemu.guest.boot(world.rng.between(50, 300));
    if (!line.stopped) qemu.setRunstate('running');
  });
  return qemu;
}
