// Deals the traps of a table out to rounds: a round has one failover and one re-protection, and each of the two can be cut off at one step.
// What a round did not meet (there is nothing to roll back when an attempt was cut off before its first change) is dealt out again.

import { messageOf } from '../../../deploy/lab/command.js';
import type { Role } from '../../../deploy/lab/sides.js';
import { collectEvidence } from '../../e2e/cluster/evidence.js';
import type { Told } from '../told.js';
import { nameOf, type Trap } from '../traps/trap.js';
import { round, type Lane, type Listener, type RoundResult } from './lane.js';
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
  // Rolled back while the guest runs; in the other courses it stands still.
  { name: 'live', role: 'secondary', method: 'live', failover: [], attempt: trapsOf(P.liveResume), rollback: trapsOf(P.rollback) },
];

/** What is left of each of the three when only some of their steps are taken. */
export function some(course: Course, take: (pairs: readonly Pair[]) => readonly Pair[]): Course {
  return { ...course, failover: take(course.failover), attempt: take(course.attempt), rollback: take(course.rollback) };
}

export const dealtTo = ({ failover, attempt, rollback }: Course): readonly Pair[] => [...failover, ...attempt, ...rollback];

export interface CourseResult {
  readonly rounds: readonly RoundResult[];
  readonly kills: number;
  /** Names of the places at which an agent was killed. */
  readonly met: readonly string[];
  readonly problems: readonly string[];
}

const MOST_TRIES = 5;
/** The steps from the first change to COLO: an attempt that is cut off here is rolled back. */
const ROLLED_BACK = /^((drive|blockdev)-mirror|wait resync|stop|block-job|drive_add|x-blockdev|object-add|qom-set|migrate)/;
/** Such an attempt is made again after a pause that doubles, so that more of them in one round would not be quicker. */
const ROLLED_A_ROUND = 2;
/** One that is cut off elsewhere is gone on with as soon as the agent is there again, and so is a rollback. */
const RESUMED_A_ROUND = 3;
const ROLLBACKS_AN_ATTEMPT = 2;

const isRolled = (pair: Pair): boolean => pair.some((trap) => trap.kind === 'step' && ROLLED_BACK.test(trap.step));

/** Takes the first few that fit out of the queue. */
function deal(queue: Pair[], most: number, fits: (pair: Pair) => boolean = () => true): Pair[] {
  const dealt = queue.filter(fits).slice(0, most);
  for (const pair of dealt) queue.splice(queue.indexOf(pair), 1);
  return dealt;
}

export async function runCourse(lane: Lane, told: Told, course: Course, { report, signal }: Listener): Promise<CourseResult> {
  const queues = { failover: [...course.failover], attempt: [...course.attempt], rollback: [...course.rollback] };
  const tries = new Map<string, number>();
  const rounds: RoundResult[] = [];
  const problems: string[] = [];
  const left = (): number => queues.failover.length + queues.attempt.length + queues.rollback.length;
  while (left() > 0 && !signal.aborted) {
    const failovers = deal(queues.failover, 1);
    const rolled = deal(queues.attempt, ROLLED_A_ROUND, isRolled);
    if (rolled.length === 0 && queues.rollback.length > 0) rolled.push(cutOff(course));
    const attempts = [...deal(queues.attempt, RESUMED_A_ROUND, (pair) => !isRolled(pair)), ...rolled];
    const rollbacks = deal(queues.rollback, ROLLBACKS_AN_ATTEMPT * rolled.length);
    const result = await round(lane, told, course.role, [...failovers, ...attempts, ...rollbacks].flat()).catch(messageOf);
    if (typeof result === 'string') {
      await collectEvidence(lane.plan, lane.vm);
      problems.push(result);
      break;
    }
    rounds.push(result);
    problems.push(...result.problems.map((each) => `${result.sprung.map(nameOf).join(' + ')}: ${each}`));
    for (const [queue, pair] of [
      ...failovers.map((pair) => [queues.failover, pair] as const),
      ...attempts.map((pair) => [queues.attempt, pair] as const),
      ...rollbacks.map((pair) => [queues.rollback, pair] as const),
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
  const met = rounds.flatMap((each) => each.sprung.map(nameOf));
  return { rounds, kills: met.length, met, problems };
}

/** When only rollbacks are left, an attempt is cut off in its middle all the same. */
function cutOff({ method, role }: Course): Pair {
  const procedure = method === 'live' ? P.liveResume : role === 'primary' ? P.secondaryResume : P.primaryResume;
  return [{ kind: 'step', procedure: procedure.name, step: 'migrate', when: 'before' }];
}
