// Rows for what follows a verdict: its winner is seen to run alone, or is gone before it released anything, or dies with its disk.

import { deathOf, diedAlone, diskOf, promotedDisk } from './aftermath.js';
import { edge, failedTask, type Change, type Row } from './rows.js';
import type { VmView } from './view.js';

export const executionRows: readonly Row[] = [
  {
    name: 'executed',
    from: ['verdict'],
    to: 'executed',
    why: 'The winner runs the guest alone.',
    when: (view) => winnerRuns(view),
    act: (view) => edge(view, 'executed', `${view.a?.side.host ?? 'the winner'} runs the guest alone`, { secondary: null }),
  },
  {
    name: 'winner-gone',
    from: ['verdict'],
    to: 'verdict',
    why: 'The winner testifies that its QEMU is gone and never released output, so the other copy is the last live one.',
    when: (view) => {
      const { verdict } = view.record;
      const loser = verdict?.loser ?? null;
      return (
        view.a?.qemu === 'dead' &&
        view.a.report?.aloneSince === null &&
        view.a.report.epoch >= view.record.epoch &&
        loser !== null &&
        view.b?.qemu === 'alive' &&
        view.b.report?.unpromotable === null
      );
    },
    act: (view) => reverse(view),
  },
  {
    name: 'winner-died',
    from: ['verdict'],
    to: 'stopped',
    why: 'The winner died after it may have released output: only its disk is valid.',
    when: (view) =>
      view.a?.qemu === 'dead' && (view.record.verdict?.loser === null || view.a.report?.aloneSince !== null || view.b?.qemu === 'dead'),
    act: (view) => diedAlone(view, deathOf(view.a) ?? 'the winner of the verdict died'),
  },
  {
    name: 'executing',
    from: ['verdict'],
    to: 'same',
    why: 'The winner has been told to go on alone.',
    when: () => true,
    act: (view) =>
      view.a?.qemu === 'unheard'
        ? { kind: 'hold', reason: `verdict for ${view.a.side.host}, whose agent is not heard; only an operator may choose the older disk` }
        : { kind: 'none', reason: failedTask(view.a, view.record) ?? view.record.reason },
  },
  {
    name: 'alone-again',
    from: ['executed'],
    to: 'solo',
    why: 'The failover is done.',
    when: () => true,
    act: (view) =>
      edge(view, 'solo', 'runs alone after a failover, not protected yet', {
        disk: view.a === null ? view.record.disk : diskOf(view.a, view.record),
      }),
  },
];

function winnerRuns(view: VmView): boolean {
  const report = view.a?.report;
  return (
    view.a?.qemu === 'alive' && report?.qemu.kind === 'alive' && report.qemu.role === 'alone' && report.aloneSince === view.record.epoch
  );
}

/** The loser of an unexecuted verdict becomes the winner of a new one. In a verdict, `primary` is the winner and `secondary` the loser. */
function reverse(view: VmView): Change {
  const { record } = view;
  const { verdict } = record;
  if (verdict === null || verdict.loser === null || view.b?.report === null || view.b === null)
    return { kind: 'hold', reason: 'no loser to name' };
  const kind = verdict.kind === 'solo-primary' ? 'promote-secondary' : 'solo-primary';
  return edge(view, 'verdict', `${verdict.winner.host} is gone without having released; ${verdict.loser.host} goes on`, {
    primary: verdict.loser,
    secondary: null,
    verdict: { row: 'winner-gone', kind, winner: verdict.loser, loser: null, evidence: [], atMs: view.wallMs },
    disk: kind === 'promote-secondary' ? promotedDisk(view.b, record) : diskOf(view.b, record),
  });
}
