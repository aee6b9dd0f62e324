// Every combination of what the two sides of a protected pair can look like is decided, and held against the rules of the safety table
// written down a second time here, by hand, as plain conditions.

import { describe, expect, it } from 'vitest';
import { decide, TABLE } from '../../../coordinator/core/decide.js';
import { DOUBT_MS } from '../../../coordinator/core/transitions-verdict.js';
import type { Judged } from '../../../coordinator/core/view.js';
import { AGENT_RESTARTED_WITHIN_MS } from '../../../shared/core/limits.js';
import type { PairState } from '../../../shared/core/model.js';
import { aHost, aJudged, aRecord, aSide, aView } from '../../support/views.js';

type Seen = readonly [Judged, PairState];
const PAIRS: readonly PairState[] = ['ok', 'hard', 'silent', 'unknown'];
const STATES: readonly Judged[] = ['alive', 'dead', 'hung', 'unknown'];
const SIDES: readonly Seen[] = [
  ['unheard', 'none'],
  ...STATES.flatMap((qemu) => PAIRS.filter((pair) => qemu !== 'dead' || pair !== 'ok').map((pair) => [qemu, pair] as const)),
];

const A = aSide('host1', 1);
const B = aSide('host2', 3);

/** `doubtMs`: by default long enough that a checkpoint is ordered and not only forced by the agent. */
function outcome(a: Seen, b: Seen, doubtMs = 200): string {
  const decision = decide(aView({ a: aJudged(A, 'primary', a[0], a[1]), b: aJudged(B, 'secondary', b[0], b[1]), doubtMs }));
  if (decision.kind === 'save') return decision.record.verdict?.kind ?? decision.record.phase;
  if (decision.kind === 'forget') return 'forget';
  if (decision.orders.some((order) => order.goal.kind === 'checkpoint')) return 'checkpoint';
  return decision.hold ? 'hold' : 'none';
}

/** SAFETY 9 as a function, written without looking at the table. */
function expected([qa, pa]: Seen, [qb, pb]: Seen): string {
  const hard = pa === 'hard' || pb === 'hard';
  const ok = pa === 'ok' || pb === 'ok';
  if (qa === 'dead' && qb === 'dead') return 'stopped';
  if (qa === 'dead') return qb === 'alive' ? 'promote-secondary' : 'hold';
  if (qb === 'dead') return 'solo-primary';
  if (qa === 'unheard' && qb === 'unheard') return 'hold';
  if (ok && !hard) {
    const doubt = pa === 'silent' || pb === 'silent' || qa === 'hung' || qb === 'hung';
    return doubt && qa === 'alive' ? 'checkpoint' : 'none';
  }
  if (qa === 'hung' && qb === 'alive') return 'promote-secondary';
  if (qa === 'alive' && qb === 'hung') return 'solo-primary';
  if (qa === 'alive' && qb === 'alive') {
    if (hard || (pa === 'silent' && pb === 'silent')) return 'solo-primary';
    return 'checkpoint';
  }
  if (qa === 'alive' && qb === 'unknown') return hard ? 'solo-primary' : 'none';
  if (qa === 'alive' && qb === 'unheard') return pa === 'hard' || pa === 'silent' ? 'solo-primary' : 'checkpoint';
  if (qa === 'unheard' && qb === 'alive') return pb === 'hard' || pb === 'silent' ? 'promote-secondary' : 'none';
  if (qa === 'unknown' || qb === 'unknown') return 'none';
  return 'hold';
}

describe('the table of verdicts', () => {
  it('every combination of two sides -> what the safety rules say', () => {
    const wrong: string[] = [];
    for (const a of SIDES) {
      for (const b of SIDES) {
        const got = outcome(a, b);
        const want = expected(a, b);
        if (got !== want) wrong.push(`A ${a.join('/')} B ${b.join('/')}: ${got}, not ${want}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('any combination -> a promoted secondary is alive, a solo primary is alive or its peer is proven dead, and `ok` without a hard break or a death moves nobody', () => {
    for (const a of SIDES) {
      for (const b of SIDES) {
        const got = outcome(a, b, DOUBT_MS);
        if (got === 'promote-secondary') expect(b[0], `${a} ${b}`).toBe('alive');
        if (got === 'solo-primary') expect(a[0] === 'alive' || b[0] === 'dead', `${a} ${b}`).toBe(true);
        const fresh = (a[1] === 'ok' || b[1] === 'ok') && a[1] !== 'hard' && b[1] !== 'hard';
        if (fresh && a[0] !== 'dead' && b[0] !== 'dead') expect(['none', 'hold', 'checkpoint'], `${a} ${b}`).toContain(got);
      }
    }
  });

  it('a doubt that outlasts the forced checkpoint -> the primary goes on', () => {
    expect(outcome(['alive', 'silent'], ['alive', 'unknown'], 0)).toBe('none');
    expect(outcome(['alive', 'silent'], ['alive', 'unknown'], 200)).toBe('checkpoint');
    expect(outcome(['alive', 'silent'], ['alive', 'unknown'], DOUBT_MS)).toBe('solo-primary');
  });

  it('our own tick was late -> silences move nobody, proofs still do', () => {
    const late = (a: Seen, b: Seen): string => {
      const decision = decide(aView({ late: true, a: aJudged(A, 'primary', a[0], a[1]), b: aJudged(B, 'secondary', b[0], b[1]) }));
      return decision.kind === 'save' ? (decision.record.verdict?.kind ?? '') : decision.kind;
    };
    expect(late(['unheard', 'none'], ['alive', 'silent'])).toBe('act');
    expect(late(['alive', 'silent'], ['alive', 'silent'])).toBe('act');
    expect(late(['dead', 'hard'], ['alive', 'hard'])).toBe('promote-secondary');
  });

  it('one side says silent and the last word of the other is older -> the other is asked, and no checkpoint stands in the way', () => {
    const silent = aJudged(A, 'primary', 'alive', 'silent');
    const ok = { ...aJudged(B, 'secondary', 'alive', 'ok'), fresh: false };
    expect(decide(aView({ a: silent, b: ok, doubtMs: 5 }))).toMatchObject({ row: 'peer-to-be-asked', probe: 'host2', orders: [] });
    const asked = { ...aJudged(A, 'primary', 'alive', 'unknown'), fresh: false };
    const says = aJudged(B, 'secondary', 'alive', 'silent');
    expect(decide(aView({ a: asked, b: says }))).toMatchObject({ row: 'peer-to-be-asked', probe: 'host1' });
    // Its newer word counts, and so does the silence of its stream.
    expect(decide(aView({ a: silent, b: { ...ok, fresh: true } }))).toMatchObject({ row: 'well-but-doubtful', probe: null });
    expect(decide(aView({ a: silent, b: aJudged(B, 'secondary', 'alive', 'silent') }))).toMatchObject({ row: 'link-cut' });
    expect(decide(aView({ a: silent, b: aJudged(B, 'secondary', 'unheard', 'none') }))).toMatchObject({ row: 'secondary-host-lost' });
  });

  it('the secondary says broken and the last word of the primary is older -> the primary is asked first, and a word of its own or a newer one decides', () => {
    const a = { ...aJudged(A, 'primary', 'alive', 'unknown'), fresh: false };
    const b = aJudged(B, 'secondary', 'alive', 'hard');
    expect(decide(aView({ a, b }))).toMatchObject({ kind: 'act', row: 'primary-to-be-asked', probe: 'host1', orders: [] });
    expect(decide(aView({ a: { ...a, fresh: true }, b }))).toMatchObject({ kind: 'save', row: 'pair-broken' });
    expect(decide(aView({ a: { ...a, pair: 'hard' }, b }))).toMatchObject({ kind: 'save', row: 'pair-broken' });
    expect(decide(aView({ a: aJudged(A, 'primary', 'unheard', 'none'), b }))).toMatchObject({ kind: 'save', row: 'primary-host-lost' });
  });

  it('the guest powers off while the pair breaks -> stopping, never a verdict', () => {
    const decision = decide(
      aView({ a: aJudged(A, 'primary', 'alive', 'hard', { guestShutdown: true }), b: aJudged(B, 'secondary', 'alive', 'hard') }),
    );
    expect(decision).toMatchObject({ kind: 'save', row: 'guest-poweroff', stopWanted: true, record: { phase: 'stopping' } });
  });

  it('the primary died and the secondary missed writes or did not load its checkpoint -> the disk of the primary is booted, nobody is promoted', () => {
    for (const unfit of [
      { unpromotable: 'load device state failed' },
      { disk: { ...aJudged(B, 'secondary', 'alive', 'hard').report?.disk, replication: 'error' } },
    ]) {
      const decision = decide(
        aView({ a: aJudged(A, 'primary', 'dead', 'hard'), b: aJudged(B, 'secondary', 'alive', 'hard', unfit as never) }),
      );
      expect(decision).toMatchObject({ kind: 'save', record: { phase: 'stopped', disk: { host: 'host1' } } });
    }
  });

  describe('a disk that fails', () => {
    const failing = (side: typeof A, role: 'primary' | 'secondary', qemu: Judged = 'alive', more: object = {}) => {
      const judged = aJudged(side, role, qemu, 'ok');
      return aJudged(side, role, qemu, 'ok', { disk: { ...judged.report?.disk, localError: true, ...more } } as never);
    };
    const well = { a: aJudged(A, 'primary', 'alive', 'ok'), b: aJudged(B, 'secondary', 'alive', 'ok') };

    it('of the primary, the secondary is whole -> the secondary goes on', () => {
      expect(decide(aView({ ...well, a: failing(A, 'primary') }))).toMatchObject({
        row: 'primary-disk-lost',
        record: { verdict: { kind: 'promote-secondary' } },
      });
    });

    it('of the primary, told by an agent that was started since and has it from its journal -> the secondary goes on', () => {
      const a = aJudged(A, 'primary', 'alive', 'ok', { unpromotable: 'its own disk failed a write' });
      expect(decide(aView({ ...well, a }))).toMatchObject({ row: 'primary-disk-lost', record: { verdict: { kind: 'promote-secondary' } } });
    });

    it('of the secondary -> the primary goes on, and were it dead nobody is promoted', () => {
      const b = failing(B, 'secondary');
      expect(decide(aView({ ...well, b }))).toMatchObject({
        row: 'secondary-disk-lost',
        record: { verdict: { kind: 'solo-primary' } },
      });
      expect(decide(aView({ a: aJudged(A, 'primary', 'dead', 'hard'), b }))).toMatchObject({
        record: { phase: 'stopped', disk: { host: 'host1' } },
      });
    });

    it('of both, or of the primary while the secondary is dead or missed writes -> failed, and nobody is let go', () => {
      for (const b of [
        failing(B, 'secondary'),
        failing(B, 'secondary', 'alive', { localError: false, replication: 'error' }),
        aJudged(B, 'secondary', 'dead', 'hard'),
      ]) {
        const decision = decide(aView({ a: failing(A, 'primary'), b }));
        expect(decision).toMatchObject({ kind: 'save', row: 'data-at-risk', record: { phase: 'failed', primary: A, secondary: B } });
        expect(decision.kind === 'save' && decision.record.reason).toMatch(/^data at risk: the disk of the primary on host1 fails, and /);
      }
    });

    it('of the secondary would be full soon -> status says so, and a host that is full becomes no secondary', () => {
      const full = ['host1', 'host2', 'host3'].map((name) => aHost(name, { freeDiskBytes: 1_000_000 }));
      expect(decide(aView({ ...well, hosts: full }))).toMatchObject({ reason: 'protected; little disk space is left on host2' });
      const solo = aView({
        record: aRecord({ phase: 'solo', secondary: null, disk: { ...aRecord().disk, state: 'clean' } as never }),
        hosts: full,
      });
      const alone = aJudged(A, 'primary', 'alive', 'none', {
        qemu: { kind: 'alive', born: A.born, pid: 1, role: 'alone', runstate: 'running' },
      });
      expect(decide({ ...solo, a: alone, b: null })).toMatchObject({
        hold: true,
        reason: expect.stringMatching(/enough bytes free.*host2 has 1000000 of/) as string,
      });
    });
  });

  it('a verdict -> epoch + 1, winner first, loser second, evidence kept, and the winner is ordered to release while the loser holds', () => {
    const view = aView({ a: aJudged(A, 'primary', 'dead', 'hard'), b: aJudged(B, 'secondary', 'alive', 'hard') });
    const decision = decide(view);
    expect(decision).toMatchObject({
      kind: 'save',
      row: 'primary-dead',
      record: {
        epoch: 5,
        phase: 'verdict',
        primary: B,
        secondary: A,
        verdict: { kind: 'promote-secondary', winner: B, loser: A },
        disk: { host: 'host2', state: 'merging' },
      },
      history: { from: 'protected', to: 'verdict' },
    });
    if (decision.kind !== 'save') return;
    const after = decide(aView({ record: decision.record, a: view.b, b: view.a }));
    expect(after).toMatchObject({ kind: 'act', orders: [{ host: 'host2', goal: { kind: 'release-secondary', born: 3 } }] });
  });

  it.each([
    ['for a moment', 'is waited for, and nobody is told how to give it up', AGENT_RESTARTED_WITHIN_MS - 1, /it is waited for$/],
    [
      'for long',
      'the status says what to bring back, and only then how to give it up',
      AGENT_RESTARTED_WITHIN_MS,
      /bring host2 .*--declare-off host2$/,
    ],
  ])('a verdict whose winner is not heard %s -> %s', (_, __, epochAgeMs, reason) => {
    const record = aRecord({ phase: 'verdict', primary: B, secondary: A });
    const view = aView({ record, a: aJudged(B, 'secondary', 'unheard', 'none'), b: aJudged(A, 'primary', 'dead', 'hard'), epochAgeMs });
    expect(decide(view)).toMatchObject({ row: 'executing', reason: expect.stringMatching(reason) as string });
  });

  it('every row -> is reachable from the phases it names, and its name is used once per phase', () => {
    const names = TABLE.flatMap((row) => row.from.map((phase) => `${phase} ${row.name}`));
    expect(new Set(names).size).toBe(names.length);
  });
});
