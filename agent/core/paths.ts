// Where the agent keeps things on its host. Pure: names only.

import type { Epoch, VmUid } from '../../shared/core/ids.js';
import type { VmSpec } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** Longest unix socket path that the kernel takes (sockaddr_un, without the closing zero). */
export const SOCKET_PATH_BYTES = 107;
/** Longest interface name that the kernel takes. */
const INTERFACE_NAME_BYTES = 15;

export interface Folders {
  readonly stateDir: string;
  readonly runtimeDir: string;
}

export interface QemuPaths {
  /** 0700; holds every socket of this QEMU. */
  readonly runtimeDir: string;
  /** Out-of-band monitor first. */
  readonly sockets: readonly string[];
  /** QEMU's standard output and error. */
  readonly logFile: string;
  /** The guest's serial port. */
  readonly serialFile: string;
  /** Per disk. */
  readonly active: readonly string[];
  readonly hidden: readonly string[];
}

export function vmFolder(folders: Folders, vm: string): string {
  return `${folders.stateDir}/vms/${vm}`;
}

export function qemuPaths(folders: Folders, spec: VmSpec, born: Epoch): QemuPaths {
  const state = vmFolder(folders, spec.name);
  const runtimeDir = `${folders.runtimeDir}/${spec.name}/${born}`;
  return {
    runtimeDir,
    sockets: monitorSockets(runtimeDir),
    logFile: `${state}/qemu-${born}.log`,
    serialFile: `${state}/serial-${born}.log`,
    active: spec.disks.map((_, k) => `${state}/active${k}-${born}.qcow2`),
    hidden: spec.disks.map((_, k) => `${state}/hidden${k}-${born}.qcow2`),
  };
}

/** Raw image of disk k. */
export function parentImage(folders: Folders, spec: VmSpec, k: number): string {
  return spec.disks[k]?.path ?? `${vmFolder(folders, spec.name)}/disk${k}.raw`;
}

export function parentImages(folders: Folders, spec: VmSpec): readonly string[] {
  return spec.disks.map((_, k) => parentImage(folders, spec, k));
}

/** The two that the agent uses of those that qemu-args.ts makes: out of band and events, and everything else. */
function monitorSockets(runtimeDir: string): readonly string[] {
  return [`${runtimeDir}/qmp-oob.sock`, `${runtimeDir}/qmp.sock`];
}

/** All chains of a VM whose overlays are not merged yet: per disk active, hidden, parent; disk after disk. */
export function mergingImages(folders: Folders, spec: VmSpec, born: Epoch): readonly string[] {
  const paths = qemuPaths(folders, spec, born);
  return spec.disks.flatMap((_, k) => [paths.active[k] ?? '', paths.hidden[k] ?? '', parentImage(folders, spec, k)]);
}

/** Cuts a flat list of images into one chain per disk; each ends with that disk's raw parent. */
export function chainsOf(folders: Folders, spec: VmSpec, images: readonly string[]): Result<readonly (readonly string[])[], string> {
  const parents = parentImages(folders, spec);
  const chains: string[][] = [];
  let chain: string[] = [];
  for (const image of images) {
    chain.push(image);
    if (image !== parents[chains.length]) continue;
    chains.push(chain);
    chain = [];
  }
  if (chain.length > 0 || chains.length !== parents.length) {
    return fail(`the images [${images.join(', ')}] are no chains that end with [${parents.join(', ')}]`);
  }
  return ok(chains);
}

/** QEMU answers a socket path that is too long with an error about something else, so it is told here. */
export function checkSocketPaths(folders: Folders, vm: string, born: Epoch): Result<null, string> {
  const longest = `${folders.runtimeDir}/${vm}/${born}/compare0-99.sock`;
  if (longest.length <= SOCKET_PATH_BYTES) return ok(null);
  return fail(
    `the socket path ${longest} has ${longest.length} bytes and a unix socket may have ${SOCKET_PATH_BYTES}: choose a shorter runtimeDir or VM name`,
  );
}

/** Name of the tap of NIC k: `colo`, eight digits of a hash of VM and birth, and the NIC's number. */
export function tapName(uid: VmUid, born: Epoch, k: number): string {
  const name = `colo${hash(`${uid}/${born}`)}n${k}`;
  return name.slice(0, INTERFACE_NAME_BYTES);
}

/** FNV-1a, 32 bits, as eight hex digits: short, stable and without a library. Not for secrets. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    value ^= text.charCodeAt(at);
    value = Math.imul(value, 0x01000193) >>> 0;
  }
  return value.toString(16).padStart(8, '0');
}
