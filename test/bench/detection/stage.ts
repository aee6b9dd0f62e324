// Two hosts and a switch in namespaces of their own, a watcher on each host, and the faults that can befall them.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, tryRun } from '../../../deploy/lab/command.js';
import type { HostLine, HostOptions } from './host.js';
import type { StandInOptions } from './stand-in.js';

export type HostName = 'a' | 'b';
export const HOSTS: readonly HostName[] = ['a', 'b'];

export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export const addressOf = (host: HostName): string => (host === 'a' ? '10.93.0.1' : '10.93.0.2');
const other = (host: HostName): HostName => (host === 'a' ? 'b' : 'a');

/** One watcher. `lines` grows as it speaks. */
export interface Watcher {
  readonly child: ChildProcess;
  readonly lines: HostLine[];
  state(): string;
  judgedAfter(atMs: number, state: string): Extract<HostLine, { kind: 'judged' }> | null;
}

export class Stage {
  readonly #folder: string;
  readonly #prefix: string;
  readonly #options: Partial<HostOptions>;
  readonly #children = new Set<ChildProcess>();
  readonly #sockets = mkdtempSync(join(tmpdir(), 'detection-'));
  watchers = new Map<HostName, Watcher>();

  /** `folder`: where host.js and stand-in.js have been built. */
  constructor(folder: string, options: Partial<HostOptions> = {}) {
    this.#folder = folder;
    this.#prefix = `det${process.pid}`;
    this.#options = options;
  }

  namespace(who: HostName | 'switch'): string {
    return `${this.#prefix}-${who}`;
  }

  /** `probesDropped`: a firewall on each host lets heartbeats and QEMU pass and swallows probes. */
  async raise(probesDropped = false): Promise<void> {
    const bridge = this.namespace('switch');
    for (const who of [...HOSTS, 'switch'] as const) await run('ip', ['netns', 'add', this.namespace(who)]);
    await this.#ip('switch', ['link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0', 'link set br0 up']);
    for (const host of HOSTS) {
      await this.#ip(host, [
        'link set lo up',
        `link add repl0 type veth peer name port-${host} netns ${bridge}`,
        `address add ${addressOf(host)}/24 dev repl0`,
        'link set repl0 up',
      ]);
      await this.#ip('switch', [`link set port-${host} master br0`, `link set port-${host} up`]);
    }
    const firewall = [
      'add table inet firewall',
      'add chain inet firewall input { type filter hook input priority 0; policy accept; }',
      'add rule inet firewall input tcp dport 7401 drop',
    ];
    if (probesDropped) for (const host of HOSTS) await run('ip', ['netns', 'exec', this.namespace(host), 'nft', firewall.join('\n')]);
    for (const host of HOSTS) this.#startStandIn(host);
    for (const host of HOSTS) this.start(host);
  }

  async lower(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const who of [...HOSTS, 'switch'] as const) await tryRun('ip', ['netns', 'delete', this.namespace(who)]);
    rmSync(this.#sockets, { recursive: true, force: true });
  }

  /** `through`: a command that becomes the one that follows it. */
  start(host: HostName, through: readonly string[] = []): Watcher {
    const { stdout, child } = this.#run(host, 'host.js', this.#optionsOf(host), through);
    const lines: HostLine[] = [];
    let rest = '';
    stdout.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      lines.push(...parts.map((line) => JSON.parse(line) as HostLine));
    });
    const judged = (): Extract<HostLine, { kind: 'judged' }>[] => lines.filter((line) => line.kind === 'judged');
    const watcher: Watcher = {
      child,
      lines,
      state: () => judged().at(-1)?.state ?? 'none',
      judgedAfter: (atMs, state) => judged().find((line) => line.atMs >= atMs && line.state === state) ?? null,
    };
    this.watchers.set(host, watcher);
    return watcher;
  }

  watcher(host: HostName): Watcher {
    const watcher = this.watchers.get(host);
    if (watcher === undefined) throw new Error(`no watcher on ${host}`);
    return watcher;
  }

  #startStandIn(host: HostName): void {
    const { role, address, peerAddress, port, monitor, checkpointDelayMs } = this.#optionsOf(host);
    const options: StandInOptions = { role, address, peerAddress, port, monitor, checkpointDelayMs };
    this.#run(host, 'stand-in.js', options);
  }

  #optionsOf(host: HostName): HostOptions {
    return {
      host,
      address: addressOf(host),
      peerAddress: addressOf(other(host)),
      role: host === 'a' ? 'primary' : 'secondary',
      intervalMs: 50,
      suspectAfterMs: 300,
      taps: [`tap-${host}`],
      port: 20_000,
      monitor: `${this.#sockets}/${host}.sock`,
      checkpointDelayMs: 1_000,
      ...this.#options,
    };
  }

  #run(host: HostName, program: string, options: object, through: readonly string[] = []) {
    // Entered from outside, because in a namespace /sys has no groups.
    const [first = 'ip', ...rest] = [
      ...through,
      'ip',
      'netns',
      'exec',
      this.namespace(host),
      process.execPath,
      join(this.#folder, program),
    ];
    const child = spawn(first, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    // A program that ends before it has read is missed by whoever waits for its words.
    child.stdin.on('error', () => undefined);
    child.stdin.end(JSON.stringify(options));
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return { child, stdout: child.stdout };
  }

  /** Frames vanish; nobody loses carrier. */
  async cutLink(): Promise<void> {
    for (const host of HOSTS) await this.#bridge(`port-${host}`, 'on');
  }

  /** Everything of the host falls silent at once. */
  async darken(host: HostName): Promise<void> {
    await this.#ip(host, ['link set repl0 down']);
  }

  /** Frames from this host vanish, those to it arrive. */
  async cutFrom(host: HostName): Promise<void> {
    await this.#filter(`iifname "port-${host}" drop`);
  }

  /** Of all frames in both directions, so many in a hundred vanish. */
  async lose(percent: number): Promise<void> {
    await this.#filter(`numgen random mod 100 < ${percent} drop`);
  }

  async heal(): Promise<void> {
    await tryRun('ip', ['netns', 'exec', this.namespace('switch'), 'nft', 'delete table bridge cut']);
    for (const host of HOSTS) {
      await this.#bridge(`port-${host}`, 'off');
      await this.#ip(host, ['link set repl0 up']);
    }
  }

  async #filter(rule: string): Promise<void> {
    const commands = [
      'add table bridge cut',
      'add chain bridge cut forward { type filter hook forward priority 0; policy accept; }',
      `add rule bridge cut forward ${rule}`,
    ];
    await run('ip', ['netns', 'exec', this.namespace('switch'), 'nft', commands.join('\n')]);
  }

  async #bridge(port: string, isolated: 'on' | 'off'): Promise<void> {
    await run('ip', ['netns', 'exec', this.namespace('switch'), 'bridge', 'link', 'set', 'dev', port, 'isolated', isolated]);
  }

  async #ip(who: HostName | 'switch', lines: readonly string[]): Promise<void> {
    await run('ip', ['-netns', this.namespace(who), '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }
}
