// A stage for two real agents: two hosts as network namespaces, an etcd in this one, the guest's network bridged to this one, so that the
// test is client and coordinator at once. The coordinator's part is played by hand: records are written, then orders are sent.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

export const QEMU_DIR = process.env['COLO_QEMU_DIR'] ?? '/var/cache/colo-ha/qemu-11.1/bin';
export const DIST = process.env['COLO_DIST'] ?? join(process.cwd(), 'dist');
/** Stages of different numbers can stand beside each other on one machine. */
const NUMBER = Number(process.env['COLO_STAGE'] ?? 0);
const GUESTS = `10.214.${2 * NUMBER}`;
const HOSTS_NET = `10.214.${2 * NUMBER + 1}`;
export const FOLDER = `/tmp/colo-agent-stage${NUMBER}`;
export const GUEST_ADDRESS = `${GUESTS}.2`;
export const ADDRESS = { a: `${HOSTS_NET}.1`, b: `${HOSTS_NET}.2` } as const;
export const ETCD = `http://${HOSTS_NET}.254:2379`;
const ETCD_PEER = `http://${HOSTS_NET}.254:2380`;
export const PREFIX = '/colo/stage';
export type HostName = keyof typeof ADDRESS;
export const HOSTS: readonly HostName[] = ['a', 'b'];

const SPACE: Readonly<Record<HostName, string>> = { a: `colo-aga${NUMBER}`, b: `colo-agb${NUMBER}` };

/** Why the tests of this folder cannot run here; null = they can. */
export function missing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  const files = ['qemu-system-x86_64', 'qemu-img', 'etcd'].map((name) => join(QEMU_DIR, name));
  const absent = [...files, join(DIST, 'agent/main.js')].filter((file) => !existsSync(file));
  return absent.length > 0 ? `needs ${absent.join(', ')}` : null;
}

export function raiseNetwork(folder: string): void {
  strikeNetwork();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [bridge, address] of [
    [`colo-agl${NUMBER}`, `${GUESTS}.1/24`],
    [`colo-agr${NUMBER}`, `${HOSTS_NET}.254/24`],
  ] as const) {
    run('ip', 'link', 'add', bridge, 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0');
    run('ip', 'addr', 'add', address, 'dev', bridge);
    run('ip', 'link', 'set', bridge, 'up');
  }
  for (const host of HOSTS) {
    const space = SPACE[host];
    run('ip', 'netns', 'add', space);
    inSpace(host, 'ip', 'link', 'set', 'lo', 'up');
    for (const [name, outside, bridge] of [
      ['repl', `colo-agr${host}${NUMBER}`, `colo-agr${NUMBER}`],
      ['uplink', `colo-agl${host}${NUMBER}`, `colo-agl${NUMBER}`],
    ] as const) {
      run('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', name, 'netns', space);
      run('ip', 'link', 'set', outside, 'master', bridge, 'up');
      inSpace(host, 'ip', 'link', 'set', name, 'up');
    }
    inSpace(host, 'ip', 'addr', 'add', `${ADDRESS[host]}/24`, 'dev', 'repl');
    inSpace(host, 'ip', 'route', 'change', `${HOSTS_NET}.0/24`, 'dev', 'repl', 'src', ADDRESS[host], 'quickack', '1');
    inSpace(host, 'ip', 'link', 'add', 'br-guest', 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0');
    inSpace(host, 'ip', 'link', 'set', 'br-guest', 'up');
    inSpace(host, 'ip', 'link', 'set', 'uplink', 'master', 'br-guest');
  }
}

export function strikeNetwork(): void {
  for (const host of HOSTS) attempt('ip', 'netns', 'del', SPACE[host]);
  for (const host of HOSTS) for (const kind of ['r', 'l']) attempt('ip', 'link', 'del', `colo-ag${kind}${host}${NUMBER}`);
  for (const bridge of [`colo-agl${NUMBER}`, `colo-agr${NUMBER}`]) attempt('ip', 'link', 'del', bridge);
}

/** Names of the taps that are there on a host. */
export function taps(host: HostName): readonly string[] {
  return inSpace(host, 'ls', '/sys/class/net')
    .split(/\s+/)
    .filter((name) => /^colo.*n\d+$/.test(name));
}

export function startEtcd(folder: string): ChildProcess {
  const log = openSync(join(folder, 'etcd.log'), 'a');
  const data = join(folder, 'etcd');
  return spawn(
    join(QEMU_DIR, 'etcd'),
    [
      '--data-dir',
      data,
      '--listen-client-urls',
      ETCD,
      '--advertise-client-urls',
      ETCD,
      '--listen-peer-urls',
      ETCD_PEER,
      '--initial-advertise-peer-urls',
      ETCD_PEER,
      '--initial-cluster',
      `default=${ETCD_PEER}`,
      '--log-level',
      'warn',
    ],
    { stdio: ['ignore', log, log] },
  );
}

export class AgentProcess {
  readonly host: HostName;
  readonly folder: string;
  readonly address: string;
  #child: ChildProcess | null = null;

  constructor(host: HostName, folder: string) {
    this.host = host;
    this.folder = join(folder, host);
    this.address = `${ADDRESS[host]}:7400`;
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(
      this.configFile,
      stringify({
        cluster: 'stage',
        prefix: PREFIX,
        etcd: { endpoints: [ETCD] },
        insecureLab: true,
        host,
        listen: this.address,
        replicationAddress: ADDRESS[host],
        stateDir: this.stateDir,
        runtimeDir: join(this.folder, 'run'),
        bridge: 'br-guest',
        qemu: { system: join(QEMU_DIR, 'qemu-system-x86_64'), img: join(QEMU_DIR, 'qemu-img') },
        launcher: 'detached',
        logLevel: 'debug',
      }),
    );
  }

  get configFile(): string {
    return join(this.folder, 'agent.yaml');
  }

  get stateDir(): string {
    return join(this.folder, 'state');
  }

  get logFile(): string {
    return join(this.folder, 'agent.log');
  }

  /** `mount`: this host's `folder` is seen by the agent, and by nobody else, at `at`, as on a machine of its own. */
  start(mount: { readonly folder: string; readonly at: string } | null = null): void {
    const log = openSync(this.logFile, 'a');
    const agent = [process.execPath, join(DIST, 'agent/main.js'), '--config', this.configFile];
    const bind = 'mount --bind "$0" "$1" && shift && exec "$@"';
    const mounted = mount === null ? agent : ['unshare', '--mount', 'sh', '-c', bind, mount.folder, mount.at, ...agent];
    this.#child = spawn('ip', ['netns', 'exec', SPACE[this.host], ...mounted], { stdio: ['ignore', log, log] });
  }

  /** `ip netns exec` becomes the agent, so this is the agent's own pid. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
    this.#child = null;
  }

  /** For the end of a test. */
  killQemu(vm: string): void {
    try {
      process.kill(this.qemuPid(vm), 'SIGKILL');
    } catch {
      // It has gone.
    }
  }

  /** The process that the agent noted for its QEMU. */
  qemuPid(vm: string): number {
    const note = JSON.parse(readFileSync(join(this.stateDir, 'vms', vm, 'qemu.json'), 'utf8')) as { pid: number };
    return note.pid;
  }
}

export function namespaceOf(host: HostName): string {
  return SPACE[host];
}

export function inSpace(host: HostName, ...argv: readonly string[]): string {
  return run('ip', 'netns', 'exec', SPACE[host], ...argv);
}

export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function attempt(program: string, ...args: readonly string[]): void {
  try {
    run(program, ...args);
  } catch {
    // What is not there need not be removed.
  }
}
