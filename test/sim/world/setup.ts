// What a world is made of, as data: either written down by a story or drawn from a seed.

import type { QemuVersion } from '../../../agent/core/procedures/port.js';
import { vmUid } from '../../../shared/core/ids.js';
import type { ProtectionMethod, VmSpec, VmWanted } from '../../../shared/core/model.js';
import { Rng } from './rng.js';

export interface Setup {
  readonly seed: number;
  readonly hosts: readonly string[];
  /** Coordinator -> the machine that it runs on: one of the hosts, or one of its own. */
  readonly coordinators: ReadonlyMap<string, string>;
  readonly vms: readonly VmWanted[];
  readonly version: QemuVersion;
  readonly failoversPerHour: number;
  /** Blocks of ports that the coordinators may give to pairs. */
  readonly portBlocks: number;
  /** The store is met by its members, with the product's own client; else as one service, which is quicker. */
  readonly members: boolean;
  /** Largest difference of a process's clock rate to the truth. */
  readonly drift: number;
}

export const VERSIONS: readonly QemuVersion[] = [
  { major: 7, minor: 2, micro: 22 },
  { major: 10, minor: 0, micro: 13 },
  { major: 11, minor: 1, micro: 2 },
];

export function aVm(name: string, change: Partial<VmSpec> = {}): VmWanted {
  const spec: VmSpec = {
    name,
    memoryMiB: 96,
    cpus: 1,
    machine: 'pc-i440fx-11.1',
    cpuModel: 'qemu64',
    accel: 'tcg',
    disks: [{ sizeBytes: 64 * 1024 * 1024, path: null, source: null }],
    nics: [{ mac: '52:54:00:77:00:02', bridge: null }],
    boot: { kind: 'disk' },
    extraArgs: [],
    hosts: [],
    launch: { kind: 'managed' },
    method: 'stop-copy',
    checkpointDelayMs: 1_000,
    compareTimeoutMs: 300,
    expiredScanCycleMs: 100,
    maxBandwidthBytes: 1024 ** 3,
    onPoweroff: 'stop',
    restart: 'always',
    shutdownGraceMs: 0,
    ...change,
  };
  return { uid: vmUid(`uid-${name}`), spec, wanted: 'running', protect: true };
}

/** A setup as in a story: three hosts, three coordinators beside them, one VM, clocks that agree. */
export function plainSetup(seed: number, change: Partial<Setup> = {}): Setup {
  return {
    seed,
    hosts: ['h1', 'h2', 'h3'],
    coordinators: new Map([
      ['c1', 'c1'],
      ['c2', 'c2'],
      ['c3', 'c3'],
    ]),
    vms: [aVm('demo')],
    version: { major: 11, minor: 1, micro: 2 },
    failoversPerHour: 100,
    portBlocks: 50,
    members: false,
    drift: 0,
    ...change,
  };
}

export function drawSetup(seed: number): Setup {
  const rng = new Rng(seed).fork('setup');
  const hosts = rng.chance(0.5) ? ['h1', 'h2'] : ['h1', 'h2', 'h3'];
  const names = rng.chance(0.6) ? ['c1', 'c2'] : ['c1', 'c2', 'c3'];
  const besides = rng.chance(0.5);
  const method = rng.pick<ProtectionMethod>(['stop-copy', 'stop-copy', 'live', 'live', 'identical-images']);
  const spec: Partial<VmSpec> = {
    method,
    checkpointDelayMs: rng.pick([200, 500, 1_000]),
    onPoweroff: rng.pick(['stop', 'restart']),
    restart: rng.chance(0.9) ? 'always' : 'never',
    shutdownGraceMs: rng.pick([0, 500]),
  };
  const vms = rng.chance(0.85) ? ['vm1'] : ['vm1', 'vm2'];
  return {
    seed,
    hosts,
    coordinators: new Map(names.map((name, k) => [name, besides ? name : (hosts[k % hosts.length] ?? name)])),
    vms: vms.map((name) => aVm(name, spec)),
    version: rng.pick(VERSIONS),
    failoversPerHour: rng.pick([1, 2, 12, 100, 100, 100, 100, 100]),
    drift: rng.pick([0, 0.001, 0.02]),
    members: rng.chance(0.2),
    portBlocks: rng.pick([4, 50]),
  };
}
