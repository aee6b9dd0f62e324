// Leadership on virtual time: who leads, who believes to lead, and what a wrong belief can do (nothing).

import { describe, expect, it } from 'vitest';
import { createLeadership, guardOf, type Leadership, type LeadershipState } from '../../../coordinator/leadership.js';
import { coordinatorKeyCodec } from '../../../shared/core/codec.js';
import { keysOf } from '../../../shared/core/keys.js';
import { fakeClock, fakeLog, fakeRandom, type FakeClock } from '../../fakes/clock.js';
import { fakeEtcd, type FakeEtcd, type FakeStore } from '../../fakes/store.js';

const keys = keysOf('/colo/t');
const TTL_MS = 3_000;

interface Candidate {
  readonly store: FakeStore;
  readonly leadership: Leadership;
  readonly changes: LeadershipState[];
  fit: boolean;
  leads(): boolean;
}

function candidate(clock: FakeClock, etcd: FakeEtcd, name: string, seed: number, address = `${name}:1`): Candidate {
  const store = etcd.connect();
  const changes: LeadershipState[] = [];
  const made = { fit: true };
  const leadership = createLeadership(
    { clock, random: fakeRandom(seed), log: fakeLog(), store },
    { keys, name, address, ttlMs: TTL_MS, fit: () => made.fit },
    { changed: (state) => changes.push(state) },
  );
  return Object.assign(made, { store, leadership, changes, leads: () => leadership.state().kind === 'leader' });
}

function stage() {
  const clock = fakeClock();
  const etcd = fakeEtcd(clock);
  const all = ['a', 'b', 'c'].map((name, index) => candidate(clock, etcd, name, index + 1));
  const leaders = (): Candidate[] => all.filter((each) => each.leads());
  const settled = async (): Promise<{ leader: Candidate; others: Candidate[] }> => {
    await clock.until('one leader', 2_000, () => leaders().length === 1);
    await clock.advance(300);
    const leader = all.find((each) => each.leads());
    if (leader === undefined) throw new Error('no leader');
    return { leader, others: all.filter((each) => each !== leader) };
  };
  const leader = (): string | null => {
    const kv = etcd.read(keys.leader);
    const value = kv === null ? null : coordinatorKeyCodec.decode(kv.key, kv.value);
    return value?.ok === true ? value.value.name : null;
  };
  return { clock, etcd, all, leaders, settled, leader };
}

describe('leadership', () => {
  it('three candidates on an empty store -> exactly one leader, whose term is the mod revision of the key', async () => {
    const { etcd, all, leaders, settled } = stage();
    const { leader, others } = await settled();
    expect(leaders()).toHaveLength(1);
    expect(leader.leadership.state()).toEqual({ kind: 'leader', term: etcd.read(keys.leader)?.modRevision });
    expect(leader.leadership.guard()).toEqual(guardOf(keys, leader.leadership.state().term));
    for (const other of others) {
      expect(other.leadership.state()).toMatchObject({ kind: 'follower', term: etcd.read(keys.leader)?.modRevision });
      expect(other.leadership.guard().revision).toBe(-1);
    }
    expect(all.every((each) => etcd.read(keys.member(nameOf(each))) !== null)).toBe(true);
  });

  it('ten quiet minutes -> the same leader and the same term', async () => {
    const { clock, settled } = stage();
    const { leader } = await settled();
    const before = leader.leadership.state();
    await clock.advance(600_000);
    expect(leader.leadership.state()).toEqual(before);
    expect(leader.changes).toHaveLength(2);
  });

  it('leader resigns -> another leads within 100 ms', async () => {
    const { clock, settled, leaders } = stage();
    const { leader } = await settled();
    const closing = leader.leadership.close();
    expect(leader.leads()).toBe(false);
    await clock.until('another leader', 100, () => leaders().length === 1);
    await closing;
    expect(leaders()[0]).not.toBe(leader);
  });

  it('leader cut off from the store, nobody suspects it -> it stops believing within its TTL and another leads after the lease', async () => {
    const { clock, settled, leaders } = stage();
    const { leader } = await settled();
    leader.store.cut(true);
    await clock.until('it stops', TTL_MS, () => !leader.leads());
    await clock.until('another', 1_500, () => leaders().length === 1);
    expect(leaders()[0]).not.toBe(leader);
  });

  it('stores cut and mended at random, nobody suspected -> never two leaders at one instant', async () => {
    const { clock, all, settled, leaders } = stage();
    await settled();
    const random = fakeRandom(99);
    for (let round = 0; round < 60; round += 1) {
      const victim = all[Math.floor(random.fraction() * 3)];
      victim?.store.cut(random.fraction() < 0.5);
      for (let step = 0; step < 40; step += 1) {
        await clock.advance(25);
        expect(leaders().length).toBeLessThanOrEqual(1);
      }
    }
    for (const each of all) each.store.cut(false);
    await clock.until('one again', 10_000, () => leaders().length === 1);
  });

  it('leader dead and suspected -> a follower takes the key over without waiting for the lease', async () => {
    const { clock, settled, etcd } = stage();
    const { leader, others } = await settled();
    const before = leader.leadership.state().term;
    leader.store.cut(true);
    for (const each of others) each.leadership.suspectLeader('connection refused');
    await clock.until('another leader', 150, () => others.some((each) => each.leads()));
    expect(others.filter((each) => each.leads())).toHaveLength(1);
    expect(etcd.read(keys.leader)?.modRevision).toBeGreaterThan(before);
  });

  it('leader wrongly suspected -> it learns that it leads no more and its guard fails', async () => {
    const { clock, settled } = stage();
    const { leader, others } = await settled();
    const guard = leader.leadership.guard();
    others[0]?.leadership.suspectLeader('silent');
    await clock.until('taken over', 200, () => others[0]?.leads() === true && !leader.leads());
    const decision = leader.store.txn([guard], [{ kind: 'put', key: '/colo/t/x', value: '1', lease: null }]);
    await clock.advance(10);
    expect(await decision).toMatchObject({ ok: true, value: { succeeded: false } });
    expect(leader.changes.at(-1)).toMatchObject({ kind: 'follower', leader: nameOf(others[0]) });
  });

  it('suspicion taken back before the hold-off ends -> nothing happens', async () => {
    const { clock, settled } = stage();
    const { leader, others } = await settled();
    others[0]?.leadership.suspectLeader('silent');
    others[0]?.leadership.trustLeader();
    await clock.advance(1_000);
    expect(leader.leads()).toBe(true);
  });

  it('an unfit follower suspects a living leader -> it does not take over; with nobody leading it does', async () => {
    const { clock, settled, leaders } = stage();
    const { leader, others } = await settled();
    for (const each of others) each.fit = false;
    for (const each of others) each.leadership.suspectLeader('silent');
    await clock.advance(1_000);
    expect(leader.leads()).toBe(true);
    void leader.leadership.close();
    await clock.until('another', 200, () => leaders().length === 1);
  });

  it('two coordinators that do not hear each other -> changes of leader become rare', async () => {
    const { clock, settled, etcd, all } = stage();
    await settled();
    let changes = 0;
    let last = 0;
    for (let elapsed = 0; elapsed < 60_000; elapsed += 100) {
      for (const each of all) if (!each.leads()) each.leadership.suspectLeader('silent');
      await clock.advance(100);
      const now = etcd.read(keys.leader)?.modRevision ?? 0;
      if (now !== last) changes += 1;
      last = now;
    }
    expect(changes).toBeLessThan(25);
  });

  it('outcome of the candidacy unknown though done -> it finds out that it leads', async () => {
    const clock = fakeClock();
    const etcd = fakeEtcd(clock);
    const only = candidate(clock, etcd, 'a', 1);
    await clock.until('lease', 500, () => etcd.read(keys.member('a')) !== null);
    only.store.nextTxn('unknown-done');
    await clock.until('leads', 500, only.leads);
    expect(only.leadership.state().term).toBe(etcd.read(keys.leader)?.modRevision);
  });

  it('outcome of the candidacy unknown and undone -> it tries again', async () => {
    const clock = fakeClock();
    const etcd = fakeEtcd(clock);
    const only = candidate(clock, etcd, 'a', 1);
    await clock.until('lease', 500, () => etcd.read(keys.member('a')) !== null);
    only.store.nextTxn('unknown-undone');
    await clock.until('leads', 1_000, only.leads);
  });

  it('a candidacy carried out late, after another one won -> its compare fails and nobody is confused', async () => {
    const { clock, settled, leaders } = stage();
    const { others } = await settled();
    const [slow, quick] = others;
    slow?.store.nextTxn({ lateMs: 500 });
    slow?.leadership.suspectLeader('silent');
    await clock.advance(100);
    quick?.leadership.suspectLeader('silent');
    await clock.advance(2_000);
    expect(leaders()).toHaveLength(1);
  });

  it('live lease of the leader revoked (etcd 3.4) -> a leader again within a second, with a new term', async () => {
    const { clock, settled, etcd, leaders } = stage();
    const { leader } = await settled();
    const before = leader.leadership.state().term;
    etcd.revoke(etcd.read(keys.leader)?.lease ?? '');
    await clock.until('a new term', 1_000, () => leaders().some((each) => each.leadership.state().term > before));
    expect(leaders()).toHaveLength(1);
  });

  it('etcd without a quorum for 10 s -> nobody leads, then somebody does within 2 s of its return', async () => {
    const { clock, settled, etcd, leaders } = stage();
    await settled();
    etcd.down(true);
    await clock.advance(10_000);
    expect(leaders()).toHaveLength(0);
    etcd.down(false);
    await clock.until('a leader', 2_000, () => leaders().length === 1);
  });

  it('the only coordinator was killed and comes back at its address -> it leads without waiting for the old lease', async () => {
    const clock = fakeClock();
    const etcd = fakeEtcd(clock);
    const first = candidate(clock, etcd, 'a', 1);
    await clock.until('leads', 500, first.leads);
    first.store.cut(true);
    const second = candidate(clock, etcd, 'a', 2);
    await clock.until('leads again', 300, second.leads);
  });

  it('leader paused for 10 s while another took over -> it wakes as no leader', async () => {
    const { clock, settled, leaders } = stage();
    const { leader, others } = await settled();
    leader.store.freezeMirrors();
    others[0]?.leadership.suspectLeader('silent');
    await clock.until('taken over', 300, () => others[0]?.leads() === true);
    // Its mirror shows nothing yet: it may believe, but what it decides is refused.
    const decision = leader.store.txn([leader.leadership.guard()], []);
    leader.store.cut(false);
    await clock.advance(50);
    expect(await decision).toMatchObject({ ok: true, value: { succeeded: false } });
    expect(leaders()).toEqual([others[0]]);
  });
});

function nameOf(each: Candidate | undefined): string {
  const state = each?.leadership.state();
  if (each === undefined || state === undefined) return '';
  return (
    ['a', 'b', 'c'].find((name) => each.store.carriedOut.some((txn) => txn.writes.some((write) => write.key === keys.member(name)))) ?? ''
  );
}
