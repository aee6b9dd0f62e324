// Deals the traps of a table out to rounds: a round has one failover and one re-protection, and each of the two can be cut off at one step.
// What a round did not meet (there is nothing to roll back when an attempt was cut off before its first change) is dealt out again.

import type { Role } from '../../../deploy/lab/sides.js';
import type { Told } from '../told.js';
import { nameOf, type Trap } from '../traps/trap.js';
import { round, type Lane, type RoundResult } from './lane.js';
import { PROCEDURES, trapsOf } from './table.js';

/** The two traps of one step. */
export type Pair = readonly Trap[];

export interface Course {
  readonly name: string;
  /** Who is killed in each round. */
  readonly role: Role;
  readonly method: 'stop-copy' | 'live';
  readonly failover: readonly Pair[];
  readonly attempt: readonly Pair[];
  /** Met only when an attempt is rolled back. */
  readonly rollback: readonly Pair[];
}

const P = PROCEDURES;

/** `solo` comes before any promotion on its VM: a primary that once was a secondary resumes by the other procedure. */
export const COURSES: readonly Course[] = [
  {
    name: 'solo',
    role: 'secondary',
    method: 'stop-copy',
    failover: trapsOf(P.primaryFailover),
    attempt: trapsOf(P.primaryResume, P.secondaryStart),
    rollback: trapsOf(P.rollback),
  },
  {
    name: 'promote',
    role: 'primary',
    method: 'stop-copy',
    failover: trapsOf(P.secondaryParting, P.secondaryFailover),
    attempt: trapsOf(P.secondaryResume),
    rollback: [],
  },
  { name: 'live', role: 'secondary', method: 'live', failover: [], attempt: trapsOf(P.liveResume), rollback: [] },
];

/** What is left of each of the three when only some of their steps are taken. */
export function some(course: Course, take: (pairs: readonly Pair[]) => readonly Pair[]): Course {
  return { ...course, failover: take(course.failover), attempt: take(course.attempt), rollback: take(course.rollback) };
}

export interface CourseResult {
  readonly rounds: readonly RoundResult[];
  readonly kills: number;
  readonly problems: readonly string[];
}

const MOST_TRIES = 5;
/** The steps from the first change to COLO: an attempt that is cut off here is rolled back. */
const ROLLED_BACK = /^(drive-mirror|wait resync|stop|block-job|drive_add|x-blockdev|object-add|migrate)/;

export async function runCourse(lane: Lane, told: Told, course: Course, report: (line: string) => void): Promise<CourseResult> {
  const queues = { failover: [...course.failover], attempt: [...course.attempt], rollback: [...course.rollback] };
  const tries = new Map<string, number>();
  const rounds: RoundResult[] = [];
  const problems: string[] = [];
  const left = (): number => queues.failover.length + queues.attempt.length + queues.rollback.length;
  while (left() > 0) {
    const failover = queues.failover.shift() ?? [];
    const attempt = queues.attempt.shift() ?? fallback(course, queues.rollback.length > 0);
    const rolls = attempt.some((trap) => trap.kind === 'step' && ROLLED_BACK.test(trap.step));
    const rollback = rolls ? (queues.rollback.shift() ?? []) : [];
    const result = await round(lane, told, course.role, [...failover, ...attempt, ...rollback]);
    rounds.push(result);
    problems.push(...result.problems.map((each) => `${result.sprung.map(nameOf).join(' + ')}: ${each}`));
    for (const [queue, pair] of [
      [queues.failover, failover],
      [queues.attempt, attempt],
      [queues.rollback, rollback],
    ] as const) {
      const missed = pair.filter((trap) => result.unreached.some((each) => nameOf(each) === nameOf(trap)));
      if (missed.length === 0) continue;
      const key = missed.map(nameOf).join(' + ');
      const tried = (tries.get(key) ?? 0) + 1;
      tries.set(key, tried);
      if (tried < MOST_TRIES) queue.push(missed);
      else problems.push(`never met in ${MOST_TRIES} rounds: ${key}`);
    }
    report(
      `${lane.vm} ${course.name} ${rounds.length}, ${left()} left: ${result.sprung.length} kills, alone ${Math.round(result.aloneMs)} ms, protected again ${Math.round(result.againMs)} ms, gap ${Math.round(result.gapMs)} ms; ${result.sprung.map(nameOf).join(' + ')}${result.problems.length === 0 ? '' : `; WRONG: ${result.problems.join('; ')}`}`,
    );
  }
  return { rounds, kills: rounds.reduce((sum, each) => sum + each.sprung.length, 0), problems };
}

/** When only rollbacks are left, an attempt is cut off in its middle all the same. */
function fallback(course: Course, needed: boolean): Pair {
  if (!needed) return [];
  const { method } = course;
  const procedure = method === 'live' ? P.liveResume : course.role === 'primary' ? P.secondaryResume : P.primaryResume;
  return [{ kind: 'step', procedure: procedure.name, step: 'migrate', when: 'before' }];
}
