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
import type { Trap } from '../traps/trap.js';

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
