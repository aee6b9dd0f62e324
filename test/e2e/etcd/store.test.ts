// The store on three real etcd members that are stopped, killed and cut off: what it tells is true, and it goes on as soon as it can.

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../shared/io/clock.js';
import { openStore, type OpenStore } from '../../../shared/io/etcd/store.js';
import type { Snapshot } from '../../../shared/ports.js';
import { fakeLog } from '../../fakes/clock.js';
import { eventually } from '../../support/wait.js';
import { etcdBinary, startEtcd, whySkipped, type EtcdCluster } from './cluster.js';

const suite = etcdBinary === null ? describe.skip : describe;
const name = etcdBinary === null ? `etcd store (skipped: ${whySkipped})` : 'etcd store';

interface Follower {
  snapshot: Snapshot | null;
  health: string;
  /** Largest time between two snapshots while writes went on, milliseconds. */
  largestGapMs: number;
  wentBack: boolean;
  close(): void;
}

function followPrefix(store: OpenStore, prefix: string): Follower {
  let lastAt = performance.now();
  const follower: Follower = { snapshot: null, health: 'none', largestGapMs: 0, wentBack: false, close: () => undefined };
  const mirror = store.mirror(prefix, {
    changed: (snapshot) => {
      if (follower.snapshot !== null) {
        follower.largestGapMs = Math.max(follower.largestGapMs, performance.now() - lastAt);
        if (snapshot.revision <= follower.snapshot.revision) follower.wentBack = true;
      }
      lastAt = performance.now();
      follower.snapshot = snapshot;
    },
    health: (state) => (follower.health = state.kind),
  });
  follower.close = () => mirror.close();
  return follower;
}

suite(name, () => {
  let etcd: EtcdCluster;
  let stores: OpenStore[] = [];
  let log = fakeLog();

  beforeAll(async () => {
    etcd = await startEtcd(3);
  }, 30_000);
  afterAll(async () => {
    await etcd?.stop();
  });
  afterEach(async (context) => {
    if (context.task.result?.state === 'fail') console.log(log.lines.map((each) => JSON.stringify(each)).join('\n'));
    for (const each of stores) each.close();
    stores = [];
    log = fakeLog();
    for (const each of etcd.members) each.signal('SIGCONT');
    await etcd.leader();
  });

  /** The given member is the preferred one. */
  function open(first = 0): OpenStore {
    const endpoints = [...etcd.endpoints.slice(first), ...etcd.endpoints.slice(0, first)];
    const store = openStore(endpoints, systemClock(), log);
    stores.push(store);
    return store;
  }

  const value = async (store: OpenStore, key: string): Promise<string | null> => {
    const read = await store.get(key);
    if (!read.ok) throw new Error(read.error.detail);
    return read.value.kv?.value ?? null;
  };
  const put = (store: OpenStore, key: string, text: string) => store.txn([], [{ kind: 'put', key, value: text, lease: null }]);

  it('a guarded transaction -> done once, and refused as not succeeded when its compare no longer holds', async () => {
    const store = open();
    const first = await store.txn([{ kind: 'mod', key: '/g/k', revision: 0 }], [{ kind: 'put', key: '/g/k', value: '1', lease: null }]);
    expect(first).toMatchObject({ ok: true, value: { succeeded: true } });
    const again = await store.txn([{ kind: 'mod', key: '/g/k', revision: 0 }], [{ kind: 'put', key: '/g/k', value: '2', lease: null }]);
    expect(again).toMatchObject({ ok: true, value: { succeeded: false } });
    const read = await store.get('/g/k');
    const revision = first.ok ? first.value.revision : -1;
    expect(read).toMatchObject({ ok: true, value: { kv: { value: '1', modRevision: revision, createRevision: revision, lease: '0' } } });
    expect(await store.txn([{ kind: 'mod', key: '/g/k', revision: -1 }], [])).toMatchObject({ ok: true, value: { succeeded: false } });
  });

  it('a put under a lease that does not exist -> refused, and nothing of the transaction is done', async () => {
    const store = open();
    const done = await store.txn(
      [],
      [
        { kind: 'put', key: '/l/a', value: '1', lease: null },
        { kind: 'put', key: '/l/b', value: '1', lease: '12345' },
      ],
    );
    expect(done).toMatchObject({ ok: false, error: { kind: 'refused' } });
    expect(await value(store, '/l/a')).toBeNull();
  });

  it('lease granted, kept, revoked -> its keys live and vanish with it', async () => {
    const store = open();
    const granted = await store.grantLease(3_000);
    if (!granted.ok) throw new Error(granted.error.detail);
    const { lease, ttlMs } = granted.value;
    expect(ttlMs).toBeGreaterThanOrEqual(3_000);
    await store.txn([], [{ kind: 'put', key: '/l/c', value: '1', lease }]);
    expect(await store.keepAlive(lease)).toMatchObject({ ok: true, value: { alive: true, ttlMs } });
    expect(await store.revokeLease(lease)).toMatchObject({ ok: true });
    expect(await store.keepAlive(lease)).toMatchObject({ ok: true, value: { alive: false } });
    expect(await value(store, '/l/c')).toBeNull();
    expect(await store.revokeLease(lease)).toMatchObject({ ok: true });
  });

  it('more keys than one page -> list and mirror hold them all, of one revision', async () => {
    const store = open();
    for (let from = 0; from < 1_200; from += 100) {
      const writes = Array.from({ length: 100 }, (_, index) => ({
        kind: 'put' as const,
        key: `/p/${String(from + index).padStart(5, '0')}`,
        value: 'x',
        lease: null,
      }));
      expect((await store.txn([], writes)).ok).toBe(true);
    }
    const listed = await store.list('/p/');
    expect(listed.ok ? listed.value.keys.size : 0).toBe(1_200);
    const follower = followPrefix(store, '/p/');
    await eventually('mirrored', 2_000, () => follower.snapshot?.keys.size === 1_200);
  });

  it('preferred member stopped (SIGSTOP) -> reads go on within one call, writes are unknown at worst, the mirror leaves it', async () => {
    const leader = await etcd.leader();
    const victim = (leader + 1) % 3;
    const store = open(victim);
    const follower = followPrefix(store, '/s/');
    await put(store, '/s/k', 'before');
    await eventually('following', 2_000, () => follower.health === 'following' && follower.snapshot?.keys.get('/s/k')?.value === 'before');
    etcd.members[victim]?.signal('SIGSTOP');
    const startedAt = performance.now();
    expect(await value(store, '/s/k')).toBe('before');
    const readMs = performance.now() - startedAt;
    expect((await put(open(leader), '/s/k', 'after')).ok).toBe(true);
    const mirrorMs = await eventually('mirror sees what it missed', 2_000, () => follower.snapshot?.keys.get('/s/k')?.value === 'after');
    console.log(`follower member stopped: read ${Math.round(readMs)} ms, mirror ${Math.round(mirrorMs)} ms after the write`);
    expect(readMs).toBeLessThan(700);
  });

  it.each(['SIGSTOP', 'SIGKILL'] as const)('the leading member gets %s -> calls and mirrors go on with the others', async (signal) => {
    const victim = await etcd.leader();
    const store = open(victim);
    const follower = followPrefix(store, '/e/');
    await put(store, '/e/k', 'before');
    await eventually('following', 2_000, () => follower.health === 'following');
    const startedAt = performance.now();
    etcd.members[victim]?.signal(signal);
    let done = false;
    while (!done && performance.now() - startedAt < 10_000) {
      const result = await put(store, '/e/k', signal);
      done = result.ok;
    }
    const writeMs = performance.now() - startedAt;
    await eventually('mirror', 3_000, () => follower.snapshot?.keys.get('/e/k')?.value === signal);
    console.log(`etcd leader ${signal}: write ${Math.round(writeMs)} ms, mirror ${Math.round(performance.now() - startedAt)} ms`);
    expect(done).toBe(true);
    expect(follower.wentBack).toBe(false);
    if (signal === 'SIGKILL') etcd.members[victim]?.start();
  });

  it('members stopped and killed at random under writes -> no outcome is told wrongly, the mirror ends right and never went back', async () => {
    const store = open(0);
    const watcher = open(1);
    const follower = followPrefix(watcher, '/r/');
    // Each key is created exactly once, so whether a transaction was done can be read afterwards.
    const told = new Map<string, 'done' | 'not-done' | 'unknown'>();
    let stopping = false;
    let count = 0;
    const writing = (async () => {
      while (!stopping) {
        const key = `/r/${String((count += 1)).padStart(6, '0')}`;
        const result = await store.txn([{ kind: 'create', key, revision: 0 }], [{ kind: 'put', key, value: key, lease: null }]);
        told.set(
          key,
          result.ok ? (result.value.succeeded ? 'done' : 'not-done') : result.error.kind === 'unknown' ? 'unknown' : 'not-done',
        );
      }
    })();
    for (let round = 0; round < 6; round += 1) {
      const victim = round % 3;
      await eventually('some writes', 5_000, () => count % 7 === 0);
      const before = count;
      const kill = round >= 3;
      etcd.members[victim]?.signal(kill ? 'SIGKILL' : 'SIGSTOP');
      await eventually('writes go on', 10_000, () => count > before + 20);
      if (kill) etcd.members[victim]?.start();
      else etcd.members[victim]?.signal('SIGCONT');
      await etcd.leader();
    }
    stopping = true;
    await writing;
    const listed = await store.list('/r/');
    if (!listed.ok) throw new Error(listed.error.detail);
    const truth = listed.value.keys;
    const wrong = [...told].filter(
      ([key, outcome]) => (outcome === 'done' && !truth.has(key)) || (outcome === 'not-done' && truth.has(key)),
    );
    expect(wrong).toEqual([]);
    await eventually('mirror is whole', 3_000, () => follower.snapshot?.keys.size === truth.size);
    expect(follower.wentBack).toBe(false);
    const unknown = [...told.values()].filter((each) => each === 'unknown').length;
    console.log(`${told.size} writes under 6 faults: ${unknown} unknown; largest mirror gap ${Math.round(follower.largestGapMs)} ms`);
  }, 60_000);

  it('history compacted while the mirror is away -> it lists again and holds the final state', async () => {
    const leader = await etcd.leader();
    const victim = (leader + 1) % 3;
    const store = open(victim);
    const writer = open(leader);
    const follower = followPrefix(store, '/c/');
    await put(writer, '/c/gone', '1');
    await eventually('following', 2_000, () => follower.snapshot?.keys.has('/c/gone') === true);
    etcd.members[victim]?.signal('SIGSTOP');
    await writer.txn([], [{ kind: 'delete', key: '/c/gone' }]);
    for (let index = 0; index < 20; index += 1) await put(writer, '/c/k', String(index));
    await etcd.compact();
    await eventually('right', 3_000, () => follower.snapshot?.keys.get('/c/k')?.value === '19' && !follower.snapshot.keys.has('/c/gone'));
    etcd.members[victim]?.signal('SIGCONT');
    await put(writer, '/c/k', 'last');
    await eventually('still following', 3_000, () => follower.snapshot?.keys.get('/c/k')?.value === 'last');
    expect(follower.wentBack).toBe(false);
  });

  it('a majority stopped -> the one that is left is not believed: reads and writes fail, the mirror is lost, all is back soon after', async () => {
    const store = open(0);
    const follower = followPrefix(store, '/m/');
    await put(store, '/m/k', 'before');
    await eventually('following', 2_000, () => follower.health === 'following');
    etcd.members[1]?.signal('SIGSTOP');
    etcd.members[2]?.signal('SIGSTOP');
    const startedAt = performance.now();
    const read = await store.get('/m/k');
    expect(read).toMatchObject({ ok: false, error: { kind: 'unavailable' } });
    expect(performance.now() - startedAt).toBeLessThan(2_600);
    const lostMs = await eventually('mirror lost', 4_000, () => follower.health === 'lost');
    const answerBefore = store.lastAnswerAt();
    const write = await put(store, '/m/k', 'during');
    expect(write.ok).toBe(false);
    expect(store.lastAnswerAt()).toBe(answerBefore);
    etcd.members[1]?.signal('SIGCONT');
    etcd.members[2]?.signal('SIGCONT');
    const backMs = await eventually('writes', 5_000, async () => (await put(store, '/m/k', 'after')).ok);
    const mirrorMs = await eventually('mirror', 5_000, () => follower.snapshot?.keys.get('/m/k')?.value === 'after');
    console.log(
      `majority stopped: mirror lost by ${Math.round(lostMs)} ms more; back: write ${Math.round(backMs)} ms, mirror +${Math.round(mirrorMs)} ms`,
    );
  }, 30_000);

  it('all members killed and started again -> calls and mirror come back, nothing is lost', async () => {
    const store = open(0);
    const follower = followPrefix(store, '/k/');
    await put(store, '/k/k', 'before');
    await eventually('following', 2_000, () => follower.health === 'following');
    for (const each of etcd.members) each.signal('SIGKILL');
    await eventually('lost', 2_000, () => follower.health === 'lost');
    expect(await store.get('/k/k')).toMatchObject({ ok: false, error: { kind: 'unavailable' } });
    // Nobody listens: such a write surely never left.
    expect(await put(store, '/k/k', 'never')).toMatchObject({ ok: false, error: { kind: 'unavailable' } });
    for (const each of etcd.members) each.start();
    await etcd.leader();
    const startedAt = performance.now();
    await eventually('reads', 3_000, async () => (await store.get('/k/k')).ok);
    expect(await value(store, '/k/k')).toBe('before');
    await eventually('following', 3_000, () => follower.health === 'following');
    console.log(`all killed and back: reads and mirror ${Math.round(performance.now() - startedAt)} ms after etcd's leader`);
  }, 30_000);

  it('a member cut off from the others that still answers -> the mirror does not stay with it', async () => {
    // A stopped majority as seen from the member that is left: it refuses watches that require a leader.
    const store = open(0);
    const follower = followPrefix(store, '/x/');
    await eventually('following', 2_000, () => follower.health === 'following');
    etcd.members[1]?.signal('SIGSTOP');
    etcd.members[2]?.signal('SIGSTOP');
    const lostMs = await eventually('lost', 5_000, () => follower.health === 'lost');
    console.log(`minority member left after ${Math.round(lostMs)} ms`);
  }, 30_000);

  it('quiet for two seconds -> the mirror stays with its member and says nothing', async () => {
    const store = open(0);
    const follower = followPrefix(store, '/q/');
    await eventually('following', 2_000, () => follower.health === 'following');
    const states: string[] = [];
    const until = performance.now() + 2_000;
    await eventually('two seconds', 3_000, () => {
      states.push(follower.health);
      return performance.now() > until;
    });
    expect(new Set(states)).toEqual(new Set(['following']));
  });
});
