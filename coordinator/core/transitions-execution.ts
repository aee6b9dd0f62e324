// Rows for what follows a verdict: its winner is seen to run alone, or is gone before it released anything, or dies with its disk.

import { AGENT_RESTARTED_WITHIN_MS } from '../../shared/core/limits.js';
import { deathOf, diedAlone, diskOf, promotedDisk } from './aftermath.js';
import { edge, evidenceOf, failedTask, FORCED, unfitnessOf, type Change, type Row } from './rows.js';
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
        lossOf(view) === null &&
        view.b?.qemu === 'alive'
      );
    },
    act: (view) => reverse(view),
  },
  {
    name: 'winner-unfit',
    from: ['verdict'],
    to: 'verdict',
    why: 'The winner cannot be released: its last checkpoint was not loaded whole, or its disk lacks writes. It never released output, so the other copy goes on.',
    when: (view) => isUnfit(view) && view.a?.qemu === 'alive' && lossOf(view) === null && view.b?.qemu === 'alive',
    act: (view) => reverse(view),
  },
  {
    name: 'winner-unfit-loser-dead',
    from: ['verdict'],
    to: 'stopped',
    why: "The winner cannot be released and the other QEMU has died: the loser's own disk is whole, the winner's is not.",
    when: (view) =>
      isUnfit(view) &&
      view.record.verdict?.kind === 'promote-secondary' &&
      view.b?.qemu === 'dead' &&
      unfitnessOf(view.b) === null &&
      view.b.report?.disk.state === 'clean',
    act: (view) => diedAlone(view, whyUnfit(view), { disk: view.b === null ? view.record.disk : diskOf(view.b, view.record) }),
  },
  {
    name: 'winner-gone-loser-dead',
    from: ['verdict'],
    to: 'stopped',
    why: 'The promoted secondary died without having released output, and the primary is dead as well: its own disk has all that was ever answered. The chain of the other may lack it, where a checkpoint was received and not loaded.',
    when: (view) => isGoneUnreleased(view) && isWholeLoser(view),
    act: (view) =>
      diedAlone(view, deathOf(view.a) ?? 'the winner of the verdict died', {
        disk: view.b === null ? view.record.disk : diskOf(view.b, view.record),
      }),
  },
  {
    name: 'data-at-risk-verdict',
    from: ['verdict'],
    to: 'failed',
    why: 'Neither side may go on: the one lacks what its guest was told is written, and the other is gone or no better.',
    when: (view) => {
      if (!isUnfit(view) || view.record.verdict?.row === FORCED) return false;
      if (view.b?.qemu === 'alive') return lossOf(view) !== null;
      return view.b?.qemu === 'dead' && (view.record.verdict?.kind === 'solo-primary' || unfitnessOf(view.b) !== null);
    },
    act: (view) => {
      const other = `the other side on ${view.b?.side.host ?? '?'} ${lossOf(view) ?? ''}`;
      return edge(view, 'failed', `data at risk: ${whyUnfit(view)}, and ${deathOf(view.b) ?? other}`, {});
    },
  },
  {
    name: 'winner-died',
    from: ['verdict'],
    to: 'stopped',
    why: 'The winner died after it may have released output, or the other side cannot go on: only its disk is valid.',
    when: (view) =>
      view.a?.qemu === 'dead' &&
      // Its agent may still find out that this release let nothing out, and then the other copy goes on.
      view.a.report?.task.kind !== 'running' &&
      !isUnfit(view) &&
      (isLoserGone(view) || view.a.report?.aloneSince !== null || lossOf(view) !== null),
    act: (view) => diedAlone(view, deathOf(view.a) ?? 'the winner of the verdict died'),
  },
  {
    name: 'executing',
    from: ['verdict'],
    to: 'same',
    why: 'The winner has been told to go on alone.',
    when: () => true,
    act: executing,
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

/** It was gone when the verdict fell, or is by now; its host may be unheard since. */
function isLoserGone(view: VmView): boolean {
  const { verdict } = view.record;
  return verdict?.loser === null || verdict?.row === 'winner-gone' || view.b?.qemu === 'dead';
}

/** A promoted secondary that testifies that nothing ever left it. */
function isGoneUnreleased({ a, record }: VmView): boolean {
  return (
    record.verdict?.kind === 'promote-secondary' && a?.qemu === 'dead' && a.report?.aloneSince === null && a.report.task.kind !== 'running'
  );
}

/** The primary has died too, and nothing speaks against its disk: neither its agent, nor the verdict, which may have been given because of it. */
function isWholeLoser({ b, record }: VmView): boolean {
  if (b?.qemu !== 'dead' || b.report === null || unfitnessOf(b) !== null || b.report.disk.localError) return false;
  return b.report.disk.state === 'clean' && record.verdict?.row !== 'primary-disk-lost';
}

/** Why the loser cannot take the place of a winner that is gone or unfit; null = it can. */
function lossOf(view: VmView): string | null {
  const { verdict } = view.record;
  if (verdict?.loserLacks !== undefined) return verdict.loserLacks;
  // Its guest was told of writes that only the other side has.
  if (view.b?.report?.disk.localError === true) return 'has a disk that fails';
  const unfit = unfitnessOf(view.b);
  if (unfit !== null) return `must not go on either: ${unfit}`;
  const lacks = verdict?.kind === 'solo-primary' && [view.a, view.b].some((side) => side?.report?.disk.replication === 'error');
  return lacks ? 'has a disk that missed writes' : null;
}

/** The winner testifies that it must not go on alone and never did; if it has died since, that is no less true of its disk. */
function isUnfit({ a }: VmView): boolean {
  return (a?.qemu === 'alive' || a?.qemu === 'dead') && unfitnessOf(a) !== null && a.report?.aloneSince === null;
}

const whyUnfit = ({ a }: VmView): string => `the winner on ${a?.side.host ?? '?'} cannot be released: ${unfitnessOf(a) ?? '?'}`;

function executing(view: VmView): Change {
  const { a, b, record } = view;
  const { name } = view.wanted.spec;
  if (a?.qemu === 'unheard') {
    const { host } = a.side;
    const waits = `verdict for ${host}, whose agent is not heard`;
    // An agent that is merely started again is soon back, and nobody is to be led to give up what its QEMU answers meanwhile.
    if (view.epochAgeMs < AGENT_RESTARTED_WITHIN_MS) return { kind: 'hold', reason: `${waits}: it is waited for` };
    return {
      kind: 'hold',
      reason:
        `${waits}: bring ${host} or its agent back. The other copy is older; only if ${host} is powered off for certain: ` +
        `coloctl failover ${name} --force --declare-off ${host}`,
    };
  }
  if (a?.qemu === 'dead')
    return {
      kind: 'hold',
      reason: `the winner on ${a.side.host} died, and the other side on ${b?.side.host ?? '?'} is ${b?.qemu ?? 'gone'}`,
    };
  return { kind: 'none', reason: failedTask(a, record) ?? record.reason };
}

function winnerRuns(view: VmView): boolean {
  const report = view.a?.report;
  return (
    view.a?.qemu === 'alive' && report?.qemu.kind === 'alive' && report.qemu.role === 'alone' && report.aloneSince === view.record.epoch
  );
}

/**
 * The loser of an unexecuted verdict becomes the winner of a new one. In a verdict, `primary` is the winner and `secondary` the loser. One that
 * is dead stays named: should the new winner prove unfit, then the disk of the dead one is the valid one.
 */
function reverse(view: VmView): Change {
  const { record } = view;
  const { verdict } = record;
  if (verdict === null || verdict.loser === null || view.b?.report === null || view.b === null)
    return { kind: 'hold', reason: 'no loser to name' };
  const kind = verdict.kind === 'solo-primary' ? 'promote-secondary' : 'solo-primary';
  const isGone = view.a?.qemu === 'dead';
  const why = isGone ? 'is gone without having released' : `cannot be released (${unfitnessOf(view.a) ?? '?'})`;
  return edge(view, 'verdict', `${verdict.winner.host} ${why}; ${verdict.loser.host} goes on`, {
    primary: verdict.loser,
    secondary: verdict.winner,
    verdict: {
      row: isGone ? 'winner-gone' : 'winner-unfit',
      kind,
      winner: verdict.loser,
      loser: verdict.winner,
      evidence: evidenceOf(view),
      atMs: view.wallMs,
    },
    disk: kind === 'promote-secondary' ? promotedDisk(view.b, record) : diskOf(view.b, record),
  });
}
