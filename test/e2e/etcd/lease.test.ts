// The lease keeper on three real members: what happens to the members must not reach the keys that stand for a process.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../shared/io/clock.js';
import { openStore, type OpenStore } from '../../../shared/io/etcd/store.js';
import { systemRandom } from '../../../shared/io/random.js';
import { keepLease, type LeaseKeeper } from '../../../shared/lease.js';
import { fakeLog } from '../../fakes/clock.js';
import { eventually, staysTrue } from '../../support/wait.js';
import { etcdBinary, startEtcd, whySkipped, type EtcdCluster } from './cluster.js';

const suite = etcdBinary === null ? describe.skip : describe;
const HOST = '/lease/hosts/a';

suite(etcdBinary === null ? `lease keeper on etcd (skipped: ${whySkipped})` : 'lease keeper on etcd', () => {
  let etcd: EtcdCluster;
  let store: OpenStore;
  let keeper: LeaseKeeper;
  const told: string[] = [];
  const held = (): boolean => keeper.state().kind === 'held';
  const there = async (): Promise<boolean> => {
    const read = await store.get(HOST);
    return read.ok && read.value.kv !== null;
  };

  beforeAll(async () => {
    etcd = await startEtcd(3);
    store = openStore(etcd.endpoints, systemClock(), fakeLog());
    keeper = keepLease(
      { clock: systemClock(), random: systemRandom(), log: fakeLog(), store },
      { ttlMs: 3_000, keys: () => [{ key: HOST, value: '1', leased: true }] },
      { held: () => told.push('held'), lost: () => told.push('lost') },
    );
    await eventually('held', 5_000, held);
  }, 30_000);
  afterAll(async () => {
    await keeper?.close();
    store?.close();
    await etcd?.stop();
  });

  it('each member stopped for four seconds in turn, the leading one too -> never lost', async () => {
    for (const member of etcd.members) {
      member.signal('SIGSTOP');
      await staysTrue(held, { what: 'the lease is held', boundMs: 4_000 });
      member.signal('SIGCONT');
      await etcd.leader();
    }
    expect(told).toEqual(['held']);
    expect(await there()).toBe(true);
  }, 60_000);

  it("etcd's leader killed -> never lost", async () => {
    const victim = await etcd.leader();
    etcd.members[victim]?.signal('SIGKILL');
    await staysTrue(held, { what: 'the lease is held', boundMs: 5_000 });
    etcd.members[victim]?.start();
    expect(await there()).toBe(true);
  }, 30_000);

  it('the lease revoked by hand -> keys are back within a second', async () => {
    const state = keeper.state();
    if (state.kind !== 'held') throw new Error('not held');
    await store.revokeLease(state.lease);
    const ms = await eventually('keys are back', 1_000, there);
    console.log(`revoked lease made again in ${Math.round(ms)} ms`);
  });

  it('all members stopped for ten seconds -> lost meanwhile, held again within 2 s of their return', async () => {
    for (const each of etcd.members) each.signal('SIGSTOP');
    await eventually('lost', 4_000, () => !held());
    await staysTrue(() => !held(), { what: 'the lease stays lost', boundMs: 6_000 });
    for (const each of etcd.members) each.signal('SIGCONT');
    const ms = await eventually('held again', 5_000, held);
    console.log(`held again ${Math.round(ms)} ms after all members came back`);
    expect(ms).toBeLessThan(2_000);
    expect(await there()).toBe(true);
  }, 60_000);
});
