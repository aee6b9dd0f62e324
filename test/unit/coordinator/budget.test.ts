// A VM whose pair breaks again and again: each needed failover happens, re-protection slows down, and then it stops until somebody looks.

import { afterEach, describe, expect, it } from 'vitest';
import { decide } from '../../../coordinator/core/decide.js';
import { GOALS_BY_PHASE } from '../../../coordinator/core/orders.js';
import { holdDownMs, isOverBudget, recentFailovers } from '../../../coordinator/core/transitions-budget.js';
import type { VmRecord, VmWanted } from '../../../shared/core/model.js';
import { controlWorld, type ControlWorld } from '../../support/control.js';
import { aJudged, aRecord, aSide, aView, aWanted } from '../../support/views.js';

const NOW = 1_700_000_000_000;
const MINUTE = 60_000;
const A = aSide('host1', 1);

const after = (failovers: number, change: Partial<VmRecord> = {}, wanted: Partial<VmWanted> = {}) => {
  const failoversAtMs = Array.from({ length: failovers }, (_, index) => NOW - (index + 1) * MINUTE).reverse();
  const record = aRecord({ phase: 'solo', secondary: null, failoversAtMs, ...change });
  const alone = aJudged(A, 'primary', 'alive', 'none', { aloneSince: A.born });
  const a = {
    ...alone,
    report: alone.report && { ...alone.report, qemu: { kind: 'alive', born: A.born, pid: 1, role: 'alone', runstate: 'running' } },
  };
  return aView({ record, a: a as typeof alone, b: null, wanted: aWanted(wanted), wallMs: NOW, epochAgeMs: 0 });
};

describe('the pause before a new pair', () => {
  it('after the first failovers -> none, then it doubles up to its bound', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7, 8, 12].map((count) => holdDownMs(after(count)))).toEqual([
      0, 0, 0, 0, 5_000, 10_000, 20_000, 40_000, 60_000, 60_000,
    ]);
  });

  it('with a budget that a bench sets -> never', () => {
    expect(holdDownMs({ ...after(100), failoversPerHour: 100_000 })).toBe(0);
    expect(isOverBudget({ ...after(100), failoversPerHour: 100_000 })).toBe(false);
  });

  it('while it lasts -> the VM is not protected, and says why; when it ends -> it is', () => {
    const view = after(5);
    expect(decide(view)).toMatchObject({
      kind: 'act',
      row: 'alone',
      reason: expect.stringContaining('5 failovers within an hour') as string,
    });
    expect(decide({ ...view, epochAgeMs: 10_000 })).toMatchObject({ kind: 'save', row: 'protect-wanted' });
  });
});

describe('the budget', () => {
  it('of an hour -> counts no older failover, none from the future, and none that an operator has released', () => {
    const at = [NOW - 61 * MINUTE, NOW - 10 * MINUTE, NOW - 5 * MINUTE, NOW + MINUTE];
    expect(recentFailovers(after(0, { failoversAtMs: at }))).toBe(2);
    expect(recentFailovers(after(0, { failoversAtMs: at }, { releasedAtMs: NOW - 10 * MINUTE }))).toBe(1);
  });

  it.each([
    [12, 'syncing', 'protect-wanted'],
    [13, 'held', 'held'],
  ] as const)('of 12, after %i failovers -> %s', (count, phase, row) => {
    expect(decide({ ...after(count), epochAgeMs: MINUTE })).toMatchObject({ kind: 'save', row, record: { phase } });
  });

  it('that is spent -> a verdict is given all the same', () => {
    const { record } = after(50, { phase: 'protected', secondary: aSide('host2', 3) });
    const a = aJudged(A, 'primary', 'dead', 'hard');
    const b = aJudged(aSide('host2', 3), 'secondary', 'alive', 'hard');
    expect(decide(aView({ record, a, b, wallMs: NOW }))).toMatchObject({ kind: 'save', row: 'primary-dead', record: { phase: 'verdict' } });
  });

  it('and what an operator wished -> does not count', () => {
    const view = aView({ wanted: aWanted({ protect: false }) });
    expect(decide(view)).toMatchObject({ row: 'unprotect-wanted', record: { failoversAtMs: [] } });
  });
});

describe('a VM that is held', () => {
  const held = (count: number, wanted: Partial<VmWanted> = {}) => after(count, { phase: 'held', reason: 'held' }, wanted);

  it('-> says how to go on, and is ordered nothing', () => {
    expect(decide(held(13))).toMatchObject({ kind: 'act', row: 'held-alone', hold: true, orders: [] });
    expect(decide(held(13))).toMatchObject({ reason: expect.stringContaining('coloctl vm release demo') as string });
  });

  it.each([
    ['the hour passes', held(12)],
    ['an operator releases it', held(13, { releasedAtMs: NOW })],
    ['it is not to be protected any more', held(13, { protect: false })],
  ])('until %s -> solo', (_, view) => {
    expect(decide(view)).toMatchObject({ kind: 'save', row: 'released', record: { phase: 'solo' } });
  });

  it('and dies, powers off or is to be stopped -> as any VM that runs alone', () => {
    const view = held(13);
    expect(decide({ ...view, a: aJudged(A, 'primary', 'dead', 'none') })).toMatchObject({
      row: 'died-alone',
      record: { phase: 'stopped' },
    });
    expect(decide({ ...view, a: aJudged(A, 'primary', 'alive', 'none', { guestShutdown: true }) })).toMatchObject({
      row: 'guest-poweroff',
    });
    expect(decide({ ...view, wanted: aWanted({ wanted: 'stopped' }) })).toMatchObject({ row: 'stop-wanted' });
  });

  it('and is to be stopped while its overlays are merged -> waits, because a stop would cancel the merge', () => {
    const view = held(13, { wanted: 'stopped' });
    const { disk } = view.record;
    const merging = { ...view, record: { ...view.record, disk: disk === null ? null : { ...disk, state: 'merging' as const } } };
    expect(decide(merging)).not.toMatchObject({ row: 'stop-wanted' });
  });

  it('with parts of a pair left -> is told to let them go', () => {
    const view = { ...held(13), a: aJudged(A, 'primary', 'alive', 'hard') };
    expect(decide(view)).toMatchObject({ orders: [{ host: 'host1', goal: { kind: 'release-primary', born: 1 } }] });
    expect(GOALS_BY_PHASE.held).toContain('release-primary');
  });
});

describe('a pair that breaks again and again', () => {
  let open: ControlWorld | null = null;
  afterEach(() => open?.close());

  it('-> every failover happens, then the guest runs alone, held, until it is released or the hour has passed', async () => {
    open = controlWorld({ failoversPerHour: 4 });
    const { define, phase, record, agents, clock, first, wanted } = open;
    define();
    for (let failovers = 1; failovers <= 5; failovers += 1) {
      await phase('protected', 120_000);
      agents.host(record()?.primary?.host ?? '').killQemu('demo');
      await clock.until('the guest runs again', 5_000, () => ['solo', 'held'].includes(record()?.phase ?? ''));
      expect(record()?.failoversAtMs).toHaveLength(failovers);
    }
    await phase('held');
    await clock.advance(600_000);
    expect(record()?.phase).toBe('held');
    expect(first.decision()).toMatchObject({ hold: true, reason: expect.stringContaining('held: 5 failovers') as string });
    define({ ...wanted(), releasedAtMs: Math.max(...(record()?.failoversAtMs ?? [])) });
    await phase('protected');
    agents.host(record()?.primary?.host ?? '').killQemu('demo');
    await phase('protected');
  });

  it('and nobody looks -> protected again by itself when the oldest failover is an hour ago', async () => {
    open = controlWorld({ failoversPerHour: 1 });
    const { define, phase, record, agents, clock } = open;
    define();
    for (let failovers = 1; failovers <= 2; failovers += 1) {
      await phase('protected', 120_000);
      agents.host(record()?.primary?.host ?? '').killQemu('demo');
      await clock.until('the guest runs again', 5_000, () => ['solo', 'held'].includes(record()?.phase ?? ''));
    }
    await phase('held');
    await phase('protected', 3_700_000);
    expect(clock.wallMs() - (record()?.failoversAtMs[0] ?? 0)).toBeGreaterThanOrEqual(3_600_000);
  });
});
