// Rows for a VM by itself: start, stop, power-off, death alone, deletion.

import { START_MS } from '../../shared/core/limits.js';
import { backoffMs, deathOf, diedAlone, diskOf, lostWrites } from './aftermath.js';
import { freshPorts, placePrimary, placeSecondary } from './placement.js';
import { holdDownMs, recentFailovers } from './transitions-budget.js';
import { edge, failedTask, poweredOff, sideAt, standsStill, unfitnessOf, type Change, type Row } from './rows.js';
import type { VmView } from './view.js';

const wantedStopped = (view: VmView): boolean => view.wanted.wanted !== 'running';

/** A stop would cancel the merge of the overlays, and the raw image alone is torn. A merge that failed is waited for in vain; its agent knows. */
const mergesStill = (view: VmView): boolean =>
  (view.record.phase === 'solo' || view.record.phase === 'held') &&
  view.record.disk?.state === 'merging' &&
  view.a?.qemu === 'alive' &&
  view.a.report?.disk.localError !== true;

/**
 * A primary that must not go on is not stopped either, before an operator has read why: what it lacks is with the other side alone, which would
 * end with it, and the next start would boot its disk unasked. The rows of each phase let the other side go on, or fail with the reason.
 */
const mustNotGoOn = (view: VmView): boolean => view.record.phase !== 'failed' && unfitnessOf(view.a) !== null;

const tasksLate = (view: VmView, limitMs: number): boolean => view.epochAgeMs > limitMs;

export const guestPoweredOff: Row = {
  name: 'guest-poweroff',
  from: ['starting', 'solo', 'held', 'syncing', 'protected', 'verdict', 'executed'],
  to: 'stopping',
  why: 'The guest shut itself down. That is its own wish and never a failover.',
  // The loser of a verdict may still power off its own, diverged guest: only in a protected pair does either side speak for both.
  when: (view) => !mustNotGoOn(view) && (poweredOff(view.a) || (poweredOff(view.b) && view.record.phase === 'protected')),
  act: (view) => edge(view, 'stopping', 'the guest powered off', {}, view.wanted.spec.onPoweroff === 'stop'),
};

export const stopWanted: Row = {
  name: 'stop-wanted',
  from: ['starting', 'solo', 'syncing', 'protected', 'failed', 'held'],
  to: 'stopping',
  why: 'The operator wants the VM stopped.',
  when: (view) => wantedStopped(view) && !mergesStill(view) && !mustNotGoOn(view),
  act: (view) => edge(view, 'stopping', 'stop wanted', {}),
};

export const runRows: readonly Row[] = [
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
    why: 'The VM is deleted and no host has a QEMU of it, or none has been heard for so long that nobody waits for it.',
    when: (view) => view.wanted.wanted === 'deleted' && hostInTheWay(view) === null,
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
      reason: restReason(view),
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
    from: ['solo', 'held', 'executed'],
    to: 'stopped',
    why: 'The only QEMU of the VM has died; its disk is the only valid one.',
    when: (view) => view.a?.qemu === 'dead',
    act: (view) => {
      const death = deathOf(view.a) ?? 'QEMU died';
      return unfitnessOf(view.a) === null ? diedAlone(view, death) : lostWrites(view, death);
    },
  },
  {
    name: 'data-at-risk-alone',
    from: ['solo', 'held'],
    to: 'failed',
    why: 'The attempt was given up before anybody knew that the disk of the primary had failed in COLO: its agent does not let the guest go on.',
    when: (view) => view.a?.qemu === 'alive' && unfitnessOf(view.a) !== null,
    act: (view) => lostWrites(view, 'the pair is gone'),
  },
  {
    name: 'disk-noted',
    from: ['solo', 'held'],
    to: 'same',
    why: 'The state of the valid disk changed: a merge ended, or the image names are known.',
    when: diskChanged,
    act: (view) => ({ kind: 'note', patch: view.a === null ? {} : { disk: diskOf(view.a, view.record) } }),
  },
  {
    name: 'alone',
    from: ['solo'],
    to: 'same',
    why: 'The VM runs alone.',
    when: () => true,
    act: (view) => {
      const failed = failedWrite(view) ?? failedMerge(view);
      return failed === null ? { kind: 'none', reason: whyAlone(view) } : { kind: 'hold', reason: failed };
    },
  },
  {
    name: 'failed',
    from: ['failed'],
    to: 'same',
    why: 'An operator is needed.',
    when: () => true,
    act: (view) => ({ kind: 'hold', reason: view.record.reason }),
  },
];

/** A host that is not heard may still run a QEMU that nobody would end once the VM is forgotten; but it may also never come back. */
const FORGET_UNHEARD_MS = 600_000;

/** Why a deleted VM cannot be forgotten yet; null = it can. */
function hostInTheWay(view: VmView): string | null {
  const unheard = view.hosts.find((each) => !each.heard);
  if (unheard !== undefined && view.epochAgeMs < FORGET_UNHEARD_MS)
    return `to be deleted; host ${unheard.key.host} is not heard and may still have a QEMU of it`;
  const there = view.hosts.find((each) => each.heard && each.report !== null && each.report.qemu.kind !== 'absent');
  return there === undefined ? null : `to be deleted; host ${there.key.host} still has a QEMU of it`;
}

function restReason(view: VmView): string {
  if (view.wanted.wanted === 'running') return startsAgain(view.record.reason);
  return (view.wanted.wanted === 'deleted' ? hostInTheWay(view) : null) ?? view.record.reason;
}

/** The reason is saved into the record and comes back here. */
function startsAgain(reason: string): string {
  const lead = 'will be started again: ';
  return reason.startsWith(lead) ? reason : `${lead}${reason}`;
}

function start(view: VmView, reason: string): Change {
  const { disk } = view.record;
  if (disk?.state === 'stale') {
    const { name } = view.wanted.spec;
    return { kind: 'hold', reason: `nobody knows which disk of it is valid: coloctl recover ${name} --disk HOST chooses one` };
  }
  const place = placePrimary(view);
  if (!place.ok) return { kind: 'hold', reason: place.error };
  const identical = view.wanted.spec.method === 'identical-images' && disk === null && view.wanted.protect;
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

function diskChanged(view: VmView): boolean {
  const { a, record } = view;
  if (a === null || a.qemu !== 'alive' || a.report?.qemu.kind !== 'alive' || a.report.qemu.role !== 'alone') return false;
  const seen = diskOf(a, record);
  return (
    seen !== null && (record.disk === null || seen.state !== record.disk.state || seen.images.join('\n') !== record.disk.images.join('\n'))
  );
}

/** Its agent lets the guest go on every two seconds; null = the guest does not stand still. */
function failedWrite(view: VmView): string | null {
  if (view.a === null || !standsStill(view.a)) return null;
  return `the guest stands still: a write to its disk on ${view.a.side.host} failed, and is made again until the disk has space and no errors`;
}

/** The overlays of a failover stay where they are as long as this QEMU lives, so it can be no primary; null = they do not. */
function failedMerge(view: VmView): string | null {
  const { a, record, wanted } = view;
  if (!wanted.protect || record.disk?.state !== 'merging' || a?.report?.disk.localError !== true) return null;
  const { name } = wanted.spec;
  return (
    `runs alone and cannot be protected: the overlays of the failover could not be merged into the disk on ${a.side.host}; ` +
    `when it has space and no errors: coloctl vm stop ${name}, and coloctl vm start ${name} merges them first`
  );
}

function whyAlone(view: VmView): string {
  if (!view.wanted.protect) return 'runs alone; protection is not wanted';
  if (view.a?.qemu === 'unheard') return `the agent of ${view.a.side.host} is not heard`;
  if (view.record.disk?.state === 'merging') return 'runs alone; the overlays of the failover are still merged into the disk';
  if (view.record.failedAttempts > 0) {
    const pauseS = Math.round(backoffMs(view.record.failedAttempts) / 1000);
    return `runs alone; attempt ${view.record.failedAttempts} failed, the next follows ${pauseS} s after it: ${view.record.lastError ?? ''}`;
  }
  const pauseMs = holdDownMs(view);
  if (view.epochAgeMs < pauseMs)
    return `runs alone; ${recentFailovers(view)} failovers within an hour, so the next pair is made ${Math.round(pauseMs / 1000)} s after the last`;
  return view.record.reason;
}
