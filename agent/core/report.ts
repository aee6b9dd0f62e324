// What an agent says about one VM, from what it has seen. Pure: the loop gathers, this words it.

import type { DiskId, Epoch, Instant } from '../../shared/core/ids.js';
import type { DiskReport, DiskState, PairReport, QemuReport, QemuRole, TaskReport, VmReport } from '../../shared/core/model.js';
import { unreachable } from '../../shared/core/assert.js';
import { isSame } from '../../shared/core/same.js';
import { MISSED_WRITE } from './facts.js';
import { aloneOrDoubtful, type VmJournal } from './journal.js';
import type { Situation } from './plan.js';
import type { Seen } from './seen.js';

/** The disk of a VM on this host, from its stamps. */
export interface DiskView {
  readonly diskId: DiskId | null;
  readonly stampEpoch: Epoch | null;
  readonly state: DiskState | 'missing';
  /** Chain of every disk, each from its topmost overlay to its raw parent. */
  readonly images: readonly string[];
}

export interface VmView {
  readonly journal: VmJournal;
  readonly situation: Situation;
  /** A QEMU is being launched by the running task. */
  readonly launching: boolean;
  readonly pid: number | null;
  readonly runstate: string;
  readonly seen: Seen | null;
  readonly replication: 'none' | 'clean' | 'error';
  /** The overlays of a failover could not be merged, and are needed as long as this QEMU lives. */
  readonly mergeFailed: boolean;
  /** By the watch over pairs; null = there is none, and only QEMU's own word is judged. */
  readonly pair: PairReport | null;
  /** The ordinary monitor has not answered since; null = it answers. */
  readonly mainLoopSilentSince: Instant | null;
  readonly task: TaskReport;
  readonly disk: DiskView;
  readonly resync: VmReport['resync'];
  readonly durationsMs: Readonly<Record<string, number>>;
}

/** A pair without a checkpoint for so many of its own periods, and this margin, is silent. */
const SILENT_CHECKPOINTS = 3;
const SILENT_MARGIN_MS = 1_500;

export function reportOf(view: VmView, now: Instant): VmReport {
  const { journal } = view;
  const qemu = journal.qemu;
  return {
    vm: journal.vm,
    uid: journal.uid,
    term: journal.term,
    epoch: journal.epoch,
    qemu: qemuReport(view),
    pair: view.pair ?? judgePair(view, now),
    aloneSince: qemu === null ? null : aloneOrDoubtful(qemu),
    readyFor: qemu?.readyFor ?? null,
    provenFor: qemu?.provenFor ?? null,
    guestShutdown: qemu?.guestShutdown === true || view.seen?.guestShutdown === true,
    held: qemu?.held ?? false,
    coloExited: qemu?.coloExited === true || (view.seen?.coloExit ?? null) !== null,
    unpromotable: qemu?.unpromotable ?? null,
    task: view.task,
    disk: diskReport(view),
    resync: view.resync,
    durationsMs: view.durationsMs,
  };
}

function qemuReport(view: VmView): QemuReport {
  const qemu = view.journal.qemu;
  if (qemu === null) return { kind: 'absent' };
  const { born } = qemu;
  if (view.launching) return { kind: 'starting', born };
  switch (view.situation) {
    case 'absent':
      return { kind: 'absent' };
    case 'dead':
      return { kind: 'dead', born, why: qemu.death?.why ?? 'its process is gone', guestShutdown: qemu.guestShutdown };
    case 'unseen':
      return { kind: 'unknown', born, pid: view.pid };
    case 'hung':
      return { kind: 'hung', born, pid: view.pid };
    case 'prelaunch':
    case 'incoming':
    case 'alone':
    case 'attempt':
    case 'primary':
    case 'secondary':
    case 'shutdown':
      return { kind: 'alive', born, pid: view.pid, role: roleOf(view.situation), runstate: view.runstate };
    default:
      return unreachable(view.situation);
  }
}

function roleOf(situation: Situation): QemuRole {
  switch (situation) {
    case 'alone':
      return 'alone';
    case 'prelaunch':
    case 'attempt':
    case 'primary':
      return 'primary';
    case 'incoming':
    case 'secondary':
      return 'secondary';
    default:
      return 'none';
  }
}

/** Whether the pair lives, by what QEMU itself showed. An old sign is no sign: `ok` needs a checkpoint that is fresh. */
export function judgePair(
  view: Pick<VmView, 'situation' | 'seen' | 'replication' | 'journal' | 'mainLoopSilentSince'>,
  now: Instant,
): PairReport {
  const { seen, situation } = view;
  if (seen === null || (situation !== 'primary' && situation !== 'secondary' && situation !== 'hung'))
    return { state: 'none', evidence: [] };
  const age = (at: Instant): string => `${Math.round(now - at)} ms ago`;
  if (seen.breaks.length > 0) return { state: 'hard', evidence: seen.breaks.map((each) => `${each.what} ${age(each.at)}`) };
  if (view.replication === 'error') return { state: 'hard', evidence: [MISSED_WRITE] };
  if (situation === 'hung') return { state: 'unknown', evidence: ['QEMU does not answer'] };
  if (view.mainLoopSilentSince !== null)
    return { state: 'unknown', evidence: [`the main loop of QEMU does not answer since ${age(view.mainLoopSilentSince)}`] };

  const limitMs = SILENT_CHECKPOINTS * view.journal.spec.checkpointDelayMs + SILENT_MARGIN_MS;
  const freshSince = seen.checkpoints > 0 ? seen.lastResumeAt : null;
  if (freshSince !== null && now - freshSince <= limitMs) return { state: 'ok', evidence: [] };
  const begin = freshSince ?? seen.coloSince;
  if (begin === null) return { state: 'unknown', evidence: ['not in COLO'] };
  const text = freshSince === null ? `no checkpoint seen yet, in COLO since ${age(begin)}` : `last checkpoint ${age(begin)}`;
  return { state: now - begin <= limitMs ? 'unknown' : 'silent', evidence: [text] };
}

function diskReport(view: VmView): DiskReport {
  const { diskId, stampEpoch, state, images } = view.disk;
  const replication = view.seen?.peerDiskError === true ? 'error' : view.replication;
  return {
    diskId,
    stampEpoch,
    state,
    images,
    replication,
    localError: view.seen?.localDiskError === true || view.runstate === 'io-error' || view.mergeFailed,
  };
}

/** The two say the same apart from how long ago things were: then there is nothing to push. */
export function saysTheSame(one: VmReport, other: VmReport): boolean {
  const parts = Object.keys(one) as (keyof VmReport)[];
  return parts.every((part) => (part === 'pair' ? isSamePair(one.pair, other.pair) : isSame(one[part], other[part])));
}

function isSamePair(one: PairReport, other: PairReport): boolean {
  if (one.state !== other.state || one.evidence.length !== other.evidence.length) return false;
  return one.evidence.every((line, k) => withoutNumbers(line) === withoutNumbers(other.evidence[k] ?? ''));
}

function withoutNumbers(line: string): string {
  return line.replace(/\d+/g, '');
}
