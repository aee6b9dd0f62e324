// The lease keeper on virtual time: when it believes in its lease, and how it gets a lost one back.

import { describe, expect, it } from 'vitest';
import { keepLease, type LeaseKeeper } from '../../../shared/lease.js';
import { fakeClock, fakeLog, fakeRandom } from '../../fakes/clock.js';
import { fakeEtcd } from '../../fakes/store.js';

const HOST = '/colo/t/hosts/a';
const INVENTORY = '/colo/t/inventory/a';

function stage(ttlMs = 3_000) {
  const clock = fakeClock();
  const etcd = fakeEtcd(clock);
  const store = etcd.connect();
  const told: string[] = [];
  let value = 'one';
  const keeper: LeaseKeeper = keepLease(
    { clock, random: fakeRandom(), log: fakeLog(), store },
    {
      ttlMs,
      keys: () => [
        { key: HOST, value, leased: true },
        { key: INVENTORY, value, leased: false },
      ],
    },
    { held: () => told.push('held'), lost: () => told.push('lost') },
  );
  const held = (): boolean => keeper.state().kind === 'held';
  return { clock, etcd, store, told, keeper, held, setValue: (next: string) => (value = next) };
}

describe('lease keeper', () => {
  it('store reachable -> lease held, host key under it, inventory key without it', async () => {
    const { clock, etcd, keeper, held } = stage();
    await clock.until('held', 1_000, held);
    const state = keeper.state();
    expect(etcd.read(HOST)?.lease).toBe(state.kind === 'held' ? state.lease : '');
    expect(etcd.read(INVENTORY)?.lease).toBe('0');
  });

  it('a long quiet time -> the same lease is still held', async () => {
    const { clock, etcd, told, held } = stage();
    await clock.until('held', 1_000, held);
    const before = etcd.leases();
    await clock.advance(60_000);
    expect(held()).toBe(true);
    expect(etcd.leases()).toEqual(before);
    expect(told).toEqual(['held']);
  });

  it('somebody empties the store, and the lease lives -> the keys are written again under it', async () => {
    const { clock, etcd, told, held } = stage();
    await clock.until('held', 1_000, held);
    const before = etcd.leases();
    for (const key of [HOST, INVENTORY]) etcd.remove(key);
    await clock.until('the keys are back', 7_000, () => etcd.read(HOST) !== null && etcd.read(INVENTORY) !== null);
    expect([etcd.leases(), etcd.read(HOST)?.lease, told]).toEqual([before, before[0], ['held']]);
  });

  it('no acknowledged keepalive -> lost by the own clock within the TTL counted from sending, before the store lets it go', async () => {
    const { clock, etcd, store, told, held } = stage();
    await clock.until('held', 1_000, held);
    await clock.advance(1_700);
    store.cut(true);
    const cutAt = clock.now();
    await clock.until('lost', 4_000, () => !held());
    expect(clock.now() - cutAt).toBeLessThanOrEqual(3_000);
    expect(told).toEqual(['held', 'lost']);
    expect(etcd.read(HOST)).not.toBeNull();
    await clock.advance(1_000);
    expect(etcd.read(HOST)).toBeNull();
  });

  it('cut off until the lease is gone, then back -> a new lease with the keys under it', async () => {
    const { clock, etcd, store, told, held } = stage();
    await clock.until('held', 1_000, held);
    const [first] = etcd.leases();
    store.cut(true);
    await clock.advance(20_000);
    expect(etcd.leases()).toEqual([]);
    expect(etcd.read(INVENTORY)?.value).toBe('one');
    store.cut(false);
    await clock.until('held again', 1_500, held);
    expect(etcd.read(HOST)?.lease).not.toBe(first);
    expect(told).toEqual(['held', 'lost', 'held']);
  });

  it('etcd without a quorum for 10 s, leases living on -> lost meanwhile, the same lease held again afterwards', async () => {
    const { clock, etcd, told, held } = stage();
    await clock.until('held', 1_000, held);
    const before = etcd.leases();
    etcd.down(true);
    await clock.advance(10_000);
    expect(held()).toBe(false);
    etcd.down(false);
    await clock.until('held again', 1_500, held);
    expect(etcd.leases()).toEqual(before);
    expect(told).toEqual(['held', 'lost', 'held']);
  });

  it('a live lease revoked by the store (etcd 3.4) -> made again within a sixth of the TTL', async () => {
    const { clock, etcd, keeper, held } = stage();
    await clock.until('held', 1_000, held);
    const [lease] = etcd.leases();
    etcd.revoke(lease ?? '');
    expect(etcd.read(HOST)).toBeNull();
    await clock.until('keys back', 520, () => etcd.read(HOST) !== null);
    await clock.settle();
    await clock.advance(5);
    expect(keeper.state()).toMatchObject({ kind: 'held', lease: etcd.read(HOST)?.lease });
  });

  it('keys change -> written again at once under the same lease', async () => {
    const { clock, etcd, keeper, held, setValue } = stage();
    await clock.until('held', 1_000, held);
    const lease = etcd.read(HOST)?.lease;
    setValue('two');
    keeper.refresh();
    await clock.until('written', 50, () => etcd.read(HOST)?.value === 'two' && etcd.read(INVENTORY)?.value === 'two');
    expect(etcd.read(HOST)?.lease).toBe(lease);
  });

  it('outcome of writing the keys unknown -> not held until they are written', async () => {
    const { clock, etcd, store, held } = stage();
    store.nextTxn('unknown-undone');
    await clock.advance(10);
    expect(held()).toBe(false);
    await clock.until('held', 1_000, held);
    expect(etcd.read(HOST)?.value).toBe('one');
  });

  it('closed -> lease revoked, keys gone, nothing is told or done any more', async () => {
    const { clock, etcd, keeper, told, held } = stage();
    await clock.until('held', 1_000, held);
    const closing = keeper.close();
    await clock.advance(10);
    await closing;
    expect(etcd.leases()).toEqual([]);
    expect(etcd.read(HOST)).toBeNull();
    const revision = etcd.revision();
    await clock.advance(20_000);
    expect(etcd.revision()).toBe(revision);
    expect(told).toEqual(['held']);
  });

  it('the process was paused for longer than the TTL -> it does not believe in its lease when it wakes', async () => {
    const { clock, held } = stage();
    await clock.until('held', 1_000, held);
    clock.pause(10_000);
    expect(held()).toBe(false);
    await clock.advance(1_500);
    expect(held()).toBe(true);
  });
});
