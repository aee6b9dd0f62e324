// Finds the facts that the doctor judges, on this machine: configuration, programs, devices, addresses; look-tls.ts those about certificates
// and etcd. It changes nothing, and whatever cannot be found out is said so and is no error. Every outside call has a deadline.

import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { delimiter, join } from 'node:path';
import { describeProblems, loadAgentConfig, loadCoordinatorConfig } from '../../../shared/io/config.js';
import { PROGRAMS, type AgentFacts, type ConfigFact, type CoordinatorFacts, type HostFacts } from './checks.js';
import type { CertificateFact } from './certificates.js';
import { askEtcd, lookAtCertificate, lookAtQemuCertificate, type LookedAt } from './look-tls.js';

const RUN_MS = 5_000;
/** Whom the unit of the coordinator runs it as. */
const COORDINATOR_USER = 'colo';

export interface DoctorFiles {
  readonly agent: string;
  readonly coordinator: string;
}

export async function lookAtHost(files: DoctorFiles): Promise<HostFacts> {
  const agent = agentFacts(files.agent);
  const coordinator = coordinatorFacts(files.coordinator);
  const program = agent.kind === 'read' ? agent.value.qemuProgram : 'qemu-system-x86_64';
  const user = agent.kind === 'read' ? agent.value.qemuUser : 'colo-qemu';
  const stateDir = agent.kind === 'read' ? agent.value.stateDir : '/var/lib/colo-ha';
  const root = process.getuid?.() === 0;
  const [version, objects, formats, nft, sockets, passwd, clock, agentUnit, coordinatorUnit] = await Promise.all([
    run(program, '--version'),
    run(program, '-object', 'help'),
    run('qemu-img', '--help'),
    root ? run('nft', 'list', 'tables') : null,
    run('ss', '-Htln'),
    run('getent', 'passwd', user),
    run('timedatectl', 'show', '--property=NTPSynchronized', '--value'),
    unitState('colo-agent'),
    unitState('colo-coordinator'),
  ]);
  const networks = networkInterfaces();
  return {
    root,
    node: process.versions.node,
    agent,
    coordinator,
    programsMissing: Object.keys(PROGRAMS).filter((name) => !isInPath(name)),
    qemu:
      version === null
        ? null
        : { version: /version (\d+\.\d+\.\d+)/.exec(version)?.[1] ?? 'unknown', objects: objects ?? '', formats: formats ?? '' },
    kvm: kvmState(),
    nft: root ? nft !== null : null,
    tun: isForAll('/dev/net/tun'),
    interfaces: interfaceNames(),
    addresses: Object.values(networks).flatMap((each) => (each ?? []).map(({ address }) => address)),
    users: passwd === null ? [] : [user],
    units: { 'colo-agent': agentUnit, 'colo-coordinator': coordinatorUnit },
    listening: (sockets ?? '').split('\n').flatMap((line) => line.trim().split(/\s+/)[3] ?? []),
    ...(await securityFacts(files)),
    nowMs: Date.now(),
    etcdElectionMs: electionOf('/etc/default/etcd'),
    clockSynchronised: clock === null ? null : clock.trim() === 'yes' ? true : clock.trim() === 'no' ? false : null,
    localPorts: localPorts(),
    stateFreeBytes: freeBytes(stateDir),
  };
}

function agentFacts(file: string): ConfigFact<AgentFacts> {
  if (!existsSync(file)) return { kind: 'absent' };
  const loaded = loadAgentConfig(file);
  if (!loaded.ok) return { kind: 'broken', problems: describeProblems(loaded.error).split('\n') };
  const { qemu, launcher, bridge, replicationAddress, listen, stateDir, insecureLab } = loaded.value;
  return {
    kind: 'read',
    value: {
      qemuProgram: qemu.system,
      qemuUser: qemuUserOf(qemu.user, launcher),
      bridge: bridge ?? null,
      replicationAddress,
      listen,
      stateDir,
      insecure: insecureLab,
    },
  };
}

function coordinatorFacts(file: string): ConfigFact<CoordinatorFacts> {
  if (!existsSync(file)) return { kind: 'absent' };
  const loaded = loadCoordinatorConfig(file);
  if (!loaded.ok) return { kind: 'broken', problems: describeProblems(loaded.error).split('\n') };
  const { listen, ports, insecureLab } = loaded.value;
  return { kind: 'read', value: { listen, firstPort: ports.first, lastPort: ports.last, insecure: insecureLab } };
}

type SecurityFacts = Pick<HostFacts, 'certificates' | 'etcd' | 'etcdUnasked'>;

/** A daemon's own certificate opens etcd's door, so either one's will do. */
async function securityFacts(files: DoctorFiles): Promise<SecurityFacts> {
  const agent = loadAgentConfig(files.agent);
  const coordinator = loadCoordinatorConfig(files.coordinator);
  const looked: LookedAt[] = [];
  if (agent.ok && agent.value.tls !== undefined) {
    const { tls, host, heartbeat } = agent.value;
    const otherSecrets = heartbeat.keyFile === undefined ? [] : [heartbeat.keyFile];
    looked.push(lookAtCertificate({ files: tls, expected: `agent/${host}`, user: { name: 'root', uid: 0 }, otherSecrets }));
  }
  if (coordinator.ok && coordinator.value.tls !== undefined) {
    const { tls, name } = coordinator.value;
    const user = { name: COORDINATOR_USER, uid: await uidOf(COORDINATOR_USER) };
    looked.push(lookAtCertificate({ files: tls, expected: `coordinator/${name}`, user, otherSecrets: [] }));
  }
  const certificates = [...looked.map(({ fact }) => fact), ...(await qemuCertificates(agent))];
  const etcds = [agent, coordinator].flatMap((each) => (each.ok ? [each.value.etcd] : []));
  const endpoints = [...new Set(etcds.flatMap((each) => each.endpoints))];
  const material = looked.find((each) => each.material !== null)?.material ?? null;
  if (material === null && endpoints.some((each) => each.startsWith('https:')))
    return { certificates, etcd: [], etcdUnasked: 'it wants a certificate, and there is none that can be used' };
  const serverName = etcds.find((each) => each.serverName !== undefined)?.serverName ?? null;
  const etcd = await Promise.all(endpoints.map((each) => askEtcd(each, each.startsWith('https:') ? material : null, serverName)));
  return { certificates, etcd, etcdUnasked: null };
}

async function qemuCertificates(agent: ReturnType<typeof loadAgentConfig>): Promise<readonly CertificateFact[]> {
  if (!agent.ok || agent.value.qemu.tlsDir === undefined) return [];
  const { qemu, host, replicationAddress, launcher } = agent.value;
  const name = qemuUserOf(qemu.user, launcher);
  return [lookAtQemuCertificate(agent.value.qemu.tlsDir, host, replicationAddress, { name, uid: await uidOf(name) })];
}

function qemuUserOf(configured: string | undefined, launcher: string): string {
  return configured ?? (launcher === 'systemd' ? 'colo-qemu' : 'root');
}

async function uidOf(user: string): Promise<number | null> {
  const uid = Number((await run('getent', 'passwd', user))?.split(':')[2] ?? Number.NaN);
  return Number.isInteger(uid) ? uid : null;
}

/** Standard output; null = it cannot be run, or says no. */
function run(program: string, ...args: readonly string[]): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(program, [...args], { timeout: RUN_MS, killSignal: 'SIGKILL', maxBuffer: 4 * 1024 * 1024 }, (error, stdout) =>
      resolve(error === null ? stdout : null),
    );
  });
}

async function unitState(unit: string): Promise<string> {
  const shown = await run('systemctl', 'show', '--property=LoadState,ActiveState', '--value', unit);
  const [load, active] = (shown ?? '').trim().split('\n');
  return load === 'loaded' ? (active ?? '') : '';
}

function isInPath(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders.some((folder) => existsSync(join(folder, program)));
}

function kvmState(): HostFacts['kvm'] {
  try {
    const { mode } = statSync('/dev/kvm');
    return (mode & 0o060) === 0o060 ? 'usable' : 'forbidden';
  } catch {
    return 'absent';
  }
}

function isForAll(device: string): boolean {
  try {
    return (statSync(device).mode & 0o006) === 0o006;
  } catch {
    return false;
  }
}

/** Also those without an address, as a bridge usually is. */
function interfaceNames(): readonly string[] {
  try {
    return readFileSync('/proc/net/dev', 'utf8')
      .split('\n')
      .flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? []);
  } catch {
    return [];
  }
}

function electionOf(file: string): number | null {
  try {
    accessSync(file, constants.R_OK);
    const text = readFileSync(file, 'utf8');
    const said = /^ETCD_ELECTION_TIMEOUT="?(\d+)/m.exec(text)?.[1];
    return said === undefined ? (/^ETCD_NAME=/m.test(text) ? 1_000 : null) : Number(said);
  } catch {
    return null;
  }
}

function localPorts(): readonly [number, number] {
  try {
    const [low = 32_768, high = 60_999] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
    return [low, high];
  } catch {
    return [32_768, 60_999];
  }
}

function freeBytes(folder: string): number | null {
  try {
    const found = statfsSync(folder);
    return found.bavail * found.bsize;
  } catch {
    return null;
  }
}
