// Waits until a VM is as it was asked to be. A wait that ends early never calls the thing failed: what was asked goes on, and the message
// says where it stands and how to look.

import { CoordinatorServiceService as service, type VmStatus } from '../../shared/gen/colo/v1/coordinator.js';
import { EXIT, hasFailed } from './exit-codes.js';
import type { Session } from './session.js';
import { failure, type CliWorld, type Failure } from './world.js';

const POLL_MS = 250;

export interface Goal {
  readonly vm: string;
  /** As a past participle: `protected`, `stopped`. */
  readonly word: string;
  /** Null = the VM is gone. */
  reached(status: VmStatus | null): boolean;
  /** A failure of this epoch or an earlier one was there before and says nothing about what was asked now. */
  readonly sinceEpoch: number;
}

export async function waitForGoal(world: CliWorld, session: Session, goal: Goal, timeoutMs: number): Promise<number | Failure> {
  const deadline = world.clock.now() + timeoutMs;
  let last = 'nothing was heard of it';
  for (;;) {
    const answer = await session.read(service.getVm, { name: goal.vm });
    const isGone = !answer.ok && answer.error.code === 'NOT_FOUND';
    if (answer.ok || isGone) {
      const status = answer.ok ? (answer.value.status ?? null) : null;
      if (goal.reached(status)) {
        world.out(`VM ${goal.vm} is ${goal.word}${status === null ? '' : sides(status)}.\n`);
        return EXIT.ok;
      }
      if (status === null) return failure(EXIT.error, `VM ${goal.vm} is gone: somebody deleted it while this command waited`);
      if (hasFailed(status) && status.epoch > goal.sinceEpoch) {
        return failure(
          EXIT.failed,
          `VM ${goal.vm} is ${status.phase}: ${status.reason}\nLook: coloctl vm show ${goal.vm}; coloctl history ${goal.vm}`,
        );
      }
      last = say(status, last);
    } else if (answer.error.exit !== EXIT.unreachable) return answer.error;
    if (world.clock.now() >= deadline) return early(goal, timeoutMs, last);
    await new Promise<void>((resolve) => world.clock.after(POLL_MS, resolve));
  }

  /** A line for each change, so that a long wait is not a silent one. */
  function say(status: VmStatus, before: string): string {
    const error = status.lastError === '' || status.lastError === status.reason ? '' : ` (last error: ${status.lastError})`;
    const now = `${status.phase}: ${status.reason}${error}`;
    if (now !== before) world.err(`${goal.vm}: ${now}\n`);
    return now;
  }
}

function early(goal: Goal, timeoutMs: number, last: string): Failure {
  return failure(
    EXIT.timeout,
    `unknown, still in progress: VM ${goal.vm} is not ${goal.word} after ${timeoutMs / 1_000} s. Last seen: ${last}\n` +
      `What was asked goes on. Look: coloctl vm show ${goal.vm}; coloctl status -w`,
  );
}

function sides(status: VmStatus): string {
  if (status.primary === '') return '';
  return status.secondary === '' ? ` on ${status.primary}` : ` on ${status.primary} (primary) and ${status.secondary} (secondary)`;
}
