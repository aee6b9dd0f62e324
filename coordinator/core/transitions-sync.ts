// Rows for the making of a pair: a spare is chosen, both sides prove the pair, or the attempt is given up.

import { PROTECT_FLOOR_MS, START_MS } from '../../shared/core/limits.js';
import type { VmRecord } from '../../shared/core/model.js';
import { backoffMs, deathOf, diedAlone, diskOf, lostWrites } from './aftermath.js';
import { freshPorts, placeSecondary } from './placement.js';
import { holdDownMs } from './transitions-budget.js';
import { edge, failedTask, sideAt, standsStill, unfitnessOf, type Change, type Row } from './rows.js';
import type { VmView } from './view.js';

export const syncRows: readonly Row[] = [
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
      !standsStill(view.a) &&
      view.a.report.task.kind !== 'running' &&
      view.record.disk?.state === 'clean' &&
      view.epochAgeMs >= Math.max(backoffMs(view.record.failedAttempts), holdDownMs(view)),
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
    act: (view) => {
      const death = deathOf(view.a) ?? 'the primary died during the copy';
      return unfitnessOf(view.a) === null
        ? diedAlone(view, death, view.record.disk === null ? coldDeath(view) : {})
        : lostWrites(view, death);
    },
  },
  {
    name: 'data-at-risk-syncing',
    from: ['syncing'],
    to: 'failed',
    why: "The primary's own disk failed when its guest was in COLO already, and the attempt fails: the guest was told of writes that are on no whole disk.",
    when: (view) => attemptFailure(view) !== null && lacksWrites(view),
    act: (view) =>
      edge(
        view,
        'failed',
        `data at risk: the disk of the primary on ${view.a?.side.host ?? '?'} fails, and the pair was not made: ${attemptFailure(view) ?? 'unknown'}`,
        {},
      ),
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
];

/** Three times what the copies need at the configured bandwidth, and never less than the floor. */
export function protectLimitMs(view: VmView): number {
  const { spec } = view.wanted;
  const bytes = spec.memoryMiB * 1024 * 1024 + spec.disks.reduce((sum, each) => sum + each.sizeBytes, 0);
  return Math.max(PROTECT_FLOOR_MS, (3 * bytes * 1000) / spec.maxBandwidthBytes);
}

function giveUp(view: VmView, why: string): Change {
  return edge(view, 'solo', `protection attempt given up: ${why}`, {
    secondary: null,
    failedAttempts: view.record.failedAttempts + 1,
    lastError: why,
  });
}

/**
 * Out of a cold start no disk is named yet. The guest may have run on the primary's, so that one is valid from now on (SAFETY 5), and what fails again and
 * again is paused like any start.
 */
function coldDeath(view: VmView): Partial<VmRecord> {
  return { disk: view.a === null ? null : diskOf(view.a, view.record), failedAttempts: view.record.failedAttempts + 1 };
}

/** A guest that is stopped for its copy, or whose writes wait for the new secondary, must not stand still for a link that is cut. */
const COPY_SILENT_MS = 1_000;

/** How long the primary's host has not heard the secondary's; null = it never did, or is not heard itself. */
function silentLinkMs(view: VmView): number | null {
  const primary = view.hosts.find((each) => each.key.host === view.a?.side.host);
  const secondary = view.hosts.find((each) => each.key.host === view.b?.side.host);
  if (primary === undefined || secondary === undefined) return null;
  return primary.peersSilentMs[secondary.key.replicationAddress] ?? null;
}

/** Writes of its guest failed on its own disk while the new secondary took them, so that nobody was told. A guest that stands still was not told either. */
function lacksWrites({ a }: VmView): boolean {
  return a?.qemu === 'alive' && !standsStill(a) && a.report?.disk.localError === true && a.report.pair.state !== 'none';
}

function attemptFailure(view: VmView): string | null {
  // The secondary is the only whole copy, and is promoted as soon as the pair is proven.
  if (!view.wanted.protect && !lacksWrites(view)) return 'protection is no longer wanted';
  if (view.b?.qemu === 'dead' && view.b.report?.qemu.kind === 'dead') return deathOf(view.b) ?? 'the new secondary died';
  const failed = failedTask(view.a, view.record) ?? failedTask(view.b, view.record);
  if (failed !== null) return failed;
  if (view.a?.pair === 'hard' || view.a?.pair === 'silent')
    return `the pair broke while it was made: ${view.a.report?.pair.evidence.at(-1) ?? view.a.pair}`;
  const cut = silentLinkMs(view);
  if (cut !== null && cut >= COPY_SILENT_MS && !view.late)
    return `nothing was heard from ${view.b?.side.host ?? '?'} on the replication network for ${cut} ms`;
  if (view.b?.qemu === 'unheard' && view.epochAgeMs > START_MS) return `the agent of ${view.b.side.host} is not heard`;
  if (view.epochAgeMs > protectLimitMs(view)) return `not protected within ${Math.round(protectLimitMs(view) / 1000)} s`;
  return null;
}
