// What several rows say alike: how long to pause after failures, which disk is valid now, and what follows when a VM's only QEMU died.

import { PROTECT_BACKOFF_FIRST_MS, PROTECT_BACKOFF_LAST_MS } from '../../shared/core/limits.js';
import type { ValidDisk, VmRecord } from '../../shared/core/model.js';
import { edge, failedTask, unfitnessOf, type Change } from './rows.js';
import type { SideView, VmView } from './view.js';

/** Doubling pause after failed tries, so that a thing that cannot work is not tried in a tight loop, and yet for ever. */
export function backoffMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(PROTECT_BACKOFF_LAST_MS, PROTECT_BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 16));
}

/** The primary's own image is the valid disk from now on. */
export function diskOf(view: SideView, record: VmRecord): ValidDisk | null {
  const { report } = view;
  // A stamp that still says `stale` was not read anew yet: what this QEMU runs on is not that.
  if (report === null || report.disk.diskId === null || report.disk.state === 'missing' || report.disk.state === 'stale')
    return record.disk;
  return { host: view.side.host, diskId: report.disk.diskId, epoch: record.epoch, state: report.disk.state, images: report.disk.images };
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

/** The primary's disk lacks writes that its guest was told are written, and no other copy can go on: nothing is booted before somebody knows. */
export function lostWrites(view: VmView, what: string): Change {
  const host = view.a?.side.host ?? '?';
  return edge(
    view,
    'failed',
    `data at risk: the primary on ${host} must not go on alone (${unfitnessOf(view.a) ?? 'its disk fails'}), and ${what}`,
    {},
  );
}

/** Boots the one valid disk again on its host, or stops for good, as the spec says. */
export function diedAlone(view: VmView, what: string, patch: Partial<VmRecord> = {}): Change {
  if (view.wanted.spec.restart === 'never') {
    return edge(view, 'failed', `${what}, and restart is "never": stop and start the VM to run it again`, { secondary: null, ...patch });
  }
  return edge(
    view,
    'stopped',
    `${what}; to be started again from the disk on ${(patch.disk ?? view.record.disk)?.host ?? view.a?.side.host ?? 'its host'}`,
    {
      primary: null,
      secondary: null,
      verdict: null,
      failedAttempts: view.record.phase === 'starting' ? view.record.failedAttempts + 1 : 0,
      lastError: failedTask(view.a, view.record) ?? what,
      ...patch,
    },
  );
}
