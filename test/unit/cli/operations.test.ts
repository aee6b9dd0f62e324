// coloctl where the operator knows more than the table: release, recover, a forced failover, and the question why.

import { describe, expect, it } from 'vitest';
import { epoch, incarnation } from '../../../shared/core/ids.js';
import { vmWantedCodec } from '../../../shared/core/codec.js';
import type { VmReport } from '../../../shared/core/model.js';
import { aCluster, aLink, aRecord, aReport, aWish, KEYS } from '../../support/cluster.js';

const UID = '0123456789abcdef0123456789abcdef';
const FILE = 'name: web\nmemory: 96M\nmachine: pc-i440fx-11.1\ndisks:\n  - size: 64M\nnics:\n  - mac: 52:54:00:12:34:56\n';

const alone = (since: number, uid = 'u1'): VmReport =>
  aReport({
    uid: uid as never,
    epoch: epoch(since),
    qemu: { kind: 'alive', born: epoch(1), pid: 1, role: 'alone', runstate: 'running' },
    aloneSince: epoch(since),
    disk: { diskId: 'd' as never, stampEpoch: epoch(since), state: 'clean', images: ['/i'], replication: 'none', localError: false },
  });

const wantedOf = (cluster: ReturnType<typeof aCluster>) => {
  const kv = cluster.etcd.read(KEYS.spec('web'));
  const decoded = kv === null ? null : vmWantedCodec.decode(kv.key, kv.value);
  return decoded?.ok === true ? decoded.value : null;
};

describe('coloctl vm release', () => {
  it('of a VM that is held -> its failovers until now count no more', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord({ phase: 'held', secondary: null, failoversAtMs: [100, 300, 200] }));
    await cluster.settle();
    const { exit, out } = await cluster.coloctl(['vm', 'release', 'web']);
    expect([exit, wantedOf(cluster)?.releasedAtMs]).toEqual([0, 300]);
    expect(out).toContain('VM web is released');
  });

  it('of a VM that never failed over -> nothing is written', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    const before = cluster.etcd.revision();
    expect((await cluster.coloctl(['vm', 'release', 'web'])).exit).toBe(0);
    expect(cluster.etcd.revision()).toBe(before);
  });
});

describe('coloctl status', () => {
  it('of a QEMU that etcd does not know -> a problem that names host, VM, uid and the way out, exit 4', async () => {
    const cluster = aCluster();
    cluster.links.set('a', aLink('a', { vms: [alone(9, UID)] }));
    await cluster.settle();
    const { exit, out } = await cluster.coloctl(['status']);
    expect(exit).toBe(4);
    expect(out).toMatch(
      new RegExp(`PROBLEM: store behind agents: VM "web" \\(uid ${UID}\\) has a QEMU on a .*--uid ${UID}, then coloctl recover`),
    );
  });

  it.each([
    ['dead', { qemu: { kind: 'dead', born: epoch(1), why: 'killed', guestShutdown: false } }],
    ['gone', { qemu: { kind: 'absent' } }],
  ] as const)('of one that is %s -> no problem', async (_, change) => {
    const cluster = aCluster();
    cluster.links.set('a', aLink('a', { vms: [{ ...alone(9, UID), ...change }] }));
    await cluster.settle();
    expect((await cluster.coloctl(['status'])).exit).toBe(0);
  });

  it('of a store that lost its cluster key -> what the coordinator says of it, exit 4', async () => {
    const cluster = aCluster();
    cluster.doubt('store behind agents: etcd has no cluster key');
    await cluster.settle();
    const { exit, out } = await cluster.coloctl(['status']);
    expect([exit, out.includes('PROBLEM: store behind agents: etcd has no cluster key')]).toEqual([4, true]);
  });

  it.each([
    ['the leader decided so', true, { row: 'store-behind-agents', reason: 'store behind agents: a ...', hold: true }, 'both sides', 4],
    ['a follower reads it in the record', false, null, 'store behind agents: a has obeyed epoch 9', 4],
    ['a follower is a moment behind', false, null, 'both sides in lock-step', 0],
  ] as const)('of a VM that hosts know more of, and %s -> its exit code', async (_, leads, decision, reason, exit) => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord({ reason }));
    if (leads) cluster.decisions.set('web', decision);
    cluster.links.set('a', aLink('a', { vms: [aReport({ epoch: epoch(9) })] }));
    await cluster.settle();
    expect((await cluster.coloctl(['status'])).exit).toBe(exit);
  });
});

describe('coloctl recover', () => {
  async function emptied() {
    const cluster = aCluster();
    cluster.links.set('a', aLink('a', { incarnation: incarnation('old'), vms: [alone(9, UID)] }));
    await cluster.settle();
    return cluster;
  }

  it('after the VM was defined with its uid -> says what it found and wrote, and the guest stays wanted running', async () => {
    const cluster = await emptied();
    const defined = await cluster.coloctl(['vm', 'define', '-f', 'vm.yaml', '--uid', UID], { 'vm.yaml': FILE });
    expect(defined.out).toContain('Adopt what runs: coloctl recover');
    const dry = await cluster.coloctl(['recover', '--dry-run']);
    expect(dry.out).toContain('Nothing was changed (--dry-run).');
    expect(cluster.etcd.read(KEYS.cluster)).toBeNull();
    const { exit, out } = await cluster.coloctl(['recover']);
    expect(exit).toBe(0);
    expect(out).toContain(`VM web (${UID})`);
    expect(out).toContain('found    a: has obeyed epoch 9; QEMU alive, alone, pair ok, alone since epoch 9; disk clean of epoch 9');
    expect(out).toMatch(/record {3}is now solo, epoch \d+: recovered: it runs alone on a/);
    expect(wantedOf(cluster)?.wanted).toBe('running');
    expect((await cluster.coloctl(['status'])).exit).toBe(3);
    expect((await cluster.coloctl(['recover'])).out).toContain('Nothing is to be mended');
  });

  it('before that -> names the QEMU and what to do, exit 4', async () => {
    const { exit, out } = await (await emptied()).coloctl(['recover', '--dry-run']);
    expect(exit).toBe(4);
    expect(out).toContain(`coloctl vm define -f FILE --uid ${UID}`);
  });

  it('while a host is not heard -> refused, with the words to say that it is off', async () => {
    const cluster = await emptied();
    await cluster.coloctl(['vm', 'define', '-f', 'vm.yaml', '--uid', UID], { 'vm.yaml': FILE });
    cluster.links.set('c', aLink('c', {}, false));
    const { exit, err } = await cluster.coloctl(['recover']);
    expect(exit).toBe(1);
    expect(err).toContain('not heard: c.');
    expect(err).toContain('--without c');
    expect((await cluster.coloctl(['recover', '--without', 'c'])).exit).toBe(0);
  });

  it('while an agent says what this version does not know -> refused, because what it has is not known', async () => {
    const cluster = await emptied();
    await cluster.coloctl(['vm', 'define', '-f', 'vm.yaml', '--uid', UID], { 'vm.yaml': FILE });
    const strange = ['vms[0].disk.state: unknown word "new", read as missing'];
    cluster.links.set('b', { ...aLink('b', {}), strange });
    const { exit, err } = await cluster.coloctl(['recover']);
    expect(exit).toBe(1);
    expect(err).toContain(
      `the agent of b says what this version does not know: ${strange[0]}. Upgrade the coordinators. Nothing was changed`,
    );
    expect((await cluster.coloctl(['status'])).out).toContain(`b says what one does not know (upgrade it): ${strange[0]}`);
  });

  it('of a VM that is not there -> says so', async () => {
    expect((await aCluster().coloctl(['recover', 'nothing'])).err).toContain('there is no VM "nothing"');
  });

  it('define with --uid and --start -> wrong usage, because what runs is to be adopted first', async () => {
    expect((await (await emptied()).coloctl(['vm', 'define', '-f', 'v', '--uid', UID, '--start'], { v: FILE })).exit).toBe(2);
    expect((await (await emptied()).coloctl(['vm', 'define', '-f', 'v', '--uid', 'x'], { v: FILE })).exit).toBe(2);
  });
});

describe('coloctl failover', () => {
  it.each([
    ['without --force', ['failover', 'web', '--declare-off', 'a']],
    ['without a declaration', ['failover', 'web', '--force']],
  ])('%s -> wrong usage', async (_, args) => {
    expect((await aCluster().coloctl(args)).exit).toBe(2);
  });

  it('of a pair whose primary is silent, declared off -> the secondary, in a new epoch', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    cluster.links.set('a', aLink('a', {}, false));
    const secondary = aReport({
      qemu: { kind: 'alive', born: epoch(2), pid: 1, role: 'secondary', runstate: 'running' },
      term: 0 as never,
    });
    cluster.links.set('b', aLink('b', { vms: [secondary] }));
    cluster.etcd.put(KEYS.leader, 'x');
    await cluster.settle();
    const { exit, out } = await cluster.coloctl(['failover', 'web', '--force', '--declare-off', 'a']);
    expect(exit).toBe(0);
    expect(out).toContain('an operator declared a powered off: b goes on');
    await cluster.settle();
    expect((await cluster.coloctl(['history', 'web', '-o', 'json'])).out).toContain('"by": "operator"');
  });
});

describe('coloctl explain', () => {
  it('-> the row that holds, why there is such a row, each side, and what is ordered', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    cluster.links.set('a', aLink('a', { vms: [aReport({ term: 0 as never })] }));
    cluster.links.set('b', aLink('b', {}, false));
    await cluster.settle();
    const { exit, out } = await cluster.coloctl(['explain', 'web']);
    expect(exit).toBe(0);
    expect(out).toMatch(/Row now +well\n/);
    expect(out).toMatch(/Why +QEMU itself made progress on one side a moment ago/);
    expect(out).toMatch(/Secondary +b: qemu unheard/);
  });
});
