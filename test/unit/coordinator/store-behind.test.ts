// A store that was restored, emptied or replaced: nothing is decided and nothing destroyed, status says so, and `recover` makes the records
// follow what the hosts have, so that agents obey again.

import { afterEach, describe, expect, it } from 'vitest';
import { judgeOrder } from '../../../agent/core/orders.js';
import { whyNotNamed } from '../../../coordinator/core/incarnation.js';
import { decide } from '../../../coordinator/core/decide.js';
import { storeBehind } from '../../../coordinator/core/transitions-store.js';
import { clusterCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import { epoch, incarnation, term } from '../../../shared/core/ids.js';
import { PHASES, type Cluster, type Order, type VmRecord } from '../../../shared/core/model.js';
import { controlWorld, keys, type ControlWorld } from '../../support/control.js';
import { aLink } from '../../support/cluster.js';
import { aHost, aRecord, aReport, aView } from '../../support/views.js';
import { aJournal, aQemu } from '../agent-loop/builders.js';

let open: ControlWorld | null = null;
afterEach(() => {
  open?.close();
  open = null;
});

async function aPair(): Promise<ControlWorld> {
  const world = controlWorld();
  open = world;
  world.define();
  await world.phase('protected');
  return world;
}

const uid = 'uid-1';
const clusterOf = (world: ControlWorld): Cluster | null => {
  const kv = world.etcd.read(keys.cluster);
  const decoded = kv === null ? null : clusterCodec.decode(kv.key, kv.value);
  return decoded?.ok === true ? decoded.value : null;
};

/** etcd as a snapshot had it. */
function restore(world: ControlWorld, record: VmRecord): void {
  world.etcd.put(keys.record('demo'), vmRecordCodec.encode(record));
}

async function recover(world: ControlWorld, change: { without?: readonly string[]; disk?: string; dryRun?: boolean } = {}) {
  const { without = [], disk = null, dryRun = false } = change;
  return world.done(world.first.operations.recover({ vms: [], without, disk, dryRun }));
}

describe('the row before all others', () => {
  const behind = { hosts: [aHost('host1', { report: aReport(1, { epoch: epoch(9) }) })] };

  it.each(PHASES)('in phase %s, a host has obeyed a later epoch -> no edge, no order, and the way out', (phase) => {
    const decision = decide(aView({ ...behind, record: aRecord({ phase }) }));
    expect(decision).toMatchObject({ kind: 'act', row: 'store-behind-agents', orders: [], hold: true });
    expect(decision).toMatchObject({ reason: expect.stringMatching(/^store behind agents: host1 .* epoch 9.*coloctl recover/) as string });
  });

  it('a host has obeyed a later term -> the same, and not when the base makes up for it', () => {
    const hosts = [aHost('host1', { report: aReport(1, { term: term(500) }) })];
    expect(decide(aView({ hosts }))).toMatchObject({ row: 'store-behind-agents' });
    expect(storeBehind(aView({ hosts, termBase: 500 }))).toBeNull();
  });

  it('hosts as far as the record -> it does not hold', () => {
    expect(storeBehind(aView({ hosts: [aHost('host1', { report: aReport(1) }), aHost('host2')] }))).toBeNull();
  });
});

describe('the life of a VM with faults', () => {
  it('-> the store is never found behind by a leader whose store is whole', async () => {
    const world = controlWorld();
    open = world;
    world.define();
    const rows = new Set<string>();
    const look = (): void => {
      rows.add(world.first.decision()?.row ?? '');
      world.clock.after(1, look);
    };
    look();
    for (let round = 0; round < 3; round += 1) {
      await world.phase('protected');
      world.agents.host(world.record()?.primary?.host ?? '').killQemu('demo');
      await world.phase('solo');
    }
    await world.phase('protected');
    expect([...rows]).not.toContain('store-behind-agents');
  });
});

describe('a restored snapshot', () => {
  it('that knows less -> no edge and no order, whatever dies, until recover', async () => {
    const world = await aPair();
    const old = world.record();
    world.agents.host('host1').killQemu('demo');
    await world.phase('solo');
    await world.phase('protected');
    world.first.close();
    void world.first.leadership.close();
    if (old !== null) restore(world, old);
    const second = world.coordinator('two');
    await world.clock.until('another leads', 30_000, () => second.decision() !== null);
    const orders = world.given('destroy', 'release-primary', 'release-secondary', 'start-alone').length;
    world.agents.host('host2').killQemu('demo');
    await world.clock.advance(30_000);
    expect(world.record()).toMatchObject({ phase: 'protected', epoch: old?.epoch });
    expect(second.decision()).toMatchObject({ row: 'store-behind-agents', hold: true });
    expect(world.given('destroy', 'release-primary', 'release-secondary', 'start-alone')).toHaveLength(orders);
  });

  it('and recover -> a new incarnation, an epoch above all, the pair untouched, and the next fault is dealt with', async () => {
    const world = await aPair();
    const old = world.record();
    world.agents.host('host1').killQemu('demo');
    await world.phase('solo');
    await world.phase('protected');
    const [newest, sides] = [world.record()?.epoch ?? 0, [world.record()?.primary, world.record()?.secondary]];
    if (old !== null) restore(world, old);
    await world.clock.advance(1_000);
    const before = world.given('stop', 'destroy', 'release-primary', 'release-secondary').length;

    const dry = await recover(world, { dryRun: true });
    expect(dry).toMatchObject({ ok: true, value: { vms: [{ plan: { kind: 'write', record: { phase: 'protected' } } }] } });
    expect(clusterOf(world)?.incarnation).toBe('inc');

    expect(await recover(world)).toMatchObject({ ok: true });
    expect(world.record()).toMatchObject({ phase: 'protected', primary: sides[0], secondary: sides[1] });
    // `protected` itself ordered nothing, so no host knows of its epoch; the new one must be above it all the same.
    expect(world.record()?.epoch).toBeGreaterThan(newest);
    expect(clusterOf(world)?.incarnation).not.toBe('inc');
    expect(world.history().at(-1)).toMatchObject({ by: 'operator', row: 'recovered' });
    await world.clock.advance(5_000);
    expect(world.given('stop', 'destroy', 'release-primary', 'release-secondary')).toHaveLength(before);

    world.agents.host(sides[0]?.host ?? '').killQemu('demo');
    await world.phase('solo');
    expect(world.record()?.primary?.host).toBe(sides[1]?.host);
    await world.phase('protected');
  });

  it('and recover a second time -> finds nothing to mend', async () => {
    const world = await aPair();
    const first = await recover(world);
    expect(first).toMatchObject({ ok: true, value: { incarnation: null, vms: [{ plan: { kind: 'agrees' } }] } });
    expect(clusterOf(world)?.incarnation).toBe('inc');
  });

  it('while a host is not heard -> refused with its name, unless it is declared off; and a host that is heard is not off', async () => {
    const world = await aPair();
    restore(world, aRecord({ epoch: epoch(1) }));
    world.agents.host('host3').heard = false;
    await world.clock.advance(1_000);
    const refused = await recover(world);
    expect(refused.ok ? '' : refused.error.detail).toMatch(/^not heard: host3.*--without host3/);
    const wrong = await recover(world, { without: ['host1'] });
    expect(wrong.ok ? '' : wrong.error.detail).toMatch(/host1 is not powered off/);
    expect(world.record()?.epoch).toBe(1);
    expect(await recover(world, { without: ['host3'] })).toMatchObject({ ok: true });
    expect(world.record()?.epoch).toBeGreaterThan(4);
  });
});

describe('an emptied store', () => {
  async function emptied(): Promise<ControlWorld> {
    const world = await aPair();
    world.etcd.remove(keys.spec('demo'));
    world.etcd.remove(keys.record('demo'));
    world.etcd.remove(keys.cluster);
    await world.clock.advance(1_000);
    return world;
  }

  it('-> the QEMUs go on, nobody is ordered anything, and recover names them', async () => {
    const world = await emptied();
    const orders = world.given('stop', 'destroy', 'start-alone').length;
    await world.clock.advance(30_000);
    expect(world.given('stop', 'destroy', 'start-alone')).toHaveLength(orders);
    const found = await recover(world, { dryRun: true });
    expect(found.ok ? found.value.unknown : []).toEqual([expect.stringContaining(`VM "demo" (uid ${uid}) has a QEMU on host1 and host2`)]);
  });

  it('and the VM is defined again with its uid -> nothing happens to it before recover, which adopts the pair as it is', async () => {
    const world = await emptied();
    world.define({ wanted: 'stopped' });
    const orders = world.given('stop', 'destroy', 'start-alone').length;
    await world.clock.advance(10_000);
    expect(world.record()).toBeNull();
    expect(await recover(world)).toMatchObject({ ok: true, value: { unknown: [] } });
    expect(world.wanted()?.wanted).toBe('running');
    expect(world.record()).toMatchObject({
      phase: 'protected',
      primary: { host: 'host1', born: 1 },
      secondary: { host: 'host2', born: 3 },
    });
    expect(world.record()?.ports).not.toBeNull();
    await world.clock.advance(10_000);
    expect(world.given('stop', 'destroy', 'start-alone')).toHaveLength(orders);
    world.agents.host('host2').killQemu('demo');
    await world.phase('solo');
    await world.phase('protected');
  });

  it.each([
    ['a new cluster, whose agents obeyed nobody', null, null, true],
    ['a store that had an incarnation a moment ago', 'inc', null, false],
    ['a store whose agents obeyed an earlier incarnation', null, 'inc', false],
  ] as const)('or %s -> is named: see the last word', (_, seen, obeyed, named) => {
    const links = [aLink('a', { incarnation: obeyed === null ? null : incarnation(obeyed) })];
    expect(whyNotNamed(seen === null ? null : incarnation(seen), links) === null).toBe(named);
  });
});

describe('an agent that has obeyed the lost store', () => {
  const journal = aJournal({ term: term(900), epoch: epoch(9), qemu: aQemu({ born: epoch(3) }) });
  const agent = { format: 1, hostId: 'h' as never, incarnation: incarnation('old') } as const;
  const order = (change: Partial<Order>): Order => ({
    incarnation: incarnation('new'),
    vm: journal.vm,
    uid: journal.uid,
    term: term(901),
    epoch: epoch(10),
    goal: { kind: 'release-primary', born: epoch(3), acceptLoss: false },
    spec: journal.spec,
    ...change,
  });
  const judged = (change: Partial<Order>, stored: string | null) =>
    judgeOrder(order(change), agent, journal, false, { incarnation: stored === null ? null : incarnation(stored), record: null });

  it.each([
    ['the new incarnation, as the store says it, with epoch and term above its journal', {}, 'new', 'obey'],
    ['an incarnation that the store does not say', {}, 'other', 'refuse'],
    ['an incarnation, and the store has none', {}, null, 'refuse'],
    ['an epoch that it has seen exceeded', { epoch: epoch(8) }, 'new', 'refuse'],
    ['a term of the restored store, without the base', { term: term(20) }, 'new', 'refuse'],
  ] as const)('is given %s -> obeyed only if it is newer, and the store says the same', (_, change, stored, kind) => {
    expect(judged(change, stored).kind).toBe(kind);
  });

  it('whose term was above the restored revisions -> the base makes the next orders higher', async () => {
    const world = await aPair();
    for (const host of ['host1', 'host2']) world.agents.host(host).set('demo', { term: term(5_000) });
    await world.clock.advance(1_000);
    expect(world.first.decision()).toMatchObject({ row: 'store-behind-agents' });
    expect(await recover(world)).toMatchObject({ ok: true, value: { vms: [{ plan: { kind: 'agrees' } }] } });
    expect(clusterOf(world)?.termBase).toBe(5_000);
    await world.clock.advance(1_000);
    expect(world.first.decision()).toMatchObject({ row: 'well' });
    world.agents.host('host1').killQemu('demo');
    await world.phase('solo');
    await world.phase('protected');
    const last = world.agents.host('host2').orders.at(-1);
    expect([last?.incarnation === clusterOf(world)?.incarnation, (last?.term ?? 0) > 5_000]).toEqual([true, true]);
  });
});
