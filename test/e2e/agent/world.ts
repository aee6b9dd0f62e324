// The whole stage of one test file: two hosts, etcd, two agents, and the coordinator that is played by hand.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { guestImage } from '../../../deploy/lab/tree.js';
import type { VmSpec } from '../../../shared/core/model.js';
import { waitFor } from '../../support/wait.js';
import { Cluster } from './cluster.js';
import { AgentProcess, FOLDER, GUEST_ADDRESS, HOSTS, raiseNetwork, startEtcd, strikeNetwork, type HostName } from './stage.js';

export const VM = 'guest';

export const mountedFolder = (host: HostName): string => join(FOLDER, host, 'mounted');

export interface World {
  readonly agents: Readonly<Record<HostName, AgentProcess>>;
  readonly cluster: Cluster;
  strike(): Promise<void>;
}

/** `mountAt`: where each agent sees a folder of its own host, `<FOLDER>/<host>/mounted`. */
export async function raiseWorld(change: Partial<VmSpec> = {}, mountAt: string | null = null): Promise<World> {
  const image = await guestImage();
  raiseNetwork(FOLDER);
  const etcd = startEtcd(FOLDER);
  const agents = { a: new AgentProcess('a', FOLDER), b: new AgentProcess('b', FOLDER) };
  if (mountAt !== null) mkdirSync(mountAt, { recursive: true });
  for (const host of HOSTS) {
    if (mountAt !== null) mkdirSync(mountedFolder(host), { recursive: true });
    agents[host].start(mountAt === null ? null : { folder: mountedFolder(host), at: mountAt });
  }
  const cluster = new Cluster(VM, { ...specOf(image), ...change }, 'uid-of-the-test');
  const strike = async (): Promise<void> => {
    cluster.close();
    for (const host of HOSTS) {
      await agents[host].end('SIGKILL');
      agents[host].killQemu(VM);
    }
    etcd.kill('SIGKILL');
    strikeNetwork();
  };
  try {
    await waitFor(() => cluster.reports.a !== null && cluster.reports.b !== null, { what: 'both agents to report', boundMs: 30_000 });
    await cluster.begin();
  } catch (error) {
    await strike();
    throw error;
  }
  return { agents, cluster, strike };
}

function specOf(image: { readonly kernel: string; readonly initrd: string }): VmSpec {
  return {
    name: VM,
    memoryMiB: 96,
    cpus: 1,
    machine: 'pc-i440fx-11.1',
    cpuModel: 'qemu64',
    accel: 'tcg',
    disks: [{ sizeBytes: 64 * 1024 * 1024, path: null, source: null }],
    nics: [{ mac: '52:54:00:77:14:02', bridge: null }],
    boot: {
      kind: 'kernel',
      kernel: image.kernel,
      initrd: image.initrd,
      append: `console=ttyS0 quiet mitigations=off nokaslr no_timer_check random.trust_cpu=on tsc=reliable panic=-1 gip=${GUEST_ADDRESS}`,
    },
    extraArgs: [],
    hosts: [],
    launch: { kind: 'managed' },
    method: 'stop-copy',
    checkpointDelayMs: 1_000,
    compareTimeoutMs: 500,
    expiredScanCycleMs: 100,
    maxBandwidthBytes: 1 << 30,
    onPoweroff: 'stop',
    restart: 'always',
    shutdownGraceMs: 2_000,
  };
}

export function rounded(times: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, Math.round(ms * 10) / 10]));
}
