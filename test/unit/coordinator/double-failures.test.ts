// The table of SAFETY 5, row by row: after a double failure exactly one disk is valid, it is booted on its own host when that is back, and
// an older one only when an operator says that the host of the newer one is powered off.

import { afterEach, describe, expect, it } from 'vitest';
import { diskId } from '../../../shared/core/ids.js';
import type { DiskReport, VmReport } from '../../../shared/core/model.js';
import { controlWorld, keys, type ControlWorld } from '../../support/control.js';
import { aSpec } from '../../support/spec.js';

const CHAIN = ['/d/active0.qcow2', '/d/hidden0.qcow2', '/d/disk0.raw'];
const LONG_MS = 120_000;

let open: ControlWorld | null = null;
afterEach(() => {
  open?.close();
  open = null;
});

/** A protected pair: primary on host1, secondary on host2, host3 a spare. */
async function aPair(hosts?: readonly string[]): Promise<ControlWorld> {
  const world = controlWorld(hosts === undefined ? {} : { hosts });
  open = world;
  world.define();
  await world.phase('protected');
  return world;
}

const disk = (change: Partial<DiskReport>): Pick<VmReport, 'disk'> => ({
  disk: {
    diskId: diskId('d'),
    stampEpoch: null,
    state: 'clean',
    images: ['/d/disk0.raw'],
    replication: 'none',
    localError: false,
    ...change,
  },
});

/** Host and guest are gone at once; what dies there is seen when it is back. */
function dark(world: ControlWorld, ...hosts: readonly string[]): void {
  for (const each of hosts) world.agents.host(each).heard = false;
  for (const each of hosts) world.agents.host(each).killQemu('demo');
}

function back(world: ControlWorld, ...hosts: readonly string[]): void {
  for (const each of hosts) world.agents.host(each).heard = true;
  for (const each of hosts) world.agents.host(each).set('demo', {});
}

const starts = (world: ControlWorld): readonly string[] => world.given('start-alone', 'release-primary', 'release-secondary');

describe('both die in `protected`, without a verdict', () => {
  it('-> the disk of the primary, on its host', async () => {
    const world = await aPair();
    dark(world, 'host1', 'host2');
    await world.clock.advance(10_000);
    expect(world.record()?.phase).toBe('protected');
    back(world, 'host2', 'host1');
    await world.phase('starting');
    expect(world.record()).toMatchObject({ primary: { host: 'host1' }, disk: { host: 'host1', state: 'clean' } });
    await world.phase('protected');
    expect(starts(world).filter((each) => !each.startsWith('host1'))).toEqual([]);
  });

  it('and only the host of the secondary comes back -> nothing is booted, for as long as it takes', async () => {
    const world = await aPair();
    dark(world, 'host1', 'host2');
    back(world, 'host2');
    await world.clock.advance(LONG_MS);
    // The death of B alone gives the verdict to A, whose agent reads it when it is back; A is dead, and its disk the valid one.
    expect(world.record()).toMatchObject({ phase: 'verdict', primary: { host: 'host1' }, verdict: { kind: 'solo-primary' } });
    expect(world.given('start-alone').filter((each) => !each.startsWith('host1'))).toEqual([]);
    back(world, 'host1');
    await world.phase('protected');
    expect(world.record()?.primary?.host).toBe('host1');
  });

  it('and only the host of the primary comes back -> held until the other is heard or declared off, then the disk of the primary', async () => {
    const world = await aPair();
    dark(world, 'host1', 'host2');
    back(world, 'host1');
    await world.clock.advance(LONG_MS);
    expect(world.record()?.phase).toBe('protected');
    expect(world.first.decision()).toMatchObject({ hold: true, row: 'primary-dead-secondary-lost' });
    const forced = await world.done(world.first.operations.force({ name: 'demo', declaredOff: ['host2'], dryRun: false }));
    expect(forced).toMatchObject({ ok: true });
    await world.phase('solo');
    expect(world.record()).toMatchObject({ primary: { host: 'host1' }, disk: { host: 'host1' } });
  });

  it('and the primary is declared off for good -> the chain of the secondary, because its replication was never in error', async () => {
    const world = await aPair(['host1', 'host2']);
    dark(world, 'host1', 'host2');
    world.agents.host('host2').set('demo', disk({ state: 'stale', images: CHAIN }));
    const force = () => world.done(world.first.operations.force({ name: 'demo', declaredOff: ['host1'], dryRun: false }));
    back(world, 'host2');
    await world.phase('verdict');
    const error = disk({ state: 'stale', images: CHAIN, replication: 'error' });
    world.agents.host('host2').set('demo', error);
    expect(await force()).toMatchObject({ ok: false, error: { code: 'FAILED_PRECONDITION' } });
    world.agents.host('host2').set('demo', disk({ state: 'stale', images: CHAIN }));
    expect(await force()).toMatchObject({ ok: true });
    await world.phase('solo');
    const order = world.agents.host('host2').orders.find((each) => each.goal.kind === 'start-alone');
    expect(order?.goal).toMatchObject({ images: CHAIN, create: false });
  });
});

describe('solo A, and A dies', () => {
  it('-> A only: it waits for its host, and never takes another', async () => {
    const world = await aPair();
    world.agents.host('host2').failing = { kind: 'start-secondary', error: 'no' };
    world.agents.host('host3').failing = { kind: 'start-secondary', error: 'no' };
    world.agents.host('host2').killQemu('demo');
    await world.phase('solo');
    dark(world, 'host1');
    await world.clock.advance(LONG_MS);
    expect(world.given('start-alone').filter((each) => !each.startsWith('host1'))).toEqual([]);
    back(world, 'host1');
    await world.phase('starting');
    expect(world.record()).toMatchObject({ primary: { host: 'host1' }, disk: { host: 'host1' } });
  });

  it('and restart is never -> failed, and nothing is booted', async () => {
    const world = controlWorld();
    open = world;
    world.define({ spec: aSpec({ name: 'demo', restart: 'never' }), protect: false });
    await world.phase('solo');
    world.agents.host('host1').killQemu('demo');
    await world.phase('failed');
    await world.clock.advance(LONG_MS);
    expect(world.given('start-alone')).toHaveLength(1);
    expect(world.record()?.reason).toContain('restart is "never"');
  });

  it('and restart is never, in a pair of which both die -> failed as well', async () => {
    const world = controlWorld();
    open = world;
    world.define({ spec: aSpec({ name: 'demo', restart: 'never' }) });
    await world.phase('protected');
    dark(world, 'host1', 'host2');
    back(world, 'host1', 'host2');
    await world.phase('failed');
    await world.clock.advance(LONG_MS);
    expect(world.record()?.phase).toBe('failed');
  });
});

describe('solo B, executed and merging, and B dies', () => {
  it('-> the chain of B, on B, and nothing else', async () => {
    const world = await aPair();
    world.agents.host('host1').killQemu('demo');
    await world.phase('verdict');
    await world.clock.until('B runs alone', 5_000, () => world.agents.host('host2').vm('demo')?.aloneSince !== null);
    world.agents.host('host2').set('demo', disk({ state: 'merging', images: CHAIN }));
    await world.phase('solo');
    expect(world.record()?.disk).toMatchObject({ host: 'host2', state: 'merging', images: CHAIN });
    dark(world, 'host2');
    await world.clock.advance(LONG_MS);
    expect(world.given('start-alone').filter((each) => !each.startsWith('host1: start-alone@1'))).toEqual([]);
    back(world, 'host2');
    await world.phase('starting');
    await world.clock.advance(10);
    const order = world.agents.host('host2').orders.find((each) => each.goal.kind === 'start-alone');
    expect(order?.goal).toMatchObject({ images: CHAIN, create: false });
  });
});

describe('a verdict for B that is not known to be executed, and the host of B is gone', () => {
  async function lostWinner(): Promise<ControlWorld> {
    const world = await aPair(['host1', 'host2']);
    // A's own disk fails: A lives, so that there are two copies to choose from.
    world.agents.host('host2').failing = { kind: 'release-secondary', error: 'cut off' };
    world.agents.host('host1').set('demo', disk({ localError: true }));
    await world.phase('verdict');
    await world.clock.until('A holds', 5_000, () => world.agents.host('host1').vm('demo')?.held === true);
    dark(world, 'host2');
    return world;
  }

  it('-> held, and A is never released by itself', async () => {
    const world = await lostWinner();
    await world.clock.advance(LONG_MS);
    expect(world.record()).toMatchObject({ phase: 'verdict', primary: { host: 'host2' }, disk: { host: 'host2' } });
    expect(world.first.decision()).toMatchObject({ hold: true });
    expect(world.first.decision()?.reason).toContain('coloctl failover demo --force --declare-off host2');
    expect(world.given('release-primary')).toEqual([]);
  });

  it('and an operator declares it off -> A goes on in a new epoch, and the history says by whom', async () => {
    const world = await lostWinner();
    await world.clock.advance(1_000);
    const before = world.record()?.epoch ?? 0;
    const request = { name: 'demo', declaredOff: ['host2'], dryRun: false };
    const dry = await world.done(world.first.operations.force({ ...request, dryRun: true }));
    expect([dry.ok, world.record()?.epoch]).toEqual([true, before]);
    expect(await world.done(world.first.operations.force(request))).toMatchObject({ ok: true });
    await world.phase('solo');
    expect(world.given('release-primary')).toContain(`host1: release-primary@${before + 1}`);
    const entry = world.history().find((each) => each.epoch === before + 1);
    expect(entry).toMatchObject({ by: 'operator', row: 'forced', from: 'verdict', to: 'verdict', primary: 'host1' });
    expect(entry?.evidence).toContain('declared powered off by an operator: host2');
  });

  it('and the same is asked again after a lost answer -> done once', async () => {
    const world = await lostWinner();
    await world.clock.advance(1_000);
    const request = { name: 'demo', declaredOff: ['host2'], dryRun: false };
    await world.done(world.first.operations.force(request));
    expect(await world.done(world.first.operations.force(request))).toMatchObject({ ok: true });
    expect(world.history().filter((each) => each.row === 'forced')).toHaveLength(1);
  });

  it.each([
    ['a host that is heard', ['host1'], /host1 is not powered off: its agent is heard/],
    ['a host that does not exist', ['host9'], /there is no host "host9"/],
    ['no host', [], /name the host/],
  ] as const)('and an operator declares %s -> refused, and nothing is changed', async (_, declaredOff, refusal) => {
    const world = await lostWinner();
    await world.clock.advance(2_000);
    const before = world.etcd.read(keys.record('demo'))?.modRevision;
    const refused = await world.done(world.first.operations.force({ name: 'demo', declaredOff, dryRun: false }));
    expect(refused.ok ? '' : refused.error.detail).toMatch(refusal);
    expect(world.etcd.read(keys.record('demo'))?.modRevision).toBe(before);
  });

  it('and A dies too, B is declared off -> the older disk of A, and the loss is named', async () => {
    const world = await lostWinner();
    world.agents.host('host1').killQemu('demo');
    await world.clock.advance(1_000);
    expect(world.record()?.phase).toBe('verdict');
    const forced = await world.done(world.first.operations.force({ name: 'demo', declaredOff: ['host2'], dryRun: false }));
    expect(forced.ok ? forced.value.decision : '').toMatch(/chose the disk on host1 .*what was written on host2 since is lost/);
    await world.phase('solo');
    expect(world.record()?.primary?.host).toBe('host1');
  });

  it('and B comes back dead, having never released -> A goes on, because B itself says so', async () => {
    const world = await lostWinner();
    // With a disk that still fails it could take nobody's place.
    world.agents.host('host1').set('demo', disk({ localError: false }));
    await world.clock.advance(1_000);
    back(world, 'host2');
    await world.phase('solo');
    expect(world.record()).toMatchObject({ primary: { host: 'host1' }, verdict: { row: 'winner-gone' } });
  });

  it('and B comes back dead, having released -> the chain of B by law', async () => {
    const world = await lostWinner();
    await world.clock.advance(1_000);
    const { epoch } = world.record() ?? {};
    world.agents.host('host2').set('demo', { aloneSince: epoch ?? null, ...disk({ state: 'merging', images: CHAIN }) });
    back(world, 'host2');
    await world.phase('starting');
    expect(world.record()?.primary?.host).toBe('host2');
    expect(world.given('release-primary')).toEqual([]);
  });
});

describe('syncing A to C, and A dies', () => {
  it('-> A only: C is torn, is let go, and is never promoted', async () => {
    const world = controlWorld({ hosts: ['host1', 'host3'] });
    open = world;
    world.agents.host('host3').failing = { kind: 'start-secondary', error: 'not yet' };
    world.define();
    await world.phase('solo');
    world.agents.host('host3').failing = null;
    world.agents.host('host1').failing = { kind: 'protect', error: 'x' };
    await world.phase('syncing');
    await world.clock.until('C is ready', 5_000, () => (world.agents.host('host3').vm('demo')?.readyFor ?? null) !== null);
    dark(world, 'host1');
    await world.clock.advance(LONG_MS);
    expect(world.given('release-secondary')).toEqual([]);
    expect(world.given('start-alone').filter((each) => !each.startsWith('host1'))).toEqual([]);
    world.agents.host('host1').failing = null;
    back(world, 'host1');
    await world.phase('protected', LONG_MS);
    expect(world.record()?.primary?.host).toBe('host1');
  });

  it('and A is declared off -> refused, because what C has is torn', async () => {
    const world = controlWorld({ hosts: ['host1', 'host3'] });
    open = world;
    world.agents.host('host1').failing = { kind: 'protect', error: 'x' };
    world.define();
    await world.phase('syncing');
    await world.clock.until('C is ready', 5_000, () => (world.agents.host('host3').vm('demo')?.readyFor ?? null) !== null);
    world.agents.host('host3').set('demo', disk({ state: 'stale', images: CHAIN }));
    dark(world, 'host1');
    await world.clock.advance(1_000);
    const refused = await world.done(world.first.operations.force({ name: 'demo', declaredOff: ['host1'], dryRun: false }));
    expect(refused.ok ? '' : refused.error.detail).toMatch(/no heard host has a disk .* could be booted/);
  });
});
