// A primary whose own disk failed a write that only its secondary took: its agent does not let it go on alone, and wherever the record has
// got to by the time that this is known, either the other copy goes on or nobody does.

import { describe, expect, it } from 'vitest';
import { decide } from '../../../coordinator/core/decide.js';
import { forceFailover } from '../../../coordinator/core/forced.js';
import { FORCED } from '../../../coordinator/core/rows.js';
import type { Judged, VmView } from '../../../coordinator/core/view.js';
import type { Verdict, VmRecord } from '../../../shared/core/model.js';
import { aJudged, aRecord, aSide, aView } from '../../support/views.js';

const A = aSide('host1', 1);
const B = aSide('host2', 3);
const LACKS = { unpromotable: 'its own disk failed a write' };

const primary = (qemu: Judged = 'alive') => aJudged(A, 'primary', qemu, 'hard', LACKS);
const secondary = (qemu: Judged = 'alive', change: object = {}) => aJudged(B, 'secondary', qemu, 'hard', change);
const verdict = (change: Partial<Verdict> = {}): Verdict => ({
  row: 'secondary-dead',
  kind: 'solo-primary',
  winner: A,
  loser: B,
  evidence: [],
  atMs: 0,
  ...change,
});
const inPhase = (phase: VmRecord['phase'], change: Partial<VmView>, record: Partial<VmRecord> = {}): VmView =>
  aView({ record: aRecord({ phase, ...record }), ...change });

describe('a primary that lacks writes', () => {
  it('and won, while the other side lives -> the other side goes on', () => {
    const decision = decide(inPhase('verdict', { a: primary(), b: secondary() }, { verdict: verdict() }));
    expect(decision).toMatchObject({
      row: 'winner-unfit',
      record: { phase: 'verdict', primary: B, verdict: { kind: 'promote-secondary', winner: B, loser: A } },
    });
  });

  it.each([
    ['is dead', secondary('dead')],
    ['did not load its last checkpoint', secondary('alive', { unpromotable: 'load device state failed' })],
    ['missed writes itself', secondary('alive', { disk: { ...secondary().report?.disk, replication: 'error' } })],
  ])('and won, while the other side %s -> failed, and nobody is let go', (_, b) => {
    for (const qemu of ['alive', 'dead'] as const) {
      const decision = decide(inPhase('verdict', { a: primary(qemu), b }, { verdict: verdict() }));
      expect(decision).toMatchObject({ row: 'data-at-risk-verdict', record: { phase: 'failed', primary: A, secondary: B } });
      expect(decision.kind === 'save' && decision.record.reason).toMatch(/^data at risk: the winner on host1 cannot be released/);
    }
  });

  it('and won, while the other side is not heard -> it is waited for', () => {
    expect(decide(inPhase('verdict', { a: primary(), b: secondary('unheard') }, { verdict: verdict() }))).toMatchObject({
      kind: 'act',
      row: 'executing',
    });
  });

  it('and lost to a secondary that turns out unfit -> failed, and its disk is not booted', () => {
    const reversed = verdict({ kind: 'promote-secondary', winner: B, loser: A });
    const record = { primary: B, secondary: A, verdict: reversed };
    const unfit = { unpromotable: 'load device state failed' };
    for (const qemu of ['alive', 'dead'] as const) {
      const a = aJudged(B, 'secondary', 'alive', 'hard', unfit);
      expect(decide(inPhase('verdict', { a, b: primary(qemu) }, record))).toMatchObject({ row: 'data-at-risk-verdict' });
    }
  });

  it.each(['protected', 'syncing', 'solo'] as const)(
    'and died in %s, with no other side left -> failed, and its disk is not booted',
    (phase) => {
      const b = phase === 'solo' ? null : secondary('dead');
      const decision = decide(inPhase(phase, { a: primary('dead'), b }));
      expect(decision).toMatchObject({ record: { phase: 'failed' } });
      expect(decision.kind === 'save' && decision.record.reason).toMatch(/^data at risk/);
    },
  );

  it('and whose attempt was given up before that was known -> failed', () => {
    expect(decide(inPhase('solo', { a: primary(), b: null }, { secondary: null }))).toMatchObject({
      row: 'data-at-risk-alone',
      record: { phase: 'failed' },
    });
  });

  it('and is chosen by an operator who declares the other host off -> is told to accept the loss, and no row takes it back', () => {
    const hosts = aView().hosts.map((host) => (host.key.host === 'host2' ? { ...host, heard: false } : host));
    const forced = forceFailover(inPhase('failed', { a: primary(), b: secondary('unheard'), hosts }), new Set(['host2']));
    expect(forced).toMatchObject({
      ok: true,
      value: { patch: { phase: 'verdict', verdict: { row: FORCED, kind: 'solo-primary', winner: A } } },
    });
    const decision = decide(inPhase('verdict', { a: primary(), b: secondary('dead') }, { verdict: verdict({ row: FORCED }) }));
    expect(decision).toMatchObject({ kind: 'act', row: 'executing' });
    expect(decision.kind === 'act' && decision.orders[0]).toMatchObject({
      host: 'host1',
      goal: { kind: 'release-primary', acceptLoss: true },
    });
  });
});
