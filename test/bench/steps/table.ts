// Every step of every procedure that the product runs, taken from the procedures themselves: the six of QEMU's manual, and those that are
// put together from them. A step that is added to a procedure is in this table by itself.

import { primaryFailover, secondaryFailover, secondaryParting } from '../../../agent/core/procedures/failover.js';
import {
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../../../agent/core/procedures/resume.js';
import { primaryStart, secondaryStart } from '../../../agent/core/procedures/start.js';
import type { Procedure, Step } from '../../../agent/core/procedures/step.js';
import { aContext } from '../../unit/agent/procedure-context.js';
import { nameOf, type Trap } from '../traps/trap.js';

const fresh = aContext();
const exSecondary = aContext({ rewriters: ['rew0'] });

/**
 * `secondary-parting` has said COLO_EXIT before `secondary-failover` begins. `live-resume-replication` is for a QEMU before 10.0, and
 * `force-checkpoint` has the last steps of every resume.
 */
export const PROCEDURES = {
  primaryFailover: primaryFailover(fresh),
  secondaryParting: secondaryParting(fresh),
  secondaryFailover: secondaryFailover(aContext({ coloExited: true })),
  primaryResume: primaryResumeReplication(fresh),
  secondaryResume: secondaryResumeReplication(exSecondary),
  liveResume: switchoverResumeReplication(fresh),
  secondaryStart: secondaryStart(fresh),
  primaryStart: primaryStart(fresh),
  rollback: rollbackProtection(fresh),
} as const satisfies Readonly<Record<string, Procedure>>;

const whens = ['before', 'sent'] as const;

/** Two traps a step: before it, and when what it sends is with QEMU. */
export function trapsOf(...procedures: readonly Procedure[]): readonly (readonly Trap[])[] {
  return procedures.flatMap(({ name, steps }) =>
    steps.map((step: Step) => whens.map((when): Trap => ({ kind: 'step', procedure: name, step: step.name, when }))),
  );
}

/** Of each: what releases output, what stops the guest or keeps it stopped, or what the other side no longer takes back. */
const WORST: Readonly<Partial<Record<keyof typeof PROCEDURES, string>>> = {
  primaryFailover: 'x-colo-lost-heartbeat',
  // COLO_EXIT is not waited for where QEMU has said it before, as it does when its primary was killed.
  secondaryParting: 'yank migration',
  secondaryFailover: 'x-colo-lost-heartbeat',
  // Not after it: from `migrate` on the pair may be there before the next agent is, and then nothing is rolled back.
  primaryResume: 'block-job-cancel resync',
  secondaryResume: 'migrate',
  secondaryStart: 'nbd-server-start',
  primaryStart: 'migrate',
  rollback: 'cont',
};

/**
 * The few places at which the tests kill an agent: before the first step of a procedure, and when what its worst step sends is with QEMU. None of
 * the live resume, which needs a VM of its own.
 */
export function fewOf(...names: readonly (keyof typeof PROCEDURES)[]): readonly Trap[] {
  return names.flatMap((key) => {
    const { name, steps } = PROCEDURES[key];
    const [first] = steps;
    const worst = steps.find((step) => step.name === WORST[key]);
    return [
      ...(first === undefined ? [] : [{ kind: 'step', procedure: name, step: first.name, when: 'before' } as const]),
      ...(worst === undefined ? [] : [{ kind: 'step', procedure: name, step: worst.name, when: 'sent' } as const]),
    ];
  });
}

/** Those whose name contains one of these; all when there are none. */
export function named(all: readonly (readonly Trap[])[], texts: readonly string[]): readonly (readonly Trap[])[] {
  if (texts.length === 0) return all;
  return all.map((pair) => pair.filter((trap) => texts.some((text) => nameOf(trap).includes(text)))).filter((pair) => pair.length > 0);
}

/** One of so many pieces of about the same length, counted from 1, in which the whole can be done. */
export interface Part {
  readonly number: number;
  readonly of: number;
}

export function piece<T>(all: readonly T[], { number, of }: Part): readonly T[] {
  return all.slice(Math.floor(((number - 1) * all.length) / of), Math.floor((number * all.length) / of));
}
