// VmSpec between the model and the wire. Empty strings and lists stand for null where proto/colo/v1/common.proto says so. Only the shape is
// checked here; whether a spec makes sense is the coordinator's question.

import type { Boot, Launch, Ports, ProtectionMethod, VmSpec } from '../../core/model.js';
import type { Result } from '../../core/result.js';
import type { Ports as PortsMessage, VmSpec as SpecMessage } from '../../gen/colo/v1/common.js';
import { emptyToNull, Reader, uint32, uint64, whole, type WireProblems, type Words } from './reader.js';

export const METHODS: Words<ProtectionMethod> = { 'stop-copy': true, live: true, 'identical-images': true };
const ACCELS: Words<VmSpec['accel']> = { kvm: true, tcg: true, auto: true };
const ON_POWEROFF: Words<VmSpec['onPoweroff']> = { stop: true, restart: true };
const RESTART: Words<VmSpec['restart']> = { always: true, never: true };

export function specToWire(spec: VmSpec): SpecMessage {
  return {
    name: spec.name,
    memoryMib: uint64(spec.memoryMiB),
    cpus: uint32(spec.cpus),
    machine: spec.machine,
    cpuModel: spec.cpuModel,
    accel: spec.accel,
    disks: spec.disks.map((each) => ({ sizeBytes: uint64(each.sizeBytes), path: each.path ?? '', source: each.source ?? '' })),
    nics: spec.nics.map((each) => ({ mac: each.mac, bridge: each.bridge ?? '' })),
    boot:
      spec.boot.kind === 'kernel'
        ? { $case: 'kernel', value: { kernel: spec.boot.kernel, initrd: spec.boot.initrd ?? '', append: spec.boot.append } }
        : { $case: 'disk', value: {} },
    extraArgs: [...spec.extraArgs],
    hosts: [...spec.hosts],
    launch:
      spec.launch.kind === 'managed'
        ? { $case: 'managed', value: {} }
        : {
            $case: 'external',
            value: { qmpSockets: [...spec.launch.qmpSockets], startSecondary: [...(spec.launch.startSecondary ?? [])] },
          },
    method: spec.method,
    checkpointDelayMs: uint32(spec.checkpointDelayMs),
    compareTimeoutMs: uint32(spec.compareTimeoutMs),
    expiredScanCycleMs: uint32(spec.expiredScanCycleMs),
    maxBandwidthBytes: uint64(spec.maxBandwidthBytes),
    onPoweroff: spec.onPoweroff,
    restart: spec.restart,
    shutdownGraceMs: uint32(spec.shutdownGraceMs),
  };
}

export function specFromWire(message: SpecMessage): Result<VmSpec, WireProblems> {
  const reader = new Reader();
  return whole(reader, readSpec(message, reader));
}

export function readSpec(message: SpecMessage, reader: Reader): VmSpec | undefined {
  const boot = readBoot(message.boot, reader);
  const launch = readLaunch(message.launch, reader);
  const rest = {
    name: reader.filled('name', message.name),
    memoryMiB: message.memoryMib,
    cpus: message.cpus,
    machine: reader.filled('machine', message.machine),
    cpuModel: message.cpuModel,
    accel: reader.word('accel', message.accel, ACCELS),
    disks: message.disks.map((each) => ({ sizeBytes: each.sizeBytes, path: emptyToNull(each.path), source: emptyToNull(each.source) })),
    nics: reader.list('nics', message.nics, (each, at) => ({ mac: at.filled('mac', each.mac), bridge: emptyToNull(each.bridge) })),
    extraArgs: message.extraArgs,
    hosts: message.hosts,
    method: reader.word('method', message.method, METHODS),
    checkpointDelayMs: message.checkpointDelayMs,
    compareTimeoutMs: message.compareTimeoutMs,
    expiredScanCycleMs: message.expiredScanCycleMs,
    maxBandwidthBytes: message.maxBandwidthBytes,
    onPoweroff: reader.word('on_poweroff', message.onPoweroff, ON_POWEROFF),
    restart: reader.word('restart', message.restart, RESTART),
    shutdownGraceMs: message.shutdownGraceMs,
  };
  return boot === undefined || launch === undefined ? undefined : { ...rest, boot, launch };
}

function readBoot(boot: SpecMessage['boot'], reader: Reader): Boot | undefined {
  if (boot === undefined) {
    reader.problem('boot', 'is missing: kernel or disk');
    return undefined;
  }
  if (boot.$case === 'disk') return { kind: 'disk' };
  const kernel = reader.at('kernel').filled('kernel', boot.value.kernel);
  return { kind: 'kernel', kernel, initrd: emptyToNull(boot.value.initrd), append: boot.value.append };
}

function readLaunch(launch: SpecMessage['launch'], reader: Reader): Launch | undefined {
  if (launch === undefined) {
    reader.problem('launch', 'is missing: managed or external');
    return undefined;
  }
  if (launch.$case === 'managed') return { kind: 'managed' };
  const { qmpSockets, startSecondary } = launch.value;
  return { kind: 'external', qmpSockets, startSecondary: startSecondary.length === 0 ? null : startSecondary };
}

export function portsToWire(ports: Ports): PortsMessage {
  return { migration: ports.migration, nbd: ports.nbd, mirror: [...ports.mirror], compare: [...ports.compare] };
}

export function readPorts(message: PortsMessage, reader: Reader): Ports {
  const port = (field: string, value: number): number => {
    if (value < 1 || value > 65_535) reader.problem(field, `${value} is not a TCP port`);
    return value;
  };
  return {
    migration: port('migration', message.migration),
    nbd: port('nbd', message.nbd),
    mirror: message.mirror.map((each, index) => port(`mirror[${index}]`, each)),
    compare: message.compare.map((each, index) => port(`compare[${index}]`, each)),
  };
}
