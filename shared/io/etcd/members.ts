// All members of the etcd cluster and the order in which they are asked: the one that answered last first, the next one after a failure.
// The first endpoint is the preferred one; it should be the member on the same host, because then both die together.

import { STORE_CALL_MS, STORE_OPERATION_MS } from '../../core/limits.js';
import { fail, type Result } from '../../core/result.js';
import type { Instant } from '../../core/ids.js';
import type { Clock, StoreError } from '../../ports.js';
import type { CallKind } from './errors.js';
import type { Member } from './member.js';

/** After all members failed in turn, the next round begins so much later. */
const ROUND_PAUSE_MS = 50;

export type Attempt<T> = (member: Member, deadlineMs: number) => Promise<Result<T, StoreError>>;

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
  /** For a stream: the member after this one, or the preferred one. */
  next(after: Member | null): Member;
  /** Calls avoid this member until another has failed. */
  doubt(member: Member): void;
}

export function createMembers(clock: Clock, all: readonly Member[]): Members {
  let current = 0;
  let knownRevision = 0;
  let lastAnswerAt: Instant | null = null;

  const at = (index: number): Member => all[index % all.length] as Member;

  function doubt(member: Member): void {
    if (at(current) === member) current = (current + 1) % all.length;
  }

  async function run<T>(kind: CallKind, attempt: Attempt<T>): Promise<Result<T, StoreError>> {
    const startedAt = clock.now();
    let last: StoreError = { kind: 'unavailable', detail: 'no member was asked' };
    for (let tries = 1; ; tries += 1) {
      const leftMs = STORE_OPERATION_MS - (clock.now() - startedAt);
      if (leftMs <= 0) return fail({ ...last, detail: `no member answered within ${STORE_OPERATION_MS} ms; last: ${last.detail}` });
      const member = at(current);
      const result = await attempt(member, Math.min(STORE_CALL_MS, leftMs));
      if (result.ok || result.error.kind === 'refused') {
        lastAnswerAt = clock.now();
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
    next: (after) => (after === null ? at(current) : at(all.indexOf(after) + 1)),
    doubt,
  };
}
