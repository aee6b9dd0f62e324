// What `lab status` tells: where everything of a lab is, and what runs. The shape is a promise to scripts: fields may be added, none is
// removed or changes its meaning.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { clusterStatus, type ClusterStatus } from './coloctl.js';
import { etcdctlEnvironment } from './certificates.js';
import { logFile } from './daemons.js';
import { coloctlConfig, coordinatorEndpoints, members, type HostPlan, type LabPlan, type Link, type LinkPlan } from './plan.js';
import { isAlive } from './process-identity.js';
import { daemonOf } from './processes.js';
import { livingQemus, type QemuNote } from './qemus.js';
import type { Daemon, LabRecord } from './record.js';
import { cache, qemuProgram, tree, type QemuVersion } from './tree.js';

export interface LabStatus {
  readonly name: string;
  readonly state: string;
  readonly client: { readonly namespace: string; readonly guestAddress: string; readonly managementAddress: string };
  readonly guest: { readonly address: string; readonly port: number };
  readonly hosts: readonly HostStatus[];
  readonly vms: readonly VmStatus[];
  readonly leader: string | null;
  /** COLO_ENDPOINTS. */
  readonly endpoints: string;
  readonly etcdEndpoints: readonly string[];
  readonly subnets: Readonly<Record<Link, string>>;
  readonly folders: { readonly run: string; readonly data: string; readonly tree: string; readonly cache: string };
  readonly qemu: { readonly version: string; readonly system: string; readonly img: string };
}

export interface HostStatus {
  readonly name: string;
  readonly namespace: string;
  /** Null: it does not run, or this host has none. */
  readonly pids: Readonly<Record<Daemon, number | null>>;
  readonly links: Readonly<Record<Link, LinkPlan>>;
  readonly bridge: string;
  readonly addresses: { readonly agent: string; readonly coordinator: string | null; readonly etcd: string | null };
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly logs: Readonly<Record<Daemon, string>>;
}

export interface VmStatus {
  readonly name: string;
  /** Null: no coordinator answered. */
  readonly phase: string | null;
  readonly sides: readonly SideStatus[];
}

export interface SideStatus {
  readonly host: string;
  /** `unknown`: no coordinator answered, or the record does not name this QEMU. */
  readonly role: 'primary' | 'secondary' | 'unknown';
  readonly pid: number;
  readonly disk: string;
  readonly sockets: readonly string[];
  readonly logFile: string | null;
}

export async function labStatus(plan: LabPlan, record: LabRecord): Promise<LabStatus> {
  const cluster = await clusterStatus(plan);
  const qemu = record.qemu as QemuVersion;
  return {
    name: plan.name,
    state: record.state,
    client: plan.client,
    guest: { address: plan.guest.address, port: plan.guest.port },
    hosts: plan.hosts.map((host) => hostStatus(host, record)),
    vms: vmStatuses(cluster, livingQemus(plan)),
    leader: cluster?.leader ?? null,
    endpoints: coordinatorEndpoints(plan),
    etcdEndpoints: members(plan).map((host) => host.etcdClientUrl),
    subnets: plan.subnets,
    folders: { run: plan.runFolder, data: plan.dataFolder, tree, cache },
    qemu: { version: record.qemu, system: qemuProgram(qemu, 'qemu-system-x86_64'), img: qemuProgram(qemu, 'qemu-img') },
  };
}

function hostStatus(host: HostPlan, record: LabRecord): HostStatus {
  const pid = (daemon: Daemon): number | null => {
    const found = daemonOf(record, host.name, daemon);
    return found !== null && isAlive(found) ? found.pid : null;
  };
  return {
    name: host.name,
    namespace: host.namespace,
    pids: { agent: pid('agent'), coordinator: pid('coordinator'), etcd: pid('etcd') },
    links: host.links,
    bridge: host.bridge,
    addresses: {
      agent: host.agentAddress,
      coordinator: host.member ? host.coordinatorAddress : null,
      etcd: host.member ? host.etcdClientUrl : null,
    },
    stateDir: host.agentStateDir,
    runtimeDir: host.agentRuntimeDir,
    logs: { agent: logFile(host, 'agent'), coordinator: logFile(host, 'coordinator'), etcd: logFile(host, 'etcd') },
  };
}

/** VMs that the coordinators know, and VMs of which only a QEMU is left. */
function vmStatuses(cluster: ClusterStatus | null, qemus: readonly QemuNote[]): readonly VmStatus[] {
  const names = new Set([...(cluster?.vms ?? []).map((vm) => vm.name), ...qemus.map((qemu) => qemu.vm)]);
  return [...names].map((name) => {
    const vm = cluster?.vms.find((each) => each.name === name);
    const sides = qemus
      .filter((qemu) => qemu.vm === name)
      .map(({ host, pid, disk, sockets, logFile: log }): SideStatus => {
        const role = vm?.primary === host ? 'primary' : vm?.secondary === host ? 'secondary' : 'unknown';
        return { host, role, pid, disk, sockets, logFile: log };
      });
    return { name, phase: vm?.phase ?? null, sides };
  });
}

export function statusText(status: LabStatus): string {
  const pid = (value: number | null): string => String(value ?? '-');
  const rows = [
    ['HOST', 'NAMESPACE', 'MANAGEMENT', 'REPLICATION', 'ETCD', 'COORDINATOR', 'AGENT'],
    ...status.hosts.map((host) => [
      host.name,
      host.namespace,
      host.links.management.address ?? '',
      host.links.replication.address ?? '',
      pid(host.pids.etcd),
      `${pid(host.pids.coordinator)}${status.leader === host.name ? ' (leads)' : ''}`,
      pid(host.pids.agent),
    ]),
  ];
  const vms = status.vms.map((vm) => {
    const sides = vm.sides.map((side) => `${side.role} on ${side.host} (pid ${side.pid})`);
    return `VM ${vm.name}: ${vm.phase ?? 'no coordinator answers'}${sides.length > 0 ? `; ${sides.join(', ')}` : ''}`;
  });
  return [
    `lab ${status.name}: ${status.state}, QEMU ${status.qemu.version}, logs in ${status.folders.run}`,
    '',
    ...table(rows),
    '',
    ...vms,
    `guest ${status.guest.address}:${status.guest.port}, reached from namespace ${status.client.namespace}`,
  ].join('\n');
}

function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Lines for `eval "$(npm run --silent lab -- env)"`. */
export function environmentText(plan: LabPlan): string {
  const lines = [`export COLO_LAB='${plan.name}'`, `export COLO_CONFIG='${coloctlConfig(plan)}'`];
  const bin = join(plan.runFolder, 'bin');
  if (existsSync(bin)) lines.push(`export PATH="${bin}:$PATH"`);
  lines.push(
    `export ETCDCTL_ENDPOINTS='${members(plan)
      .map((host) => host.etcdClientUrl)
      .join(',')}'`,
  );
  if (plan.tls) lines.push(...Object.entries(etcdctlEnvironment(plan)).map(([name, value]) => `export ${name}='${value}'`));
  return lines.join('\n');
}
