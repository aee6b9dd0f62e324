// What a VM definition must keep to before it is stored: everything that COLO cannot replicate, or that would only fail on the night of a
// failover, is refused here. Each problem names its key as the VM file spells it, why it is refused, and what to do instead. Pure: it
// knows nothing of hosts or of other VMs; the coordinator checks those in its transaction.

import type { DiskSpec, NicSpec, VmSpec } from './model.js';
import { extraArgsProblems } from './extra-args-rules.js';

export interface SpecProblem {
  /** As in the VM file, for example `['disks', 0, 'path']`. */
  readonly path: readonly (string | number)[];
  /** What is wrong, why, and what to do instead. */
  readonly problem: string;
}

const MIB = 1024 * 1024;
/** Names become parts of socket paths, which may have 107 bytes. */
const NAME_LENGTH = 40;
/** One attempt has a block of 20 ports: two for each card, one for the migration, one for NBD. */
const MOST_NICS = 8;
/** Cards and disks share the 32 slots of a PCI bus. */
const MOST_DISKS = 16;
const MEMORY_MIB = { least: 16, most: 4 * MIB };
const CPUS = { least: 1, most: 64 };
const DISK_BYTES = { least: MIB, most: 64 * MIB * MIB };

interface Range {
  readonly least: number;
  readonly most: number;
  readonly why: string;
}

const NUMBERS: readonly (readonly [keyof VmSpec & string, Range])[] = [
  [
    'checkpointDelayMs',
    { least: 50, most: 20_000, why: 'a shorter delay leaves the guest no time to run, a longer one hides a broken pair' },
  ],
  ['compareTimeoutMs', { least: 20, most: 10_000, why: 'it is how long the guest waits when the two sides answer differently' }],
  ['expiredScanCycleMs', { least: 10, most: 10_000, why: 'it is how often waiting packets are looked at' }],
  ['shutdownGraceMs', { least: 0, most: 3_600_000, why: '0 ends QEMU at once, an hour is the longest grace' }],
];

/** Everything that is wrong with a definition, in the order of its keys; empty = it may be stored. */
export function specProblems(spec: VmSpec): readonly SpecProblem[] {
  return [
    ...nameProblems(spec.name),
    ...sizeProblems(spec),
    ...machineProblems(spec),
    ...diskProblems(spec.disks),
    ...nicProblems(spec.nics),
    ...bootProblems(spec),
    ...extraArgsProblems(spec.extraArgs),
    ...hostProblems(spec.hosts),
    ...launchProblems(spec),
    ...numberProblems(spec),
  ];
}

/** One line a problem: `disks.0.path: what is wrong`. */
export function describeSpecProblems(problems: readonly SpecProblem[]): string {
  return problems.map((each) => `${each.path.join('.')}: ${each.problem}`).join('\n');
}

/** MAC addresses are compared in lower case. */
export function sameMac(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

function nameProblems(name: string): readonly SpecProblem[] {
  if (name.length <= NAME_LENGTH && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)) return [];
  return [
    {
      path: ['name'],
      problem: `must be lower-case letters, digits and hyphens, at most ${NAME_LENGTH} long, with a letter or digit at both ends`,
    },
  ];
}

function sizeProblems(spec: VmSpec): readonly SpecProblem[] {
  const problems: SpecProblem[] = [];
  if (!isWithin(spec.memoryMiB, MEMORY_MIB))
    problems.push({ path: ['memory'], problem: `must be between ${MEMORY_MIB.least}M and 4T, a whole number of MiB` });
  if (!isWithin(spec.cpus, CPUS)) problems.push({ path: ['cpus'], problem: `must be a whole number from ${CPUS.least} to ${CPUS.most}` });
  return problems;
}

function machineProblems(spec: VmSpec): readonly SpecProblem[] {
  const problems: SpecProblem[] = [];
  if (spec.machine.includes(',')) {
    problems.push({ path: ['machine'], problem: 'must be a machine type alone: options after a comma are not supported' });
  } else if (!/^[a-zA-Z0-9_-]+-[a-zA-Z]*\d+\.\d+(\.\d+)?$/.test(spec.machine)) {
    problems.push({
      path: ['machine'],
      problem: `"${spec.machine}" has no version: after an upgrade of QEMU the two sides would be different machines. Name one with a version, for example pc-i440fx-11.1 (qemu-system-x86_64 -machine help lists them)`,
    });
  }
  if (!/^[a-zA-Z0-9_.-]+(,[+-]?[a-zA-Z0-9_.=+-]+)*$/.test(spec.cpuModel)) {
    problems.push({
      path: ['cpuModel'],
      problem: 'must be a CPU model as `qemu-system-x86_64 -cpu help` lists them, with its flags after commas',
    });
  } else if (/^(host|max)(,|$)/.test(spec.cpuModel) && spec.accel !== 'tcg') {
    problems.push({
      path: ['cpuModel'],
      problem: `"${spec.cpuModel}" differs from host to host, so a guest could not go on on the other side: name a model that every host has, for example qemu64`,
    });
  }
  return problems;
}

function diskProblems(disks: readonly DiskSpec[]): readonly SpecProblem[] {
  if (disks.length === 0) return [{ path: ['disks'], problem: 'a VM needs at least one disk: add one with its `size`' }];
  if (disks.length > MOST_DISKS) return [{ path: ['disks'], problem: `at most ${MOST_DISKS} disks fit on the bus` }];
  return disks.flatMap((disk, index) => {
    const problems: SpecProblem[] = [];
    const at = (key: string, problem: string) => problems.push({ path: ['disks', index, key], problem });
    if (!isWithin(disk.sizeBytes, DISK_BYTES) || disk.sizeBytes % MIB !== 0) {
      at('size', 'must be a whole number of MiB, at least 1M: both sides need images of exactly one size');
    }
    if (disk.path !== null) {
      if (!isPlainPath(disk.path)) at('path', PLAIN_PATH);
      const first = disks.findIndex((other) => other.path === disk.path);
      if (first < index) at('path', `is the image of disk ${first} too: two disks on one image would destroy each other's data`);
      if (/^\/dev\//.test(disk.path)) at('path', 'is a device: only raw image files are replicated; use a file, or leave `path` out');
    }
    if (disk.source !== null) {
      if (!isPlainPath(disk.source)) at('source', PLAIN_PATH);
      if (disk.source === disk.path)
        at('source', 'is the disk itself: `source` is copied into `path` once. Leave it out if the image is there already');
    }
    return problems;
  });
}

function nicProblems(nics: readonly NicSpec[]): readonly SpecProblem[] {
  if (nics.length === 0) {
    return [
      { path: ['nics'], problem: 'a VM needs at least one network card: what the guest sends there is what COLO compares and withholds' },
    ];
  }
  if (nics.length > MOST_NICS)
    return [{ path: ['nics'], problem: `at most ${MOST_NICS} cards: each needs two ports of an attempt's block` }];
  return nics.flatMap((nic, index) => {
    const problems: SpecProblem[] = [];
    const at = (key: string, problem: string) => problems.push({ path: ['nics', index, key], problem });
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(nic.mac)) {
      at('mac', 'must be six pairs of hex digits, for example 52:54:00:12:34:56 (in quotes if it has digits only)');
    } else if (Number.parseInt(nic.mac.slice(0, 2), 16) % 2 === 1) {
      at('mac', 'is a multicast address (its first byte is odd), which no card may have: begin it with 52:54:00');
    } else if (/^[0:]+$/.test(nic.mac)) {
      at('mac', 'is all zero, which no card may have: begin it with 52:54:00');
    } else {
      const first = nics.findIndex((other) => sameMac(other.mac, nic.mac));
      if (first < index) at('mac', `is the address of card ${first} too: each card needs its own`);
    }
    if (nic.bridge !== null && !/^[^\s/,]{1,15}$/.test(nic.bridge))
      at('bridge', 'must be the name of a bridge, 1 to 15 characters without blanks, slashes and commas');
    return problems;
  });
}

function bootProblems(spec: VmSpec): readonly SpecProblem[] {
  if (spec.boot.kind === 'disk') return [];
  const problems: SpecProblem[] = [];
  if (!isPlainPath(spec.boot.kernel)) problems.push({ path: ['boot', 'kernel'], problem: PLAIN_PATH });
  if (spec.boot.initrd !== null && !isPlainPath(spec.boot.initrd)) problems.push({ path: ['boot', 'initrd'], problem: PLAIN_PATH });
  if (hasControls(spec.boot.append)) problems.push({ path: ['boot', 'append'], problem: 'must be one line' });
  return problems;
}

function hostProblems(hosts: readonly string[]): readonly SpecProblem[] {
  return hosts.flatMap((host, index) => {
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(host))
      return [{ path: ['hosts', index], problem: `"${host}" is no host name: lower-case letters, digits and hyphens` }];
    if (hosts.indexOf(host) < index) return [{ path: ['hosts', index], problem: `"${host}" is named twice: remove one` }];
    return [];
  });
}

function launchProblems(spec: VmSpec): readonly SpecProblem[] {
  if (spec.launch.kind === 'managed') return [];
  const { qmpSockets, startSecondary } = spec.launch;
  const problems: SpecProblem[] = [];
  if (qmpSockets.length === 0)
    problems.push({
      path: ['external', 'qmpSockets'],
      problem: 'name the QMP socket of the QEMU that you start, better two: one is held open for out-of-band commands',
    });
  for (const [index, socket] of qmpSockets.entries()) {
    if (!isPlainPath(socket) || socket.length > 107)
      problems.push({ path: ['external', 'qmpSockets', index], problem: `${PLAIN_PATH}, at most 107 long` });
    if (qmpSockets.indexOf(socket) < index)
      problems.push({ path: ['external', 'qmpSockets', index], problem: 'is named twice: a QMP socket serves one client at a time' });
  }
  if (startSecondary !== null && !(startSecondary[0] ?? '').startsWith('/')) {
    problems.push({ path: ['external', 'startSecondary'], problem: 'must be a list whose first word is the absolute path of a program' });
  }
  return problems;
}

function numberProblems(spec: VmSpec): readonly SpecProblem[] {
  const problems: SpecProblem[] = [];
  for (const [key, range] of NUMBERS) {
    const value = spec[key];
    if (typeof value !== 'number' || !isWithin(value, range))
      problems.push({ path: [key], problem: `must be a whole number from ${range.least} to ${range.most}: ${range.why}` });
  }
  if (!isWithin(spec.maxBandwidthBytes, { least: MIB, most: 1024 * 1024 * MIB }))
    problems.push({ path: ['maxBandwidth'], problem: 'must be from 1M to 1T (bytes a second)' });
  return problems;
}

const PLAIN_PATH = 'must be an absolute path without commas and control characters (QEMU reads a comma as the end of a value)';

function isPlainPath(path: string): boolean {
  return path.startsWith('/') && !path.includes(',') && !hasControls(path);
}

function hasControls(text: string): boolean {
  return [...text].some((letter) => letter < ' ' || letter === '\u007f');
}

function isWithin(value: number, range: { readonly least: number; readonly most: number }): boolean {
  return Number.isInteger(value) && value >= range.least && value <= range.most;
}
