// Asks for the status all the time as `coloctl status` does, by the same code: the coordinator that knows best, and the exit code that an
// operator's script would get. Kept as changes with their times, so that "how long after" is read off and not guessed. Starting a program
// for each look would be the load under which is measured.

import { exitCodeOf } from '../../../coordinator/cli/exit-codes.js';
import { openSession } from '../../../coordinator/cli/session.js';
import type { Failure } from '../../../coordinator/cli/world.js';
import { waitFor } from '../../../deploy/lab/command.js';
import { members, type LabPlan } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import type { Status } from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial } from '../../../shared/io/rpc/client.js';
import { insecureLab } from '../../../shared/io/rpc/security.js';
import type { PairSeen } from './pair.js';

const LOOK_EVERY_MS = 20;
const LONGEST_WATCH_MS = 24 * 3_600_000;

export interface Look {
  readonly askedMonoMs: number;
  readonly monoMs: number;
  /** What `coloctl status` would exit with. */
  readonly exit: number;
  /** Empty = it says of no problem. */
  readonly problem: string;
  /** All that an operator wishes for: exit 0, somebody leads, every host is ready, the pair is what it was. */
  readonly right: boolean;
  /** Why it is not right, for people. */
  readonly amiss: string;
}

export interface StatusEye {
  /** Looks that differ from the one before, since that instant. */
  changes(sinceMonoMs: number): readonly Look[];
  /** The first look, asked for at that instant or later, that is as wished for. */
  until(what: string, sinceMonoMs: number, boundMs: number, wished: (look: Look) => boolean, signal?: AbortSignal): Promise<Look>;
  stop(): Promise<void>;
}

export const saysNoQuorum = (look: Look): boolean => look.exit === 5 && look.problem.startsWith('no etcd quorum');

/** `pair`: what the status must show to be right; asked at each look. */
export function openEye(plan: LabPlan, pair: () => PairSeen): StatusEye {
  const ports = { clock: systemClock(), random: systemRandom() };
  const session = openSession(
    { dial: (address) => dial(ports, address) },
    members(plan).map((each) => each.coordinatorAddress),
    insecureLab,
  );
  const looks: Look[] = [];
  let stopped = false;

  async function look(): Promise<void> {
    const askedMonoMs = monoMs();
    const answer = await session.status();
    const seen = { askedMonoMs, monoMs: monoMs() };
    const before = looks.at(-1);
    const next = answer.ok ? { ...seen, ...judged(answer.value, pair()) } : { ...seen, ...unanswered(answer.error) };
    // Of looks in a row that say the same, the first and the last are kept.
    if (before !== undefined && isSame(before, next) && isSame(looks.at(-2), next)) looks.pop();
    looks.push(next);
  }

  const looking = waitFor({ what: 'end of the looks', boundMs: LONGEST_WATCH_MS, everyMs: LOOK_EVERY_MS }, async () => {
    if (stopped) return true;
    await look();
    return null;
  });

  return {
    changes: (sinceMonoMs) =>
      looks.filter((each) => each.askedMonoMs >= sinceMonoMs).filter((each, position, all) => !isSame(all[position - 1], each)),
    until: async (what, sinceMonoMs, boundMs, wished, signal) => {
      const last = (): string => `status exits with ${looks.at(-1)?.exit ?? '?'}: ${looks.at(-1)?.amiss ?? 'nothing seen'}`;
      const wait = { what, boundMs, everyMs: 5, last, ...(signal === undefined ? {} : { signal }) };
      return waitFor(wait, () => looks.find((each) => each.askedMonoMs >= sinceMonoMs && wished(each)) ?? null);
    },
    stop: async () => {
      stopped = true;
      await looking;
      session.close();
    },
  };
}

function isSame(one: Look | undefined, other: Look): boolean {
  // The text counts seconds.
  return one !== undefined && one.exit === other.exit && one.right === other.right && saysNoQuorum(one) === saysNoQuorum(other);
}

type Judgement = Omit<Look, 'askedMonoMs' | 'monoMs'>;

function judged(status: Status, pair: PairSeen): Judgement {
  const amiss = amissIn(status, pair).join('; ');
  return { exit: exitCodeOf(status), problem: status.problem, right: amiss === '', amiss };
}

const unanswered = ({ exit, message }: Failure): Judgement => ({ exit, problem: message, right: false, amiss: message });

function amissIn(status: Status, pair: PairSeen): readonly string[] {
  const vm = status.vms.find((each) => each.name === pair.vm);
  const differs = (what: string, seen: number | string | undefined, wished: number | string): readonly string[] =>
    seen === wished ? [] : [`${what} is ${seen ?? 'not there'} and was ${wished}`];
  return [
    ...(exitCodeOf(status) === 0 ? [] : [status.problem || `the VM is ${vm?.phase ?? 'not there'}`]),
    ...(status.leader === '' ? ['nobody leads'] : []),
    ...status.hosts.filter((host) => host.state !== 'ready').map((host) => `${host.name} is ${host.state}`),
    ...differs('epoch', vm?.epoch, pair.epoch),
    ...differs('primary', vm?.primary, pair.primary),
    ...differs('secondary', vm?.secondary, pair.secondary),
    ...differs('number of sides', vm?.sides.length, 2),
    ...(vm?.sides ?? []).flatMap((side) => [
      ...differs(`QEMU on ${side.host}`, side.qemu, 'alive'),
      ...differs(`pair by ${side.host}`, side.pair, 'ok'),
    ]),
  ];
}
