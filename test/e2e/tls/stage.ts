// A cluster of real processes under TLS in a network namespace, without guests: made by `coloctl cluster init` and `coloctl host add` as an
// operator would, with only the paths of the files changed. Three etcd members, three coordinators, two agents. In a namespace, because an agent
// prepares its filter of taps wherever it runs, and what it holds back outlives it: on this machine that would be another agent's business.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { run, tryRun, type Ran } from '../../../deploy/lab/command.js';
import { programs, qemuProgram } from '../../../deploy/lab/tree.js';
import type { StatusShape } from '../../../coordinator/cli/shapes.js';
import { AGENT_METRICS_PORT, COORDINATOR_METRICS_PORT } from '../../../shared/core/limits.js';
import { fixedTls, type Security } from '../../../shared/io/rpc/security.js';
import type { TlsFiles } from '../../../shared/io/tls/material.js';
import { waitFor } from '../../support/wait.js';

export const CLUSTER = 'tlstest';
const READY_MS = 60_000;
const CALL_MS = 20_000;
/** This machine is the outermost host of a network of this process's own; the cluster's hosts are addresses of one namespace. */
const NETWORK = `10.${200 + (process.pid % 10)}.${(process.pid >> 4) & 0xff}`;
const SPACE = `colo-tls-${process.pid}`;
const OUTSIDE = { interface: `ctls${process.pid}`, address: `${NETWORK}.254` } as const;
export const HOSTS = ['host1', 'host2', 'voter'] as const;
export type HostName = (typeof HOSTS)[number];
const NUMBER: Readonly<Record<HostName, number>> = { host1: 1, host2: 2, voter: 3 };

export const addressOf = (host: HostName): string => `${NETWORK}.${NUMBER[host]}`;
const replicationOf = (host: HostName): string => `${NETWORK}.${NUMBER[host] + 20}`;
export const agentAddress = (host: HostName): string => `${addressOf(host)}:7400`;
export const coordinatorAddress = (host: HostName): string => `${addressOf(host)}:7500`;
export const metricsAddress = (host: HostName, who: 'agent' | 'coordinator'): string =>
  `${addressOf(host)}:${who === 'agent' ? AGENT_METRICS_PORT : COORDINATOR_METRICS_PORT}`;
export const etcdEndpoint = (host: HostName): string => `https://${addressOf(host)}:2379`;

/** Why these tests cannot run here; null = they can. */
export function missing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root, as the agent does';
  const files = [programs.agent, programs.coordinator, programs.coloctl, programs.etcd, qemuProgram('11.1', 'qemu-system-x86_64')];
  const absent = files.filter((file) => !existsSync(file));
  return absent.length === 0 ? null : `needs ${absent.join(', ')} (sh deploy/setup.sh lab)`;
}

export class Stage {
  readonly base = mkdtempSync(join(tmpdir(), 'colo-tls-'));
  readonly folder = join(this.base, 'cluster');
  readonly #children: ChildProcess[] = [];

  /** coloctl with this configuration file; the operator's by default. */
  coloctl(args: readonly string[], environment: Readonly<Record<string, string>> = { COLO_CONFIG: this.person('operator') }): Promise<Ran> {
    const none = { COLO_CONFIG: '', COLO_ENDPOINTS: '', COLO_CA: '', COLO_CERT: '', COLO_KEY: '', COLO_INSECURE_LAB: '', HOME: this.base };
    return tryRun(process.execPath, [programs.coloctl, ...args], { deadlineMs: CALL_MS, environment: { ...none, ...environment } });
  }

  async must(args: readonly string[], environment?: Readonly<Record<string, string>>): Promise<string> {
    const { status, stdout, stderr } = await this.coloctl(args, environment);
    if (status !== 0) throw new Error(`coloctl ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`);
    return stdout;
  }

  async status(): Promise<StatusShape> {
    return JSON.parse((await this.coloctl(['status', '-o', 'json'])).stdout) as StatusShape;
  }

  hostFile(host: HostName, file: string): string {
    return join(this.folder, 'hosts', host, file);
  }

  log(host: HostName, daemon: string): string {
    return readFileSync(join(this.base, `${host}-${daemon}.log`), 'utf8');
  }

  person(role: 'operator' | 'viewer'): string {
    return join(this.folder, `${role}s`, role === 'operator' ? 'alice' : 'bob', 'coloctl.yaml');
  }

  daemon(host: HostName, who: 'agent' | 'coordinator'): Security {
    return secured({
      ca: this.hostFile(host, 'ca.crt'),
      certificate: this.hostFile(host, `${who}.crt`),
      key: this.hostFile(host, `${who}.key`),
    });
  }

  personSecurity(role: 'operator' | 'viewer'): Security {
    const name = role === 'operator' ? 'alice' : 'bob';
    const file = (what: string): string => join(this.folder, `${role}s`, name, what);
    return secured({ ca: file('ca.crt'), certificate: file(`${name}.crt`), key: file(`${name}.key`) });
  }

  /** The two steps of an operator: init, and host add for each machine. */
  async make(): Promise<void> {
    const members = HOSTS.flatMap((host) => ['--member', `${host}=${addressOf(host)}`]);
    await this.must(['cluster', 'init', CLUSTER, '--folder', this.folder, '--operator', 'alice', ...members]);
    for (const host of ['host1', 'host2'] as const)
      await this.must(['host', 'add', host, '--folder', this.folder, '--replication', replicationOf(host)]);
    await this.must(['host', 'add', 'voter', '--folder', this.folder, '--votes-only']);
    await this.must(['person', 'add', 'bob', '--viewer', '--folder', this.folder]);
  }

  async start(): Promise<void> {
    await this.#raiseNetwork();
    for (const host of HOSTS) this.#startEtcd(host);
    await waitFor(async () => (await this.coloctl(['cluster', 'etcd-users', '--folder', this.folder])).status === 0, {
      what: 'users in etcd',
      boundMs: READY_MS,
      everyMs: 200,
    });
    for (const host of HOSTS) this.#startDaemon(host, 'coordinator');
    for (const host of ['host1', 'host2'] as const) this.#startDaemon(host, 'agent');
    await waitFor(
      async () => {
        const { hosts, leader } = await this.status();
        return leader !== null && hosts.length === 2 && hosts.every((each) => each.state === 'ready');
      },
      { what: 'a leader and two ready hosts', boundMs: READY_MS, everyMs: 200 },
    );
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#children.map((child) => {
        if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return gone;
      }),
    );
    await tryRun('ip', ['netns', 'delete', SPACE]);
    rmSync(this.base, { recursive: true, force: true });
  }

  /** Runs in the network of the cluster's hosts. */
  inside(...command: readonly string[]): Promise<string> {
    return run('ip', ['netns', 'exec', SPACE, ...command]);
  }

  async #raiseNetwork(): Promise<void> {
    await run('ip', ['netns', 'add', SPACE]);
    const addresses = HOSTS.flatMap((host) => [addressOf(host), replicationOf(host)]);
    const ip = (where: readonly string[], lines: readonly string[]): Promise<string> =>
      run('ip', [...where, '-batch', '-'], { input: `${lines.join('\n')}\n` });
    await ip(
      ['-netns', SPACE],
      ['link set lo up', `link add outside type veth peer name ${OUTSIDE.interface} netns ${process.pid}`, 'link set outside up'],
    );
    await ip(
      ['-netns', SPACE],
      [
        ...addresses.map((each) => `address add ${each}/24 dev outside`),
        // As between addresses of the loopback network: etcd holds the address that a peer comes from against its certificate, which has this one.
        ...addresses.map((each) => `route replace local ${each} dev outside table local scope host src 127.0.0.1`),
      ],
    );
    await ip([], [`address add ${OUTSIDE.address}/24 dev ${OUTSIDE.interface}`, `link set ${OUTSIDE.interface} up`]);
  }

  #startEtcd(host: HostName): void {
    const data = join(this.base, `etcd-${host}`);
    const text = readFileSync(this.hostFile(host, 'etcd.env'), 'utf8')
      .replaceAll('/etc/colo-ha/etcd/', `${this.hostFile(host, '')}/`)
      .replace('/var/lib/etcd/default', data)
      // All three have one loopback interface.
      .replace(`,https://127.0.0.1:2379`, '');
    const variables = Object.fromEntries(
      text.split('\n').flatMap((line): [string, string][] => {
        const at = line.indexOf('=');
        return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
      }),
    );
    this.#spawn(host, 'etcd', programs.etcd, ['--unsafe-no-fsync', '--log-level', 'error'], { ...process.env, ...variables });
  }

  #startDaemon(host: HostName, daemon: 'agent' | 'coordinator'): void {
    const config = parse(
      readFileSync(this.hostFile(host, `${daemon}.yaml`), 'utf8')
        .replaceAll('/etc/colo-ha/tls/', `${this.hostFile(host, '')}/`)
        .replaceAll('/etc/colo-ha/', `${this.hostFile(host, '')}/`),
    ) as object;
    const runtimeDir = join(this.base, `r${NUMBER[host]}`);
    const stateDir = join(this.base, `state-${host}`);
    for (const each of [runtimeDir, stateDir]) mkdirSync(each, { recursive: true });
    const qemu = { system: qemuProgram('11.1', 'qemu-system-x86_64'), img: qemuProgram('11.1', 'qemu-img') };
    const file = join(this.base, `${host}-${daemon}.yaml`);
    const common = { ...config, metrics: { listen: metricsAddress(host, daemon) } };
    writeFileSync(file, stringify(daemon === 'agent' ? { ...common, stateDir, runtimeDir, qemu, launcher: 'detached' } : common));
    this.#spawn(host, daemon, process.execPath, [programs[daemon], '--config', file], process.env);
  }

  #spawn(host: HostName, daemon: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
    const output = openSync(join(this.base, `${host}-${daemon}.log`), 'a');
    // `ip netns exec` becomes the program, so this is the program's own process.
    const inside = ['netns', 'exec', SPACE, program, ...args];
    this.#children.push(spawn('ip', inside, { stdio: ['ignore', output, output], env }));
  }
}

export function secured(files: TlsFiles): Security {
  const made = fixedTls(files);
  if (!made.ok) throw new Error(made.error);
  return made.value;
}
