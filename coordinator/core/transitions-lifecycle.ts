// Rows for everything but the death of a protected side: start, stop, protect, give up, and what follows a verdict.

import { PROTECT_BACKOFF_FIRST_MS, PROTECT_BACKOFF_LAST_MS, PROTECT_FLOOR_MS, START_MS } from '../../shared/core/limits.js';
import type { ValidDisk, VmRecord } from '../../shared/core/model.js';
import { edge, failedTask, poweredOff, sideAt, type Change, type Row } from './rows.js';
import { freshPorts, placePrimary, placeSecondary } from './placement.js';
import type { SideView, VmView } from './view.js';

const wantedStopped = (view: VmView): boolean => view.wanted.wanted !== 'running';

const tasksLate = (view: VmView, limitMs: number): boolean => view.epochAgeMs > limitMs;

/** Doubling pause after failed tries, so that a thing that cannot work is not tried in a tight loop, and yet for ever. */
export function backoffMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(PROTECT_BACKOFF_LAST_MS, PROTECT_BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 16));
}

/** Three times what the copies need at the configured bandwidth, and never less than the floor. */
export function protectLimitMs(view: VmView): number {
  const { spec } = view.wanted;
  const bytes = spec.memoryMiB * 1024 * 1024 + spec.disks.reduce((sum, each) => sum + each.sizeBytes, 0);
  return Math.max(PROTECT_FLOOR_MS, (3 * bytes * 1000) / spec.maxBandwidthBytes);
}

function start(view: VmView, reason: string): Change {
  const place = placePrimary(view);
  if (!place.ok) return { kind: 'hold', reason: place.error };
  const identical = view.wanted.spec.method === 'identical-images' && view.record.disk === null && view.wanted.protect;
  if (identical) return startCold(view);
  return edge(view, 'starting', reason, { primary: sideAt(place.value, view), secondary: null, verdict: null });
}

/** The seed's cold start: both sides from identical images, the guest begins when the pair is in COLO. */
function startCold(view: VmView): Change {
  const place = placePrimary(view);
  if (!place.ok) return { kind: 'hold', reason: place.error };
  const spare = placeSecondary(view, place.value.key.host);
  const ports = freshPorts(view);
  if (!spare.ok) return { kind: 'hold', reason: `identical images: ${spare.error}` };
  if (!ports.ok) return { kind: 'hold', reason: ports.error };
  return edge(view, 'syncing', `cold start from identical images with ${spare.value.key.host}`, {
    primary: sideAt(place.value, view),
    secondary: sideAt(spare.value, view),
    ports: ports.value,
    verdict: null,
  });
}

/** The primary's own image is the valid disk from now on. */
function diskOf(view: SideView, record: VmRecord): ValidDisk | null {
  const { report } = view;
  if (report === null || report.disk.diskId === null || report.disk.state === 'missing') return record.disk;
  return { host: view.side.host, diskId: report.disk.diskId, epoch: record.epoch, state: report.disk.state, images: report.disk.images };
}

const diskChanged = (view: VmView): boolean => {
  const { a, record } = view;
  if (a === null || a.qemu !== 'alive' || a.report?.qemu.kind !== 'alive' || a.report.qemu.role !== 'alone') return false;
  const seen = diskOf(a, record);
  return (
    seen !== null && (record.disk === null || seen.state !== record.disk.state || seen.images.join('\n') !== record.disk.images.join('\n'))
  );
};

/** Boots the one valid disk again on its host, or stops for good, as the spec says. */
function diedAlone(view: VmView, what: string): Change {
  if (view.wanted.spec.restart === 'never') {
    return edge(view, 'failed', `${what}, and restart is "never": stop and start the VM to run it again`, { secondary: null });
  }
  return edge(
    view,
    'stopped',
    `${what}; to be started again from the disk on ${view.record.disk?.host ?? view.a?.side.host ?? 'its host'}`,
    {
      primary: null,
      secondary: null,
      verdict: null,
      failedAttempts: view.record.phase === 'starting' ? view.record.failedAttempts + 1 : 0,
      lastError: failedTask(view.a, view.record) ?? what,
    },
  );
}

function giveUp(view: VmView, why: string): Change {
  return edge(view, 'solo', `protection attempt given up: ${why}`, {
    secondary: null,
    failedAttempts: view.record.failedAttempts + 1,
    lastError: why,
  });
}

export const guestPoweredOff: Row = {
  name: 'guest-poweroff',
  from: ['starting', 'solo', 'syncing', 'protected', 'verdict', 'executed'],
  to: 'stopping',
  why: 'The guest shut itself down. That is its own wish and never a failover.',
  // The loser of a verdict may still power off its own, diverged guest: only in a protected pair does either side speak for both.
  when: (view) => poweredOff(view.a) || (poweredOff(view.b) && view.record.phase === 'protected'),
  act: (view) => edge(view, 'stopping', 'the guest powered off', {}, view.wanted.spec.onPoweroff === 'stop'),
};

export const lifecycleRows: readonly Row[] = [
  guestPoweredOff,
  {
    name: 'stop-wanted',
    from: ['starting', 'solo', 'syncing', 'protected', 'failed', 'held'],
    to: 'stopping',
    why: 'The operator wants the VM stopped.',
    when: (view) =>
      wantedStopped(view) && !(view.record.phase === 'solo' && view.record.disk?.state === 'merging' && view.a?.qemu === 'alive'),
    act: (view) => edge(view, 'stopping', 'stop wanted', {}),
  },
  {
    name: 'stopped',
    from: ['stopping'],
    to: 'stopped',
    why: 'No QEMU of the VM is left where the record placed them.',
    when: (view) => (view.a === null || view.a.qemu === 'dead') && (view.b === null || view.b.qemu === 'dead' || view.b.qemu === 'unheard'),
    act: (view) => edge(view, 'stopped', 'stopped', { primary: null, secondary: null, verdict: null, lastError: null, failedAttempts: 0 }),
  },
  {
    name: 'stopping',
    from: ['stopping'],
    to: 'same',
    why: 'QEMU has been told to end; the guest may be shutting down.',
    when: () => true,
    act: (view) => ({ kind: 'none', reason: failedTask(view.a, view.record) ?? view.record.reason }),
  },
  {
    name: 'forget',
    from: ['stopped'],
    to: 'same',
    why: 'The VM is deleted and no host has a QEMU of it.',
    when: (view) =>
      view.wanted.wanted === 'deleted' &&
      view.hosts.every((each) => !each.heard || each.report === null || each.report.qemu.kind === 'absent'),
    act: () => ({ kind: 'forget' }),
  },
  {
    name: 'start-wanted',
    from: ['stopped'],
    to: 'starting',
    why: 'The operator wants the VM to run.',
    when: (view) => view.wanted.wanted === 'running' && view.epochAgeMs >= backoffMs(view.record.failedAttempts),
    act: (view) => start(view, 'start wanted'),
  },
  {
    name: 'rest',
    from: ['stopped'],
    to: 'same',
    why: 'The VM is stopped, as wanted, or waits before it is tried again.',
    when: () => true,
    act: (view) => ({
      kind: 'none',
      reason: view.wanted.wanted === 'running' ? `will be started again: ${view.record.reason}` : view.record.reason,
    }),
  },
  {
    name: 'started',
    from: ['starting'],
    to: 'solo',
    why: 'QEMU runs the guest alone.',
    when: (view) => view.a?.qemu === 'alive' && view.a.report?.aloneSince !== null && view.a.report?.aloneSince !== undefined,
    act: (view) =>
      edge(view, 'solo', 'runs alone, not protected yet', {
        disk: view.a === null ? view.record.disk : diskOf(view.a, view.record),
        failedAttempts: 0,
        lastError: null,
      }),
  },
  {
    name: 'start-failed',
    from: ['starting'],
    to: 'stopped',
    why: 'QEMU did not come up.',
    when: (view) =>
      (view.a?.qemu === 'dead' && view.a.report?.qemu.kind === 'dead') ||
      failedTask(view.a, view.record) !== null ||
      (view.a?.qemu !== 'unheard' && tasksLate(view, 2 * START_MS)),
    act: (view) =>
      edge(view, 'stopped', `start failed: ${failedTask(view.a, view.record) ?? deathOf(view.a) ?? 'no answer in time'}`, {
        primary: null,
        failedAttempts: view.record.failedAttempts + 1,
        lastError: failedTask(view.a, view.record) ?? deathOf(view.a) ?? 'QEMU did not come up in time',
      }),
  },
  {
    name: 'starting',
    from: ['starting'],
    to: 'same',
    why: 'QEMU is being started.',
    when: () => true,
    act: (view) => ({
      kind: 'none',
      reason: view.a?.qemu === 'unheard' ? `waits for host ${view.a.side.host}, whose agent is not heard` : view.record.reason,
    }),
  },
  {
    name: 'died-alone',
    from: ['solo', 'executed'],
    to: 'stopped',
    why: 'The only QEMU of the VM has died; its disk is the only valid one.',
    when: (view) => view.a?.qemu === 'dead',
    act: (view) => diedAlone(view, deathOf(view.a) ?? 'QEMU died'),
  },
  {
    name: 'disk-noted',
    from: ['solo'],
    to: 'same',
    why: 'The state of the valid disk changed: a merge ended, or the image names are known.',
    when: diskChanged,
    act: (view) => ({ kind: 'note', patch: view.a === null ? {} : { disk: diskOf(view.a, view.record) } }),
  },
  {
    name: 'protect-wanted',
    from: ['solo'],
    to: 'syncing',
    why: 'The VM runs alone and is to be protected; a spare host is there.',
    when: (view) =>
      view.wanted.protect &&
      view.a?.qemu === 'alive' &&
      view.a.report?.qemu.kind === 'alive' &&
      view.a.report.qemu.role === 'alone' &&
      view.a.report.task.kind !== 'running' &&
      view.record.disk?.state === 'clean' &&
      view.epochAgeMs >= backoffMs(view.record.failedAttempts),
    act: (view) => {
      const spare = placeSecondary(view, view.a?.side.host ?? '');
      const ports = freshPorts(view);
      if (!spare.ok) return { kind: 'hold', reason: `not protected: ${spare.error}` };
      if (!ports.ok) return { kind: 'hold', reason: `not protected: ${ports.error}` };
      return edge(view, 'syncing', `a new secondary is made on ${spare.value.key.host}`, {
        secondary: sideAt(spare.value, view),
        ports: ports.value,
        verdict: null,
      });
    },
  },
  {
    name: 'alone',
    from: ['solo'],
    to: 'same',
    why: 'The VM runs alone.',
    when: () => true,
    act: (view) => ({ kind: 'none', reason: whyAlone(view) }),
  },
  {
    name: 'protected',
    from: ['syncing'],
    to: 'protected',
    why: 'Both sides proved the pair: lock-step, outputs compared, disk replicated, a checkpoint seen.',
    when: (view) =>
      [view.a, view.b].every((each) => each?.qemu === 'alive' && each.report?.provenFor === view.record.epoch && each.pair === 'ok'),
    act: (view) =>
      edge(view, 'protected', 'protected', {
        disk: view.a === null ? view.record.disk : diskOf(view.a, view.record),
        failedAttempts: 0,
        lastError: null,
      }),
  },
  {
    name: 'primary-died-syncing',
    from: ['syncing'],
    to: 'stopped',
    why: 'The primary died before the pair was made. The half-made secondary is torn and is never promoted.',
    when: (view) => view.a?.qemu === 'dead' && view.a.report?.qemu.kind === 'dead',
    act: (view) => diedAlone(view, deathOf(view.a) ?? 'the primary died during the copy'),
  },
  {
    name: 'attempt-failed',
    from: ['syncing'],
    to: 'solo',
    why: 'The protection attempt failed, or its secondary is gone; the primary goes on alone and another attempt follows.',
    when: (view) => attemptFailure(view) !== null,
    act: (view) => giveUp(view, attemptFailure(view) ?? 'unknown'),
  },
  {
    name: 'syncing',
    from: ['syncing'],
    to: 'same',
    why: 'Disk and memory are being copied to the new secondary.',
    when: () => true,
    act: (view) => ({ kind: 'none', reason: view.record.reason }),
  },
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
  {
    name: 'failed',
    from: ['failed', 'held'],
    to: 'same',
    why: 'An operator is needed.',
    when: () => true,
    act: (view) => ({ kind: 'hold', reason: view.record.reason }),
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

/** After a promotion the data is the chain active -> hidden -> parent until the merge is seen to have ended. */
export function promotedDisk(winner: SideView, record: VmRecord): ValidDisk | null {
  const { report } = winner;
  if (report === null || report.disk.diskId === null) return record.disk;
  return { host: winner.side.host, diskId: report.disk.diskId, epoch: record.epoch, state: 'merging', images: report.disk.images };
}

export function deathOf(view: SideView | null): string | null {
  return view?.report?.qemu.kind === 'dead' ? `QEMU on ${view.side.host} died: ${view.report.qemu.why}` : null;
}

function attemptFailure(view: VmView): string | null {
  if (!view.wanted.protect) return 'protection is no longer wanted';
  if (view.b?.qemu === 'dead' && view.b.report?.qemu.kind === 'dead') return deathOf(view.b) ?? 'the new secondary died';
  const failed = failedTask(view.a, view.record) ?? failedTask(view.b, view.record);
  if (failed !== null) return failed;
  if (view.a?.pair === 'hard' || view.a?.pair === 'silent')
    return `the pair broke while it was made: ${view.a.report?.pair.evidence.at(-1) ?? view.a.pair}`;
  if (view.b?.qemu === 'unheard' && view.epochAgeMs > START_MS) return `the agent of ${view.b.side.host} is not heard`;
  if (view.epochAgeMs > protectLimitMs(view)) return `not protected within ${Math.round(protectLimitMs(view) / 1000)} s`;
  return null;
}

function whyAlone(view: VmView): string {
  if (!view.wanted.protect) return 'runs alone; protection is not wanted';
  if (view.a?.qemu === 'unheard') return `the agent of ${view.a.side.host} is not heard`;
  if (view.record.disk?.state === 'merging') return 'runs alone; the overlays of the failover are still merged into the disk';
  if (view.record.failedAttempts > 0) {
    const pauseS = Math.round(backoffMs(view.record.failedAttempts) / 1000);
    return `runs alone; attempt ${view.record.failedAttempts} failed, the next follows ${pauseS} s after it: ${view.record.lastError ?? ''}`;
  }
  return view.record.reason;
}
