// Three real coordinators on three real etcd members, without any guest: how soon another leads when the leading one dies, hangs or resigns.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { coordinatorKeyCodec } from '../../../shared/core/codec.js';
import { keysOf } from '../../../shared/core/keys.js';
import { systemClock } from '../../../shared/io/clock.js';
import { openStore, type OpenStore } from '../../../shared/io/etcd/store.js';
import { fakeLog } from '../../fakes/clock.js';
import { eventually, staysTrue } from '../../support/wait.js';
import { etcdBinary, freePorts, startEtcd, whySkipped, type EtcdCluster } from './cluster.js';

const program = fileURLToPath(new URL('../../../dist/coordinator/main.js', import.meta.url));
const reason = etcdBinary === null ? whySkipped : existsSync(program) ? null : 'there is no build: npm run build';
const suite = reason === null ? describe : describe.skip;
const keys = keysOf('/colo/takeover');
/** The figures are printed as p50 and max. A stopped leader comes back as the same process, and too many returns make candidates wait. */
const ROUNDS = { SIGKILL: 10, SIGSTOP: 4, SIGTERM: 10 };

interface Leader {
  readonly name: string;
  readonly term: number;
}

suite(reason === null ? 'leading coordinator' : `leading coordinator (skipped: ${reason})`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'colo-takeover-'));
  const names = ['x', 'y', 'z'];
  const children = new Map<string, ChildProcess>();
  let ports: number[] = [];
  let etcd: EtcdCluster;
  let store: OpenStore;
  let leader: Leader | null = null;

  function start(name: string): void {
    const index = names.indexOf(name);
    // Each coordinator prefers another member, as on three hosts.
    const endpoints = [...etcd.endpoints.slice(index), ...etcd.endpoints.slice(0, index)];
    const config = join(folder, `${name}.yaml`);
    writeFileSync(
      config,
      [
        `cluster: takeover`,
        `name: ${name}`,
        `listen: 127.0.0.1:${ports[index]}`,
        `insecureLab: true`,
        `etcd:`,
        `  endpoints: [${endpoints.join(', ')}]`,
      ].join('\n'),
    );
    const output = openSync(join(folder, `${name}.log`), 'a');
    children.set(name, spawn(process.execPath, [program, '--config', config], { stdio: ['ignore', output, output] }));
  }

  /** Another than the given term leads; answers how long that took, in milliseconds. */
  const another = (after: number, boundMs: number): Promise<number> =>
    eventually('another leader', boundMs, () => leader !== null && leader.term > after);

  const now = (): Leader => {
    if (leader === null) throw new Error('nobody leads');
    return leader;
  };

  beforeAll(async () => {
    etcd = await startEtcd(3);
    ports = await freePorts(3);
    store = openStore(etcd.endpoints, systemClock(), fakeLog());
    store.mirror(keys.leader, {
      changed: (snapshot) => {
        const kv = snapshot.keys.get(keys.leader);
        const value = kv === undefined ? null : coordinatorKeyCodec.decode(kv.key, kv.value);
        leader = kv !== undefined && value?.ok === true ? { name: value.value.name, term: kv.modRevision } : null;
      },
      health: () => undefined,
    });
    for (const each of names) start(each);
    await another(0, 10_000);
    await eventually('all are members', 10_000, async () => (await memberSessions()).size === 3);
  }, 60_000);

  afterAll(async () => {
    for (const each of children.values()) each.kill('SIGKILL');
    store?.close();
    await etcd?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  function logTail(): string {
    return names
      .map((name) =>
        readFileSync(join(folder, `${name}.log`), 'utf8')
          .split('\n')
          .slice(-12)
          .join('\n'),
      )
      .join('\n---\n');
  }

  async function memberSessions(): Promise<Map<string, string>> {
    const listed = await store.list(keys.members);
    const values = listed.ok ? [...listed.value.keys.values()].map((kv) => coordinatorKeyCodec.decode(kv.key, kv.value)) : [];
    return new Map(values.flatMap((each) => (each.ok ? [[each.value.name, each.value.session] as const] : [])));
  }

  async function rounds(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGTERM'): Promise<number[]> {
    const took: number[] = [];
    for (let round = 0; round < ROUNDS[signal]; round += 1) {
      const before = now();
      const session = (await memberSessions()).get(before.name);
      const child = children.get(before.name);
      const gone = new Promise((resolve) => child?.once('exit', resolve));
      child?.kill(signal);
      took.push(await another(before.term, 5_000).catch((error: unknown) => Promise.reject(new Error(`${String(error)}\n${logTail()}`))));
      expect(now().name).not.toBe(before.name);
      if (signal === 'SIGSTOP') {
        const leads = now();
        child?.kill('SIGCONT');
        // It wakes as one that led, and must not take back what it lost.
        await staysTrue(() => leader?.term === leads.term, { what: 'the new leader leads on', boundMs: 1_500 });
      } else {
        await gone;
        start(before.name);
      }
      // The dead one's key stays for its lease: only a new session shows that the new process is there.
      await eventually('three members again', 10_000, async () => {
        const sessions = await memberSessions();
        return sessions.size === 3 && (signal === 'SIGSTOP' || sessions.get(before.name) !== session);
      });
    }
    took.sort((a, b) => a - b);
    console.log(
      `leader ${signal}, n=${took.length}: p50 ${Math.round(took[took.length >> 1] ?? 0)} ms, max ${Math.round(took.at(-1) ?? 0)} ms`,
    );
    return took;
  }

  it('killed -> another leads within a second', async () => {
    expect(Math.max(...(await rounds('SIGKILL')))).toBeLessThan(1_000);
  });

  it('stopped (SIGSTOP), then continued -> another leads within 1.5 s, and goes on leading', async () => {
    expect(Math.max(...(await rounds('SIGSTOP')))).toBeLessThan(1_500);
  });

  it('ended by SIGTERM -> it resigns, and another leads within half a second', async () => {
    expect(Math.max(...(await rounds('SIGTERM')))).toBeLessThan(500);
  });

  it("killed together with etcd's leader -> another leads within 4 s", async () => {
    const before = now();
    const victim = await etcd.leader();
    etcd.members[victim]?.signal('SIGKILL');
    children.get(before.name)?.kill('SIGKILL');
    const ms = await another(before.term, 4_000);
    console.log(`leader and etcd's leader SIGKILL together: ${Math.round(ms)} ms`);
    etcd.members[victim]?.start();
    start(before.name);
    await etcd.leader();
  });

  it('well -> nobody takes its place for five seconds', async () => {
    const before = now().term;
    await staysTrue(() => leader?.term === before, { what: 'the same leader', boundMs: 5_000 });
  });
});
