// What an agent must not forget over its own death: the highest order it obeyed for each VM, and what became of the one QEMU that this
// host has of it. Facts that QEMU can be asked for are not here. A journal is written before its order is acted upon, so after a crash
// it says at most more than was done, never less; every action is therefore safe to repeat.

import type { DiskId, Epoch, HostId, Incarnation, Term, VmUid } from '../../shared/core/ids.js';
import type { Goal, GoalKind, Order, Peer, Ports, VmSpec } from '../../shared/core/model.js';

export const JOURNAL_FORMAT = 1;

/** One per host: `<stateDir>/host.json`. */
export interface AgentJournal {
  readonly format: typeof JOURNAL_FORMAT;
  readonly hostId: HostId;
  /** The last incarnation of the cluster whose orders were obeyed; null = none yet. */
  readonly incarnation: Incarnation | null;
}

/** One per VM: `<stateDir>/vms/<vm>/journal.{a,b}.json`. */
export interface VmJournal {
  readonly format: typeof JOURNAL_FORMAT;
  readonly vm: string;
  readonly uid: VmUid;
  /** Of the highest order obeyed. */
  readonly term: Term;
  readonly epoch: Epoch;
  readonly goal: Goal;
  readonly spec: VmSpec;
  readonly outcome: Outcome;
  readonly diskId: DiskId | null;
  /** The QEMU that this host has, or last had, of this VM; null = none. */
  readonly qemu: QemuJournal | null;
}

/** What became of `goal`. `open`: not finished, or nobody wrote that it was. */
export type Outcome =
  { readonly kind: 'open' } | { readonly kind: 'done' } | { readonly kind: 'failed'; readonly step: string; readonly error: string };

export interface QemuJournal {
  readonly born: Epoch;
  /** Highest epoch whose order let this QEMU live on; a record must be above it before the QEMU may be destroyed. */
  readonly obeyed: Epoch;
  readonly startedAs: 'alone' | 'cold-primary' | 'secondary';
  /** Started by somebody else, and never killed by us. */
  readonly external: boolean;
  readonly taps: readonly string[];
  /** Where the other side is, from the last order that said so. */
  readonly attempt: Attempt | null;
  /** Epoch whose COLO was promised to the coordinator: from then on nothing is rolled back without an order (SAFETY 3). */
  readonly promised: Epoch | null;
  /** Epoch whose order let it run the guest alone, written when that was seen. */
  readonly aloneSince: Epoch | null;
  /** An order to release it was obeyed, and nobody has written yet what became of it. */
  readonly releasing: Releasing | null;
  readonly readyFor: Epoch | null;
  readonly provenFor: Epoch | null;
  readonly held: boolean;
  /** COLO_EXIT was seen; an event, so it cannot be asked for again. */
  readonly coloExited: boolean;
  /** The guest powered off by itself. */
  readonly guestShutdown: boolean;
  /** Why it must not run the guest by itself; it holds until the next pair is made, or until an operator takes the loss on him. */
  readonly unpromotable: string | null;
  /** Its exit is proven. */
  readonly death: Death | null;
}

/**
 * Written together with the order, before anything is done for it. Until it is gone, or `aloneSince` is there, this QEMU may have released
 * output: an agent that died in between cannot testify that it never did (SAFETY 4).
 */
export interface Releasing {
  readonly epoch: Epoch;
  /** The order was begun before, and that try may have released output whatever becomes of this one. */
  readonly doubtful: boolean;
}

export interface Attempt {
  readonly epoch: Epoch;
  readonly ports: Ports;
  readonly peer: Peer | null;
}

export interface Death {
  readonly why: string;
}

/** The journal after this order was accepted. `goal`s that start a QEMU begin a new one unless it is the one that is there. */
export function journalOrder(before: VmJournal | null, order: Order, diskId: DiskId | null): VmJournal {
  const { goal } = order;
  const known = before?.uid === order.uid ? before : null;
  const qemu = qemuAfter(known?.qemu ?? null, order);
  const repeated = known !== null && sameOrder(known, order);
  return {
    format: JOURNAL_FORMAT,
    vm: order.vm,
    uid: order.uid,
    term: order.term,
    epoch: order.epoch,
    goal,
    spec: order.spec,
    outcome: repeated && known.outcome.kind === 'done' && !redone(goal.kind) ? known.outcome : { kind: 'open' },
    diskId: known?.diskId ?? diskId,
    qemu,
  };
}

/** The same goal of the same epoch; a later term may repeat it. */
export function sameOrder(journal: VmJournal, order: Order): boolean {
  return journal.epoch === order.epoch && journal.goal.kind === order.goal.kind && bornOf(journal.goal) === bornOf(order.goal);
}

/** Goals that are an act rather than a state: the same order again means once more. */
export function redone(kind: GoalKind): boolean {
  return kind === 'checkpoint';
}

export function bornOf(goal: Goal): Epoch | null {
  return goal.kind === 'destroy' ? null : goal.born;
}

export function startsQemu(goal: Goal): goal is Extract<Goal, { kind: 'start-alone' | 'start-cold-primary' | 'start-secondary' }> {
  return goal.kind === 'start-alone' || goal.kind === 'start-cold-primary' || goal.kind === 'start-secondary';
}

/** An operator knows that a disk lacks writes, and that no other copy is left. A journal of an earlier version has no such word. */
export function acceptsLoss(goal: Goal): boolean {
  return goal.kind === 'release-primary' && goal.acceptLoss;
}

function releasesQemu(goal: Goal): boolean {
  return goal.kind === 'release-primary' || goal.kind === 'release-secondary';
}

/** Whether an order to release it has begun and its end is not known. A journal of an earlier version has no such field. */
function isReleasing(qemu: QemuJournal): boolean {
  return (qemu.releasing ?? null) !== null;
}

/** A try that ended before anything was released leaves no doubt behind, unless an earlier one did. */
export function withoutDoubt(qemu: QemuJournal, epoch: Epoch): QemuJournal {
  return qemu.releasing?.epoch === epoch && !qemu.releasing.doubtful ? { ...qemu, releasing: null } : qemu;
}

/** Epoch in which this QEMU ran alone, or in which it cannot be ruled out that it did before it died. */
export function aloneOrDoubtful(qemu: QemuJournal): Epoch | null {
  return qemu.aloneSince ?? (qemu.death === null ? null : (qemu.releasing?.epoch ?? null));
}

function qemuAfter(qemu: QemuJournal | null, order: Order): QemuJournal | null {
  const { goal } = order;
  if (goal.kind === 'destroy') return qemu;
  const attempt = attemptOf(order);
  if (qemu !== null && qemu.born === goal.born) {
    const livesOn = goal.kind !== 'stop' && goal.kind !== 'hold';
    // What has ended before its order came is not released by it; an earlier doubt stays.
    const releasing = releasesQemu(goal) && qemu.death === null ? { epoch: order.epoch, doubtful: isReleasing(qemu) } : qemu.releasing;
    return { ...qemu, obeyed: livesOn ? order.epoch : qemu.obeyed, attempt: attempt ?? qemu.attempt, releasing };
  }
  if (!startsQemu(goal)) return qemu;
  return {
    born: goal.born,
    obeyed: order.epoch,
    startedAs: goal.kind === 'start-alone' ? 'alone' : goal.kind === 'start-secondary' ? 'secondary' : 'cold-primary',
    external: order.spec.launch.kind === 'external',
    taps: [],
    attempt,
    promised: null,
    aloneSince: null,
    releasing: null,
    readyFor: null,
    provenFor: null,
    held: false,
    coloExited: false,
    guestShutdown: false,
    unpromotable: null,
    death: null,
  };
}

function attemptOf(order: Order): Attempt | null {
  const { goal, epoch } = order;
  switch (goal.kind) {
    case 'start-cold-primary':
    case 'start-secondary':
    case 'protect':
      return { epoch, ports: goal.ports, peer: goal.peer };
    case 'release-secondary':
      return { epoch, ports: goal.ports, peer: null };
    case 'start-alone':
    case 'release-primary':
    case 'hold':
    case 'checkpoint':
    case 'stop':
    case 'destroy':
      return null;
  }
}
