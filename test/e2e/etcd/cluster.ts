// A cluster of real etcd members on loopback ports, each a child of the test, ended by its own process id.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import { waitFor } from '../../support/wait.js';

const CANDIDATES = [process.env['COLO_ETCD'] ?? '', '/var/cache/colo-ha/qemu-11.1/bin/etcd', '/usr/bin/etcd'];

/** Null = these tests cannot run here. */
export const etcdBinary: string | null = CANDIDATES.find((each) => each !== '' && existsSync(each)) ?? null;
const STOPPED_MS = 2_000;
export const whySkipped = `no etcd at any of ${CANDIDATES.filter((each) => each !== '').join(', ')}`;

export interface EtcdMember {
  readonly endpoint: string;
  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void;
  /** Starts it again on its data after a SIGKILL. */
  start(): void;
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  /** Index of the member that leads now, as the members that answer say. */
  leader(): Promise<number>;
  /** Compacts the history up to its newest revision. */
  compact(): Promise<void>;
  stop(): Promise<void>;
}

/** Fast timers (50/250 ms), no fsync: the processes die here, never the machine. */
export async function startEtcd(size: number): Promise<EtcdCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-etcd-'));
  const ports = await freePorts(size * 2);
  const url = (index: number): string => `http://127.0.0.1:${ports[index]}`;
  const names = Array.from({ length: size }, (_, index) => `m${index}`);
  const initial = names.map((name, index) => `${name}=${url(size + index)}`).join(',');

  const members = names.map((name, index): EtcdMember & { readonly child: () => ChildProcess | null } => {
    let child: ChildProcess | null = null;
    const start = (): void => {
      const output = openSync(join(folder, `${name}.log`), 'a');
      child = spawn(
        etcdBinary ?? '',
        [
          ...['--name', name, '--data-dir', join(folder, name), '--logger', 'zap', '--log-level', 'error'],
          ...['--listen-client-urls', url(index), '--advertise-client-urls', url(index)],
          ...['--listen-peer-urls', url(size + index), '--initial-advertise-peer-urls', url(size + index)],
          ...['--initial-cluster', initial, '--heartbeat-interval', '50', '--election-timeout', '250', '--unsafe-no-fsync'],
        ],
        { stdio: ['ignore', output, output] },
      );
    };
    start();
    return { endpoint: url(index), start, signal: (signal) => send(child, signal), child: () => child };
  });
  const endpoints = members.map((each) => each.endpoint);

  async function statusOf(index: number): Promise<{ id: string; leader: string; revision: string } | null> {
    const client = new Etcd3({ hosts: endpoints[index] ?? '' });
    try {
      const answer = await client.maintenance.status({ deadline: Date.now() + 300 });
      return { id: answer.header.member_id, leader: answer.leader, revision: answer.header.revision };
    } catch {
      return null;
    } finally {
      client.close();
    }
  }

  const leader = (): Promise<number> =>
    waitFor(
      async () => {
        const all = await Promise.all(endpoints.map((_, index) => statusOf(index)));
        const known = all.find((each) => each !== null && each.leader !== '0');
        const index = all.findIndex((each) => each !== null && each.id === known?.leader);
        return index >= 0 ? { index } : null;
      },
      { what: 'a leading etcd member', boundMs: 10_000 },
    ).then((found) => found.index);

  await leader();
  return {
    members,
    endpoints,
    leader,
    compact: async () => {
      // A stopped member would take the whole deadline.
      const client = new Etcd3({ hosts: endpoints[await leader()] ?? '' });
      try {
        const { header } = await client.kv.range({ key: Buffer.from('x') }, { deadline: Date.now() + 2_000 });
        await client.kv.compact({ revision: header.revision, physical: true }, { deadline: Date.now() + 2_000 });
      } finally {
        client.close();
      }
    },
    stop: async () => {
      await Promise.all(
        members.map(async (each) => {
          const child = each.child();
          if (child === null || child.exitCode !== null || child.signalCode !== null) return;
          const gone = new Promise((resolve) => child.once('exit', resolve));
          child.kill('SIGKILL');
          await gone;
        }),
      );
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer();
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((each) => (each.address() as { port: number }).port);
  await Promise.all(servers.map((each) => new Promise((resolve) => each.close(resolve))));
  return ports;
}

/** SIGSTOP takes effect when each thread next comes to the kernel; a request that is under way would still be answered. */
function send(child: ChildProcess | null, signal: NodeJS.Signals): void {
  child?.kill(signal);
  const pid = child?.pid;
  if (signal !== 'SIGSTOP' || pid === undefined) return;
  const until = performance.now() + STOPPED_MS;
  while (performance.now() < until) {
    const states = readdirSync(`/proc/${pid}/task`).map(
      (task) => / ([A-Z]) /.exec(readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8'))?.[1],
    );
    if (states.every((state) => state === 'T')) return;
  }
  throw new Error(`etcd ${pid} has not stopped within ${STOPPED_MS} ms`);
}
