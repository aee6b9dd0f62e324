// QEMU's command lines, from one VM spec: the guest alone, the manual's step 1 (a primary that waits, from identical images) and step 2
// (a secondary). Both sides of a pair get the same machine in the same order, or the stream of one would not load in the other.
// Differences to the manual are those of procedures/deviations.ts: vnet_hdr_support, wait=off, addresses, unix sockets.

import { unreachable } from '../../shared/core/assert.js';
import type { Ports, VmSpec } from '../../shared/core/model.js';
import { atLeast } from './capabilities.js';
import { compareSocketPath, vmNames, type VmNames } from './names.js';
import { TLS_CLIENT, TLS_PEERS, TLS_SERVER, tlsObjects, type PairTls } from './pair-tls.js';
import type { QemuVersion } from './procedures/port.js';

/** What the host gives a QEMU. Lists go by disk and by NIC, as in the spec. */
export interface QemuPlace {
  readonly program: string;
  readonly version: QemuVersion;
  /** QEMU closes to itself, by seccomp, what it does not need: new programs, other users, obsolete calls. */
  readonly sandbox: boolean;
  /** Folder of all unix sockets, mode 0700, at most 80 bytes long. */
  readonly runtimeDir: string;
  readonly serialFile: string;
  readonly taps: readonly string[];
  /** Of the streams between the two sides; null = in the open. */
  readonly tls: PairTls | null;
}

export interface Overlays {
  /** Fresh qcow2 images of the disk's size, made for this start. */
  readonly active: string;
  readonly hidden: string;
}

export type QemuStart =
  /** `images`: for each disk its chain, topmost overlay first and raw parent last; one name when it is clean. */
  | { readonly kind: 'alone'; readonly images: readonly (readonly string[])[] }
  /** Stands still (`-S`) until primary-start. `images`: for each disk its raw image, identical to the secondary's. */
  | { readonly kind: 'cold-primary'; readonly images: readonly string[]; readonly ports: Ports; readonly bindAddress: string }
  | {
      readonly kind: 'secondary';
      readonly images: readonly string[];
      readonly overlays: readonly Overlays[];
      readonly ports: Ports;
      readonly bindAddress: string;
      readonly primaryAddress: string;
    };

export interface QemuCommand {
  /** Program first. */
  readonly argv: readonly string[];
  /** QMP sockets: out of band and events, everything else, and one that is left free for people. */
  readonly sockets: readonly string[];
}

export function qemuCommand(spec: VmSpec, start: QemuStart, place: QemuPlace): QemuCommand {
  const names = vmNames(spec.disks.length, spec.nics.length);
  const sockets = ['qmp-oob', 'qmp', 'qmp-spare'].map((name) => `${place.runtimeDir}/${name}.sock`);
  const argv = [
    place.program,
    ...machine(spec, place),
    ...sockets.flatMap((path) => ['-qmp', `unix:${escaped(path)},server=on,wait=off`]),
    ...nics(spec, names, place),
    ...role(spec, names, start, place),
    ...spec.extraArgs,
  ];
  return { argv, sockets };
}

/** Commands that make one raw image of a chain whose VM is not running: each overlay is told its backing file and committed into it. */
export function flattenCommands(qemuImg: string, chain: readonly string[]): readonly (readonly string[])[] {
  const pairs = chain
    .slice(0, -1)
    .map((overlay, k) => ({ overlay, below: chain[k + 1] ?? '', format: k + 2 === chain.length ? 'raw' : 'qcow2' }));
  return [
    ...pairs.map(({ overlay, below, format }) => [qemuImg, 'rebase', '-u', '-f', 'qcow2', '-F', format, '-b', below, overlay]),
    ...pairs.map(({ overlay }) => [qemuImg, 'commit', '-f', 'qcow2', overlay]),
  ];
}

function machine(spec: VmSpec, place: QemuPlace): readonly string[] {
  const accel = spec.accel === 'auto' ? ['-accel', 'kvm', '-accel', 'tcg'] : ['-accel', spec.accel];
  return [
    ...['-name', `guest=${escaped(spec.name)},debug-threads=on`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-shutdown', '-msg', 'timestamp=on'],
    ...['-machine', spec.machine, ...accel, '-cpu', spec.cpuModel, '-m', `${spec.memoryMiB}M`, '-smp', `${spec.cpus}`],
    ...['-chardev', `file,id=serial0,path=${escaped(place.serialFile)},append=on`, '-serial', 'chardev:serial0'],
    ...(place.sandbox ? ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'] : []),
    ...boot(spec),
  ];
}

function boot(spec: VmSpec): readonly string[] {
  switch (spec.boot.kind) {
    case 'disk':
      return [];
    case 'kernel':
      return [
        ...['-kernel', spec.boot.kernel],
        ...(spec.boot.initrd === null ? [] : ['-initrd', spec.boot.initrd]),
        ...(spec.boot.append === '' ? [] : ['-append', spec.boot.append]),
      ];
    default:
      return unreachable(spec.boot);
  }
}

/** vhost would carry frames past the filters; a script could change the tap behind the agent's back. */
function nics(spec: VmSpec, names: VmNames, place: QemuPlace): readonly string[] {
  return names.nics.flatMap((nic, k) => [
    ...['-netdev', `tap,id=${nic.netdev},ifname=${place.taps[k] ?? ''},script=no,downscript=no,vhost=off`],
    ...['-device', `virtio-net-pci,id=${nic.device},netdev=${nic.netdev},mac=${spec.nics[k]?.mac ?? ''}`],
  ]);
}

function role(spec: VmSpec, names: VmNames, start: QemuStart, place: QemuPlace): readonly string[] {
  switch (start.kind) {
    case 'alone':
      return quorumDisks(names, start.images);
    case 'cold-primary':
      return [
        ...credentials(place),
        ...primaryNetwork(spec, names, start, place),
        ...quorumDisks(
          names,
          start.images.map((image) => [image]),
        ),
        '-S',
      ];
    case 'secondary':
      return [
        ...credentials(place),
        ...secondaryNetwork(names, start, place),
        ...secondaryDisks(names, start),
        ...['-incoming', `tcp:${start.bindAddress}:${start.ports.migration}`],
      ];
    default:
      return unreachable(start);
  }
}

/** A QEMU that runs alone is given them when it becomes half of a pair. */
function credentials({ tls }: QemuPlace): readonly string[] {
  return tls === null ? [] : tlsObjects(tls).flatMap((object) => ['-object', JSON.stringify(object)]);
}

const QUORUM = 'driver=quorum,read-pattern=fifo,vote-threshold=1';

/** A quorum with one child: the second is the secondary, whenever there is one. */
function quorumDisks(names: VmNames, images: readonly (readonly string[])[]): readonly string[] {
  return names.disks.flatMap((disk, k) => [
    '-drive',
    `if=virtio,id=${disk.quorum},${QUORUM},${chainOptions('children.0', images[k] ?? [])}`,
  ]);
}

/** The overlays of a secondary name no backing file, so the whole chain is spelled out. */
function chainOptions(prefix: string, chain: readonly string[]): string {
  return chain
    .map((image, depth) => {
      const here = `${prefix}${'.backing'.repeat(depth)}`;
      return `${here}.file.filename=${escaped(image)},${here}.driver=${depth === chain.length - 1 ? 'raw' : 'qcow2'}`;
    })
    .join(',');
}

function secondaryDisks(names: VmNames, start: Extract<QemuStart, { kind: 'secondary' }>): readonly string[] {
  return names.disks.flatMap((disk, k) => {
    const overlays = start.overlays[k];
    return [
      ...['-drive', `if=none,id=${disk.parent},file.filename=${escaped(start.images[k] ?? '')},driver=raw`],
      '-drive',
      [
        `if=none,id=${disk.childs},driver=replication,mode=secondary,file.driver=qcow2,top-id=${disk.quorum}`,
        `file.file.filename=${escaped(overlays?.active ?? '')},file.backing.driver=qcow2`,
        `file.backing.file.filename=${escaped(overlays?.hidden ?? '')},file.backing.backing=${disk.parent}`,
      ].join(','),
      ...['-drive', `if=virtio,id=${disk.quorum},${QUORUM},children.0=${disk.childs}`],
    ];
  });
}

function secondaryNetwork(names: VmNames, start: Extract<QemuStart, { kind: 'secondary' }>, place: QemuPlace): readonly string[] {
  const again = atLeast(place.version, 9, 2) ? 'reconnect-ms=100' : 'reconnect=1';
  const secured = place.tls === null ? '' : `,tls-creds=${TLS_CLIENT}`;
  const toPrimary = (id: string, port: number | undefined): readonly string[] => [
    '-chardev',
    `socket,id=${id},host=${start.primaryAddress},port=${port},${again}${secured}`,
  ];
  return names.nics.flatMap((nic, k) => [
    ...toPrimary(nic.redIn, start.ports.mirror[k]),
    ...toPrimary(nic.redOut, start.ports.compare[k]),
    ...['-object', `filter-redirector,id=${nic.filterIn},netdev=${nic.netdev},queue=tx,indev=${nic.redIn},vnet_hdr_support=on`],
    ...['-object', `filter-redirector,id=${nic.filterOut},netdev=${nic.netdev},queue=rx,outdev=${nic.redOut},vnet_hdr_support=on`],
    ...['-object', `filter-rewriter,id=${nic.rewriter},netdev=${nic.netdev},queue=all,vnet_hdr_support=on`],
  ]);
}

function primaryNetwork(
  spec: VmSpec,
  names: VmNames,
  start: Extract<QemuStart, { kind: 'cold-primary' }>,
  place: QemuPlace,
): readonly string[] {
  const secured = place.tls === null ? '' : `,tls-creds=${TLS_SERVER},tls-authz=${TLS_PEERS}`;
  const listen = (id: string, port: number | undefined): readonly string[] => [
    '-chardev',
    `socket,id=${id},host=${start.bindAddress},port=${port},server=on,wait=off${secured}`,
  ];
  const pair = (server: string, client: string): readonly string[] => {
    const path = escaped(compareSocketPath(place.runtimeDir, server));
    return ['-chardev', `socket,id=${server},path=${path},server=on,wait=off`, '-chardev', `socket,id=${client},path=${path}`];
  };
  return names.nics.flatMap((nic, k) => [
    ...listen(nic.mirror, start.ports.mirror[k]),
    ...listen(nic.compareSecondary, start.ports.compare[k]),
    ...pair(nic.compareIn, nic.compareInClient),
    ...pair(nic.compareOut, nic.compareOutClient),
    ...['-object', `filter-mirror,id=${nic.mirrorFilter},netdev=${nic.netdev},queue=tx,outdev=${nic.mirror},vnet_hdr_support=on`],
    ...['-object', `filter-redirector,netdev=${nic.netdev},id=${nic.redirectIn},queue=rx,indev=${nic.compareOut},vnet_hdr_support=on`],
    ...['-object', `filter-redirector,netdev=${nic.netdev},id=${nic.redirectOut},queue=rx,outdev=${nic.compareIn},vnet_hdr_support=on`],
    ...['-object', `iothread,id=${nic.iothread}`],
    '-object',
    [
      `colo-compare,id=${nic.compare},primary_in=${nic.compareInClient},secondary_in=${nic.compareSecondary}`,
      `outdev=${nic.compareOutClient},iothread=${nic.iothread},vnet_hdr_support=on`,
      `compare_timeout=${spec.compareTimeoutMs},expired_scan_cycle=${spec.expiredScanCycleMs}`,
    ].join(','),
  ]);
}

/** A comma ends an option's value unless it is doubled. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}
