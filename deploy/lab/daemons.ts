// How each daemon of a lab is started: its command line and its configuration file. Timers are those that the figures of the product
// are measured with, written down here once.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ETCD_PEER_NAME, ETCD_SERVER_NAME } from '../../shared/io/pki/cluster-plan.js';
import { daemonTls, hostFile, qemuTlsFolder } from './certificates.js';
import { members, type HostPlan, type LabPlan } from './plan.js';
import type { Daemon } from './record.js';
import { programs, qemuProgram, type QemuVersion } from './tree.js';

/** etcd's own defaults (100 and 1000) make the loss of its leader cost seconds; a lab's network answers in microseconds. */
const ETCD_HEARTBEAT_MS = 50;
const ETCD_ELECTION_MS = 250;
/** etcd sends clients away that ask more often than every 5 s whether it is still there; ours have to. */
const ETCD_KEEPALIVE_MIN = '50ms';

export function commandOf(plan: LabPlan, host: HostPlan, daemon: Daemon): readonly string[] {
  switch (daemon) {
    case 'etcd':
      return etcdCommand(plan, host);
    case 'coordinator':
      return [process.execPath, programs.coordinator, '--config', join(host.runFolder, 'coordinator.yaml')];
    case 'agent':
      return [process.execPath, programs.agent, '--config', join(host.runFolder, 'agent.yaml')];
  }
}

function etcdCommand(plan: LabPlan, host: HostPlan): readonly string[] {
  const cluster = members(plan)
    .map((each) => `${each.name}=${each.etcdPeerUrl}`)
    .join(',');
  const options = {
    name: host.name,
    'data-dir': join(host.dataFolder, 'etcd'),
    'listen-client-urls': host.etcdClientUrl,
    'advertise-client-urls': host.etcdClientUrl,
    'listen-peer-urls': host.etcdPeerUrl,
    'initial-advertise-peer-urls': host.etcdPeerUrl,
    'initial-cluster': cluster,
    'initial-cluster-token': `colo-lab-${plan.name}`,
    'initial-cluster-state': 'new',
    'heartbeat-interval': String(ETCD_HEARTBEAT_MS),
    'election-timeout': String(ETCD_ELECTION_MS),
    'grpc-keepalive-min-time': ETCD_KEEPALIVE_MIN,
    'auto-compaction-mode': 'revision',
    'auto-compaction-retention': '10000',
    'log-level': 'warn',
    ...(plan.tls ? etcdTls(plan, host) : {}),
  };
  return [programs.etcd, ...Object.entries(options).map(([key, value]) => `--${key}=${value}`)];
}

function etcdTls(plan: LabPlan, host: HostPlan): Readonly<Record<string, string>> {
  const file = (name: string): string => hostFile(plan, host, name);
  return {
    'cert-file': file('etcd.crt'),
    'key-file': file('etcd.key'),
    'trusted-ca-file': file('ca.crt'),
    'client-cert-auth': 'true',
    'peer-cert-file': file('etcd.crt'),
    'peer-key-file': file('etcd.key'),
    'peer-trusted-ca-file': file('ca.crt'),
    'peer-client-cert-auth': 'true',
    'peer-cert-allowed-cn': ETCD_PEER_NAME,
  };
}

/** Makes the host's folders and writes the files that its daemons read. */
export function writeConfigs(plan: LabPlan, host: HostPlan, qemu: QemuVersion): void {
  for (const folder of [host.runFolder, host.dataFolder, host.agentStateDir, host.agentRuntimeDir]) mkdirSync(folder, { recursive: true });
  const common = {
    cluster: plan.name,
    // The own member first: a host that goes dark then costs the others nothing.
    etcd: {
      endpoints: [...members(plan)].sort((one, other) => Number(other === host) - Number(one === host)).map((each) => each.etcdClientUrl),
      ...(plan.tls ? { serverName: ETCD_SERVER_NAME } : {}),
    },
  };
  const secured = (who: 'agent' | 'coordinator'): object => (plan.tls ? { tls: daemonTls(plan, host, who) } : { insecureLab: true });
  write(host, 'agent', {
    ...common,
    ...secured('agent'),
    ...(plan.tls ? { heartbeat: { keyFile: hostFile(plan, host, 'heartbeat.key') } } : {}),
    host: host.name,
    listen: host.agentAddress,
    replicationAddress: host.links.replication.address,
    stateDir: host.agentStateDir,
    runtimeDir: host.agentRuntimeDir,
    bridge: host.bridge,
    qemu: {
      system: qemuProgram(qemu, 'qemu-system-x86_64'),
      img: qemuProgram(qemu, 'qemu-img'),
      ...(plan.tls ? { tlsDir: qemuTlsFolder(plan, host) } : {}),
    },
    launcher: 'detached',
  });
  // Benches kill the same VM hundreds of times within an hour, and want it protected again each time.
  if (host.member)
    write(host, 'coordinator', {
      ...common,
      ...secured('coordinator'),
      name: host.name,
      listen: host.coordinatorAddress,
      failoversPerHour: 100_000,
    });
}

function write(host: HostPlan, daemon: Daemon, config: object): void {
  writeFileSync(join(host.runFolder, `${daemon}.yaml`), stringify(config));
}

export function logFile(host: HostPlan, daemon: Daemon): string {
  return join(host.runFolder, `${daemon}.log`);
}
