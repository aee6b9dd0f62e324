// A cluster of real processes under TLS on loopback addresses, without guests: made by `coloctl cluster init` and `coloctl host add` as an
// operator would, with only the paths of the files changed. Three etcd members, three coordinators, two agents.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { tryRun, type Ran } from '../../../deploy/lab/command.js';
import { programs, qemuProgram } from '../../../deploy/lab/tree.js';
import type { StatusShape } from '../../../coordinator/cli/shapes.js';
import { fixedTls, type Security } from '../../../shared/io/rpc/security.js';
import type { TlsFiles } from '../../../shared/io/tls/material.js';
import { waitFor } from '../../support/wait.js';

export const CLUSTER = 'tlstest';
const READY_MS = 60_000;
const CALL_MS = 20_000;
/** A loopback network of this process's own. */
const NETWORK = `127.${100 + (process.pid % 100)}.${(process.pid >> 7) & 0xff}`;
export const HOSTS = ['host1', 'host2', 'voter'] as const;
export type HostName = (typeof HOSTS)[number];
const NUMBER: Readonly<Record<HostName, number>> = { host1: 1, host2: 2, voter: 3 };

export const addressOf = (host: HostName): string => `${NETWORK}.${NUMBER[host]}`;
const replicationOf = (host: HostName): string => `${NETWORK}.${NUMBER[host] + 20}`;
export const agentAddress = (host: HostName): string => `${addressOf(host)}:7400`;
export const coordinatorAddress = (host: HostName): string => `${addressOf(host)}:7500`;
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
    rmSync(this.base, { recursive: true, force: true });
  }

  #startEtcd(host: HostName): void {
    const data = join(this.base, `etcd-${host}`);
    const text = readFileSync(this.hostFile(host, 'etcd.env'), 'utf8')
      .replaceAll('/etc/colo-ha/etcd/', `${this.hostFile(host, '')}/`)
      .replace('/var/lib/etcd/default', data)
      // Its own loopback address is the only one that is free here.
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
    writeFileSync(file, stringify(daemon === 'agent' ? { ...config, stateDir, runtimeDir, qemu, launcher: 'detached' } : config));
    this.#spawn(host, daemon, process.execPath, [programs[daemon], '--config', file], process.env);
  }

  #spawn(host: HostName, daemon: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
    const output = openSync(join(this.base, `${host}-${daemon}.log`), 'a');
    this.#children.push(spawn(program, args, { stdio: ['ignore', output, output], env }));
  }
}

export function secured(files: TlsFiles): Security {
  const made = fixedTls(files);
  if (!made.ok) throw new Error(made.error);
  return made.value;
}
