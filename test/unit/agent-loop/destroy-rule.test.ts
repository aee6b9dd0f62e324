// SAFETY 6: a store that knows less than this host never kills a guest.

import { describe, expect, it } from 'vitest';
import { judgeDestroy, removableImages } from '../../../agent/core/destroy-rule.js';
import { diskId, epoch, hostId, vmUid } from '../../../shared/core/ids.js';
import type { Side, VmRecord } from '../../../shared/core/model.js';
import { aJournal, aQemu, aRecord, HERE } from './builders.js';

const us: Side = { host: 'a', hostId: HERE, born: epoch(2) };
const other: Side = { host: 'b', hostId: hostId('there'), born: epoch(3) };
const qemu = aQemu({ obeyed: epoch(4) });
const judged = (record: VmRecord | null) => judgeDestroy(aJournal({ qemu }), qemu, HERE, record);

describe('a QEMU', () => {
  it.each([
    ['without a record', 'is left alone', null],
    ['with a record of another uid', 'is left alone', aRecord({ epoch: epoch(9), uid: vmUid('other') })],
    ['with a record as old as itself', 'is left alone', aRecord({ epoch: epoch(4) })],
    ['with an older record', 'is left alone', aRecord({ epoch: epoch(3), phase: 'stopped' })],
  ] as const)('%s -> %s', (_situation, _outcome, record) => {
    const judgement = judged(record);
    expect(judgement.kind).toBe('store-behind');
    expect(judgement).toHaveProperty('detail', expect.stringContaining('store behind agents'));
  });

  it.each([
    ['that is the primary', 'is needed', aRecord({ epoch: epoch(5), primary: us })],
    ['that is the secondary', 'is needed', aRecord({ epoch: epoch(5), primary: other, secondary: us })],
    [
      'that lost a verdict which is not executed',
      'is needed',
      aRecord({
        epoch: epoch(5),
        phase: 'verdict',
        primary: other,
        verdict: { row: '', kind: 'promote-secondary', winner: other, loser: us, evidence: [], atMs: 0 },
      }),
    ],
  ] as const)('%s -> %s', (_situation, _outcome, record) => {
    expect(judged(record).kind).toBe('needed');
  });

  it.each([
    ['that a newer record does not name', 'may go', aRecord({ epoch: epoch(5), phase: 'executed', primary: other })],
    ['of another birth than the record names', 'may go', aRecord({ epoch: epoch(5), primary: { ...us, born: epoch(5) } })],
    ['of another host with the same name', 'may go', aRecord({ epoch: epoch(5), primary: { ...us, hostId: hostId('reinstalled') } })],
    ['of a VM that is being stopped', 'may go', aRecord({ epoch: epoch(5), phase: 'stopping', primary: us })],
  ] as const)('%s -> %s', (_situation, _outcome, record) => {
    expect(judged(record).kind).toBe('permitted');
  });
});

describe('the overlays of a destroyed QEMU', () => {
  it('that hold the valid disk by the record -> stay', () => {
    const disk = { host: 'a', diskId: diskId('d'), epoch: epoch(5), state: 'merging' as const, images: ['/active', '/hidden', '/raw'] };
    expect(removableImages(['/active', '/hidden'], aRecord({ disk }), [])).toEqual([]);
  });

  it('that nobody needs -> go', () => {
    expect(removableImages(['/active', '/hidden'], aRecord(), [])).toEqual(['/active', '/hidden']);
  });

  it('that the next start boots from -> stay', () => {
    expect(removableImages(['/active', '/hidden'], aRecord(), ['/hidden'])).toEqual(['/active']);
  });
});
