// Whether an agent may testify that its QEMU never released output (SAFETY 4): not after an order to release was begun whose end nobody
// wrote down, because the agent may have died between the release and its journal.

import { describe, expect, it } from 'vitest';
import { aloneOrDoubtful, journalOrder, withoutDoubt, type QemuJournal } from '../../../agent/core/journal.js';
import { epoch } from '../../../shared/core/ids.js';
import type { Order } from '../../../shared/core/model.js';
import { aJournal, anOrder, aQemu } from './builders.js';

const release = (at: number): Order => anOrder({ kind: 'release-primary', born: epoch(1), acceptLoss: false }, { epoch: epoch(at) });
const dead = (qemu: QemuJournal | null): QemuJournal => ({ ...(qemu ?? aQemu()), death: { why: 'it ended' } });
const obeyed = (before = aJournal({ epoch: epoch(4), qemu: aQemu({ born: epoch(1) }) })) => journalOrder(before, release(5), null);

describe('a QEMU that died', () => {
  it('with a release begun and no word of its end -> may have run alone since', () => {
    expect(aloneOrDoubtful(dead(obeyed().qemu))).toBe(5);
  });

  it('with no release ever ordered -> never ran alone', () => {
    expect(aloneOrDoubtful(dead(aQemu({ born: epoch(1) })))).toBeNull();
  });

  it('after a release that ended before it let anything out -> never ran alone', () => {
    const { qemu } = obeyed();
    expect(aloneOrDoubtful(dead(withoutDoubt(qemu ?? aQemu(), epoch(5))))).toBeNull();
  });

  it('after a release that was begun twice and failed at last -> the first try is still in doubt', () => {
    const { qemu } = obeyed(obeyed());
    expect(aloneOrDoubtful(dead(withoutDoubt(qemu ?? aQemu(), epoch(5))))).toBe(5);
  });
});

describe('a QEMU that lives', () => {
  it('with a release begun -> does not say that it runs alone before that was seen', () => {
    expect(aloneOrDoubtful(obeyed().qemu ?? aQemu())).toBeNull();
  });
});
