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

/** A few steps of each procedure, for the tests: what releases output, what stops the guest, and what neither side can take back. */
export const FEW: readonly RegExp[] = [
  /^primary-failover, .*"(drive_del replication0|x-colo-lost-heartbeat)"/,
  /^secondary-parting, .*"wait COLO_EXIT"/,
  /^secondary-failover, .*"(nbd-server-stop|object-del f1)"/,
  /^primary-resume-replication, .*"(block-job-cancel resync|migrate)"/,
  /^secondary-resume-replication, .*"(object-add comp0|wait first RESUME)"/,
  /^switchover-resume-replication, .*"(blockdev-mirror resync|migrate-continue)"/,
  /^secondary-start, .*"nbd-server-start"/,
  /^rollback-protection, .*"(migrate_cancel|cont)"/,
  /^primary-start, .*"migrate"/,
];

export const isOfTheFew = (traps: readonly Trap[]): boolean => traps.every((trap) => FEW.some((each) => each.test(nameOf(trap))));

/** One of so many pieces of about the same length, counted from 1, in which the whole can be done. */
export interface Part {
  readonly number: number;
  readonly of: number;
}

export function piece<T>(all: readonly T[], { number, of }: Part): readonly T[] {
  return all.slice(Math.floor(((number - 1) * all.length) / of), Math.floor((number * all.length) / of));
}
