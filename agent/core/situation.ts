// Which of the plan's situations a QEMU is in, from its facts and from the few things that only events tell. Nothing is remembered that
// could be asked; the journal is consulted only for how the QEMU was started and whether it has ended.

import type { QemuFacts } from './facts.js';
import type { QemuJournal } from './journal.js';
import type { Situation } from './plan.js';
import type { Seen } from './seen.js';

export interface Looked {
  readonly qemu: QemuJournal | null;
  /** Its monitors are connected. */
  readonly connected: boolean;
  /** It is there and does not answer out of band. */
  readonly hung: boolean;
  /** Null until the first look. */
  readonly facts: QemuFacts | null;
  readonly seen: Seen | null;
}

export function situationOf(looked: Looked): Situation {
  const { qemu, facts, seen } = looked;
  if (qemu === null) return 'absent';
  if (qemu.death !== null) return 'dead';
  if (looked.hung) return 'hung';
  if (!looked.connected || facts === null) return 'unseen';
  if (facts.runstate === 'shutdown') return 'shutdown';
  const inColo = seen !== null && seen.coloSince !== null;
  // Left by x-colo-lost-heartbeat: what counts is which of the pair's parts are still there.
  const left = facts.colo.mode === 'none' && facts.colo.reason === 'request';
  switch (facts.role) {
    case 'secondary':
      if (facts.colo.mode === 'secondary' || left || inColo) return 'secondary';
      return 'incoming';
    case 'primary':
      // `left` alone may speak of an earlier pair of this QEMU: in a failover the filters go before COLO is left, never after.
      if (facts.colo.mode === 'primary' || inColo || (left && seen?.coloExit?.mode === 'primary')) return 'primary';
      return facts.runstate === 'prelaunch' ? 'prelaunch' : 'attempt';
    case 'alone':
      // Between MIGRATION's `colo` and the next look, and while a guest stands still for a copy that was never begun.
      if (inColo) return qemu.startedAs === 'secondary' && facts.colo.lastMode === 'none' ? 'secondary' : 'primary';
      if (facts.jobs.length > 0 || (!facts.running && facts.runstate === 'paused')) return 'attempt';
      return 'alone';
    case 'none':
      return 'alone';
  }
}

/** The copies are not in the images' order yet: the overlays of a failover are still merged into the disk. */
export function isMerging(facts: QemuFacts): boolean {
  return facts.disks.some((disk) => disk.present && disk.images.length > 1);
}

/**
 * The job that merged them has ended in an error (block/replication.c, FAILOVER_FAILED): no other one comes while this QEMU lives. Guest and
 * chain are whole; the chain is merged before it is booted again.
 */
export function hasMergeFailed(facts: QemuFacts): boolean {
  return facts.role === 'alone' && isMerging(facts) && facts.replication === 'error' && !facts.disks.some((disk) => disk.innerJob);
}
