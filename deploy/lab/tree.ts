// Where things are in this tree and in the cache: the lab runs the build that it is part of.

import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError, run } from './command.js';

/** The folder of package.json. This file is either in deploy/lab or, built, in dist/deploy/lab. */
export const tree: string = findTree();
export const cache: string = process.env['COLO_CACHE'] ?? '/var/cache/colo-ha';

export const QEMU_VERSIONS = ['11.1', '7.2'] as const;
export type QemuVersion = (typeof QEMU_VERSIONS)[number];

export const programs = {
  agent: join(tree, 'dist/agent/main.js'),
  coordinator: join(tree, 'dist/coordinator/main.js'),
  coloctl: join(tree, 'dist/coordinator/cli/main.js'),
  prober: join(tree, 'dist/deploy/lab/prober-main.js'),
  /** etcd's client protocol is stable, so one version of it serves beside every QEMU. */
  etcd: join(cache, 'qemu-11.1/bin/etcd'),
  etcdctl: join(cache, 'qemu-11.1/bin/etcdctl'),
  etcdutl: join(cache, 'qemu-11.1/root/usr/bin/etcdutl'),
} as const;

export function qemuProgram(version: QemuVersion, name: 'qemu-system-x86_64' | 'qemu-img'): string {
  return join(cache, `qemu-${version}`, 'bin', name);
}

export function machineType(version: QemuVersion): string {
  return `pc-i440fx-${version}`;
}

/** Makes what is missing; when all is there it costs milliseconds. */
export async function prepareQemu(version: QemuVersion, signal?: AbortSignal): Promise<void> {
  if (version === '11.1') return;
  await run('sh', [join(tree, 'deploy/setup.sh'), `qemu-${version}`], { deadlineMs: 900_000, ...(signal === undefined ? {} : { signal }) });
}

export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
}

export async function guestImage(): Promise<GuestImage> {
  const folder = (await run('sh', [join(tree, 'deploy/lab/guest/build.sh')], { deadlineMs: 300_000 })).trim();
  return { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd.img') };
}

function findTree(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = resolve(folder, '..');
    if (parent === folder) throw new LabError('this program is not inside a tree with a package.json');
    folder = parent;
  }
  return folder;
}
