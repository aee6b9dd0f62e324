// All members of the etcd cluster and the order in which they are asked: as they are configured, without those that have failed lately. The
// first endpoint should be the member on the same host, because then both die together; so calls return to it once it answers again, and do
// not stay with a member that happened to answer one day and whose host goes dark on another.

import { STORE_CALL_MS, STORE_OPERATION_MS } from '../../core/limits.js';
import { fail, type Result } from '../../core/result.js';
import type { Instant } from '../../core/ids.js';
import type { Clock, StoreError } from '../../ports.js';
import type { CallKind } from './errors.js';
import type { EtcdMember } from './member.js';

/** After all members failed in turn, the next round begins so much later. */
const ROUND_PAUSE_MS = 50;
/** A member that has failed is asked so often whether it is well again, beside the calls and at no call's cost. */
const RECHECK_MS = 500;

export type Attempt<T> = (member: EtcdMember, deadlineMs: number) => Promise<Result<T, StoreError>>;

export interface Members {
  /**
   * Tries member after member until one answers or the operation's time is over. A write whose outcome is unknown is not tried again: the
   * caller reads what became of it.
   */
  run<T>(kind: CallKind, attempt: Attempt<T>): Promise<Result<T, StoreError>>;
  /** Tells of any member's answer with the store's revision in it: a floor for what every healthy member must soon know. */
  answered(revision: number): void;
  /** The highest revision that any linearizable answer has shown. */
  knownRevision(): number;
  lastAnswerAt(): Instant | null;
  /** For a stream that begins, or that has ended with this member: the same again unless it is doubted. */
  next(after: EtcdMember | null): EtcdMember;
  /** Calls avoid this member until it has answered again. */
  doubt(member: EtcdMember): void;
}

/** `isWell`: asks one member something that takes a quorum. It has a deadline and never throws. */
export function createMembers(clock: Clock, all: readonly EtcdMember[], isWell: (member: EtcdMember) => Promise<boolean>): Members {
  /** Members that have failed, and when each was last asked or blamed. */
  const doubted = new Map<EtcdMember, Instant>();
  let turn = 0;
  let knownRevision = 0;
  let lastAnswerAt: Instant | null = null;

  const at = (index: number): EtcdMember => all[index % all.length] as EtcdMember;

  /** While all are doubted, one after the other. */
  function pick(): EtcdMember {
    const trusted = all.find((each) => !doubted.has(each));
    if (trusted !== undefined) return trusted;
    turn += 1;
    return at(turn);
  }

  function doubt(member: EtcdMember): void {
    doubted.set(member, clock.now());
  }

  function recheck(): void {
    for (const [member, since] of doubted) {
      if (clock.now() - since < RECHECK_MS) continue;
      doubted.set(member, clock.now());
      void isWell(member).then((well) => {
        if (well) doubted.delete(member);
      });
    }
  }

  async function run<T>(kind: CallKind, attempt: Attempt<T>): Promise<Result<T, StoreError>> {
    const startedAt = clock.now();
    recheck();
    let last: StoreError = { kind: 'unavailable', detail: 'no member was asked' };
    for (let tries = 1; ; tries += 1) {
      const leftMs = STORE_OPERATION_MS - (clock.now() - startedAt);
      if (leftMs <= 0) return fail({ ...last, detail: `no member answered within ${STORE_OPERATION_MS} ms; last: ${last.detail}` });
      const member = pick();
      const result = await attempt(member, Math.min(STORE_CALL_MS, leftMs));
      if (result.ok || result.error.kind === 'refused') {
        lastAnswerAt = clock.now();
        doubted.delete(member);
        return result;
      }
      doubt(member);
      if (result.error.kind === 'unknown' && kind === 'write') return result;
      last = result.error;
      if (tries % all.length === 0) await new Promise<void>((resolve) => void clock.after(ROUND_PAUSE_MS, resolve));
    }
  }

  return {
    run,
    answered: (revision) => {
      knownRevision = Math.max(knownRevision, revision);
    },
    knownRevision: () => knownRevision,
    lastAnswerAt: () => lastAnswerAt,
    next: (after) => (after === null || doubted.has(after) ? pick() : after),
    doubt,
  };
}
