// A stage for procedures on real QEMU: two hosts as network namespaces with a replication network and a guest network, and this process
// as the client. No agent and no coordinator: the tests call the procedures themselves.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { qemuProgram } from '../../../deploy/lab/tree.js';

export type HostName = 'a' | 'b';

export const QEMU: Readonly<Record<'system' | 'img', string>> = {
  system: qemuProgram('11.1', 'qemu-system-x86_64'),
  img: qemuProgram('11.1', 'qemu-img'),
};
export const GUEST_ADDRESS = '10.213.7.2';
export const GUEST_PORT = 7000;
export const REPLICATION: Readonly<Record<HostName, string>> = { a: '10.213.8.1', b: '10.213.8.2' };

const SPACE: Readonly<Record<HostName, string>> = { a: 'colo-pa', b: 'colo-pb' };
const CLIENT_ADDRESS = '10.213.7.1/24';

/** Why the tests of this folder cannot run here; null = they can. */
export function missing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  const absent = Object.values(QEMU).filter((file) => !existsSync(file));
  return absent.length > 0 ? `needs ${absent.join(', ')} (deploy/setup.sh lab)` : null;
}

export function inSpace(host: HostName, argv: readonly string[]): readonly string[] {
  return ['ip', 'netns', 'exec', SPACE[host], ...argv];
}

/** Two spaces, two bridges in this one. Removes what an earlier run left. */
export function raiseStage(folder: string): void {
  strikeStage();
  rmSync(folder, { recursive: true, force: true });
  for (const bridge of ['colo-plan', 'colo-prep']) {
    run('ip', 'link', 'add', bridge, 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0');
    run('ip', 'link', 'set', bridge, 'up');
  }
  run('ip', 'addr', 'add', CLIENT_ADDRESS, 'dev', 'colo-plan');
  for (const host of ['a', 'b'] as const) {
    mkdirSync(join(folder, host), { recursive: true });
    const space = SPACE[host];
    run('ip', 'netns', 'add', space);
    ns(host, 'ip', 'link', 'set', 'lo', 'up');
    for (const [name, outside, bridge] of [
      ['repl', `colo-pr${host}`, 'colo-prep'],
      ['uplink', `colo-pu${host}`, 'colo-plan'],
    ] as const) {
      run('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', name, 'netns', space);
      run('ip', 'link', 'set', outside, 'master', bridge, 'up');
      ns(host, 'ip', 'link', 'set', name, 'up');
    }
    ns(host, 'ip', 'addr', 'add', `${REPLICATION[host]}/24`, 'dev', 'repl');
    ns(host, 'ip', 'route', 'change', '10.213.8.0/24', 'dev', 'repl', 'src', REPLICATION[host], 'quickack', '1');
    ns(host, 'ip', 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0');
    ns(host, 'ip', 'link', 'set', 'br0', 'up');
    ns(host, 'ip', 'link', 'set', 'uplink', 'master', 'br0');
    ns(host, 'ip', 'tuntap', 'add', 'tap0', 'mode', 'tap', 'vnet_hdr');
    ns(host, 'ip', 'link', 'set', 'tap0', 'master', 'br0', 'up');
  }
}

/** The replication network swallows everything, without an answer to anybody. */
export function silenceReplication(silent: boolean): void {
  for (const host of ['a', 'b']) run('bridge', 'link', 'set', 'dev', `colo-pr${host}`, 'isolated', silent ? 'on' : 'off');
}

export function strikeStage(): void {
  for (const host of ['a', 'b'] as const) attempt('ip', 'netns', 'del', SPACE[host]);
  for (const host of ['a', 'b']) for (const kind of ['r', 'u']) attempt('ip', 'link', 'del', `colo-p${kind}${host}`);
  for (const bridge of ['colo-plan', 'colo-prep']) attempt('ip', 'link', 'del', bridge);
}

export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function ns(host: HostName, ...argv: readonly string[]): void {
  const [program = 'ip', ...args] = inSpace(host, argv);
  run(program, ...args);
}

function attempt(program: string, ...args: readonly string[]): void {
  try {
    run(program, ...args);
  } catch {
    // What is not there need not be removed.
  }
}
