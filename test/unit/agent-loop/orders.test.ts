// The fence: which orders an agent obeys.

import { describe, expect, it } from 'vitest';
import { journalOrder, type VmJournal } from '../../../agent/core/journal.js';
import { judgeOrder, type StoreWord } from '../../../agent/core/orders.js';
import { diskId, epoch, incarnation, term, vmUid } from '../../../shared/core/ids.js';
import type { Goal } from '../../../shared/core/model.js';
import { aJournal, anAgent, anOrder, aQemu, aRecord, PEER, PORTS } from './builders.js';

const startAlone = (born: number): Goal => ({ kind: 'start-alone', born: epoch(born), images: null, create: true });
const hold = (born: number): Goal => ({ kind: 'hold', born: epoch(born) });
const word = (change: Partial<StoreWord> = {}): StoreWord => ({ incarnation: incarnation('one'), record: aRecord(), ...change });

describe('an order for a VM with a journal', () => {
  it.each([
    ['of an older term', 'refused', anOrder(hold(2), { term: term(4) }), 'older-term'],
    ['of an older epoch', 'refused', anOrder(hold(2), { epoch: epoch(1) }), 'older-epoch'],
    ['of an older epoch and a newer term', 'refused', anOrder(hold(2), { epoch: epoch(1), term: term(9) }), 'older-epoch'],
    ['for another VM uid while a QEMU is here', 'refused', anOrder(hold(2), { uid: vmUid('other') }), 'foreign-uid'],
    ['for another QEMU', 'refused', anOrder(hold(1)), 'not-this-qemu'],
    ['to start an earlier birth', 'refused', anOrder(startAlone(1)), 'not-this-qemu'],
    ['with the spec of another VM', 'refused', anOrder(hold(2), { vm: 'db' }), 'invalid'],
  ])('%s -> %s', (_situation, _outcome, order, refusal) => {
    expect(judgeOrder(order, anAgent(), aJournal(), false, null)).toMatchObject({ kind: 'refuse', refusal });
  });

  it('of a newer epoch for the QEMU that is here -> obeyed', () => {
    expect(judgeOrder(anOrder(hold(2)), anAgent(), aJournal(), false, null)).toEqual({ kind: 'obey' });
  });

  it('to destroy, which names no QEMU -> obeyed', () => {
    expect(judgeOrder(anOrder({ kind: 'destroy' }), anAgent(), aJournal(), false, null)).toEqual({ kind: 'obey' });
  });

  it('of another incarnation -> the store is asked, and its word counts', () => {
    const order = anOrder(hold(2), { incarnation: incarnation('two') });
    expect(judgeOrder(order, anAgent(), aJournal(), false, null)).toMatchObject({ kind: 'ask-store' });
    expect(judgeOrder(order, anAgent(), aJournal(), false, word())).toMatchObject({ refusal: 'foreign-incarnation' });
    expect(judgeOrder(order, anAgent(), aJournal(), false, word({ incarnation: incarnation('two') }))).toEqual({ kind: 'obey' });
  });
});

describe('the same order again', () => {
  const again = anOrder(startAlone(2), { epoch: epoch(2) });
  const judged = (journal: VmJournal, taskRunning: boolean) => judgeOrder(again, anAgent(), journal, taskRunning, null);

  it('when it is done -> accepted and nothing redone', () => {
    expect(judged(aJournal(), false)).toEqual({ kind: 'repeated' });
  });

  it('while it runs -> accepted and nothing redone', () => {
    expect(judged(aJournal({ outcome: { kind: 'open' } }), true)).toEqual({ kind: 'repeated' });
  });

  it('when it failed -> tried again', () => {
    expect(judged(aJournal({ outcome: { kind: 'failed', step: 's', error: 'e' } }), false)).toEqual({ kind: 'obey' });
  });

  it('when an earlier agent died over it -> tried again', () => {
    expect(judged(aJournal({ outcome: { kind: 'open' } }), false)).toEqual({ kind: 'obey' });
  });

  it('when it is a forced checkpoint -> done once more', () => {
    const goal: Goal = { kind: 'checkpoint', born: epoch(2) };
    const journal = aJournal({ goal, epoch: epoch(3) });
    expect(judgeOrder(anOrder(goal), anAgent(), journal, false, null)).toEqual({ kind: 'obey' });
    expect(journalOrder(journal, anOrder(goal), null).outcome).toEqual({ kind: 'open' });
  });
});

describe('an order without a journal', () => {
  const judged = (order: ReturnType<typeof anOrder>, said: StoreWord | null) => judgeOrder(order, anAgent(), null, false, said);

  it('-> is obeyed only after the record was read', () => {
    const order = anOrder(startAlone(3));
    expect(judged(order, null)).toMatchObject({ kind: 'ask-store' });
    expect(judged(order, word())).toEqual({ kind: 'obey' });
  });

  it.each([
    ['and no record in the store', 'refused', startAlone(3), word({ record: null }), 'unknown-journal'],
    ['and a record of another uid', 'refused', startAlone(3), word({ record: aRecord({ uid: vmUid('other') }) }), 'foreign-uid'],
    ['and a record that is ahead', 'refused', startAlone(3), word({ record: aRecord({ epoch: epoch(4) }) }), 'older-epoch'],
    ['and a record that is behind', 'refused', startAlone(3), word({ record: aRecord({ epoch: epoch(2) }) }), 'unknown-journal'],
    ['for a QEMU that was never here', 'refused', hold(2), word(), 'not-this-qemu'],
  ] as const)('%s -> %s', (_situation, _outcome, goal, said, refusal) => {
    expect(judged(anOrder(goal), said)).toMatchObject({ kind: 'refuse', refusal });
  });

  it('but with the journal of a deleted VM of that name -> the record decides', () => {
    const old = aJournal({ uid: vmUid('deleted'), qemu: null });
    expect(judgeOrder(anOrder(startAlone(3)), anAgent(), old, false, null)).toMatchObject({ kind: 'ask-store' });
    expect(judgeOrder(anOrder(startAlone(3)), anAgent(), old, false, word())).toEqual({ kind: 'obey' });
  });
});

describe('the journal after an order', () => {
  it('to start -> names a new QEMU with nothing promised', () => {
    const before = aJournal({ qemu: aQemu({ aloneSince: epoch(2), promised: epoch(2), death: { why: 'gone' } }) });
    const after = journalOrder(before, anOrder({ kind: 'start-secondary', born: epoch(3), ports: PORTS, peer: PEER }), null);
    expect(after.qemu).toMatchObject({ born: 3, obeyed: 3, startedAs: 'secondary', aloneSince: null, promised: null, death: null });
    expect(after.qemu?.attempt).toEqual({ epoch: 3, ports: PORTS, peer: PEER });
  });

  it('to protect -> the QEMU has obeyed a newer epoch and knows its attempt', () => {
    const goal: Goal = { kind: 'protect', born: epoch(2), ports: PORTS, peer: PEER, method: 'live' };
    expect(journalOrder(aJournal(), anOrder(goal), null).qemu).toMatchObject({ born: 2, obeyed: 3, attempt: { epoch: 3, ports: PORTS } });
  });

  it.each([hold(2), { kind: 'stop', born: epoch(2) } as const, { kind: 'destroy' } as const])(
    'that gives no right to live on ($kind) -> the QEMU can still be destroyed in that epoch',
    (goal) => {
      expect(journalOrder(aJournal(), anOrder(goal), null).qemu?.obeyed).toBe(2);
    },
  );

  it('of another uid -> begins anew', () => {
    const after = journalOrder(aJournal({ qemu: null }), anOrder(startAlone(3), { uid: vmUid('new') }), diskId('fresh'));
    expect(after).toMatchObject({ uid: 'new', diskId: 'fresh', outcome: { kind: 'open' } });
  });
});
