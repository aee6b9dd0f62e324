// A procedure is a list of steps, and a step is data: what to send, how to know that it had been done before, and what its silence
// means. Procedures differ from QEMU's manual only where a step says so by the id of a listed deviation (deviations.ts).

import type { Condition } from './condition.js';
import type { DeviationId } from './deviations.js';
import type { JsonObject, QmpError } from './port.js';

export const PROCEDURES = [
  'secondary-start',
  'primary-start',
  'primary-failover',
  'secondary-parting',
  'secondary-failover',
  'primary-resume-replication',
  'secondary-resume-replication',
  'live-resume-replication',
  'switchover-resume-replication',
  'rollback-protection',
  'force-checkpoint',
  'block-primary-attach',
  'block-secondary-export',
  'block-primary-after-failover',
  'block-secondary-after-failover',
] as const;
export type ProcedureName = (typeof PROCEDURES)[number];

export interface Procedure {
  readonly name: ProcedureName;
  readonly steps: readonly Step[];
  /** Name of the step after which the guest runs alone with its output released; null when the procedure releases nothing. */
  readonly releasedAfter: string | null;
}

/** An error that says "that is done already". `contains` is looked for in the description. */
export interface Recognition {
  readonly contains: string;
}

/** A question whose answer tells whether a step whose outcome was lost has happened. */
export interface Observation {
  readonly command: string;
  readonly args: JsonObject;
  readonly done: Condition;
}

export type YankInstance =
  | { readonly type: 'block-node'; readonly 'node-name': string }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'migration' };

interface StepBase {
  /** Unique within its procedure. */
  readonly name: string;
  /** Why this step is not, or not so, in QEMU's manual. Empty: to the letter. */
  readonly deviations: readonly DeviationId[];
  readonly deadlineMs: number;
}

export interface CommandStep extends StepBase {
  readonly kind: 'command';
  readonly command: string;
  readonly args: JsonObject;
  readonly alreadyDone: readonly Recognition[];
  readonly observe: Observation | null;
}

/** A line for the human monitor. It fails by answering with text, which the port turns into an error. */
export interface HmpStep extends StepBase {
  readonly kind: 'hmp';
  readonly line: string;
  readonly alreadyDone: readonly Recognition[];
  readonly observe: Observation | null;
}

/** Out of band, one instance a call (one unknown instance fails a whole call). A refusal is harmless: there was nothing to free. */
export interface YankStep extends StepBase {
  readonly kind: 'yank';
  readonly instance: YankInstance;
}

/** Waits for an event that came after the step named `since` began (null: after the procedure began). */
export interface WaitEventStep extends StepBase {
  readonly kind: 'wait-event';
  readonly event: string;
  readonly where: Condition;
  /** Events that mean it will not come any more. */
  readonly failOn: readonly { readonly event: string; readonly where: Condition }[];
  readonly since: string | null;
  /** Sent again while waiting, because QEMU may miss it. */
  readonly nudge: { readonly command: string; readonly args: JsonObject; readonly everyMs: number } | null;
  readonly onTimeout: 'refused' | 'unknown';
}

/** Asks until the answer fulfils `until`. The first answer that fulfils `failWhen` ends the procedure as refused. */
export interface QueryUntilStep extends StepBase {
  readonly kind: 'query-until';
  readonly command: string;
  readonly args: JsonObject;
  readonly until: Condition;
  readonly failWhen: Condition | null;
  /** What such an answer means, for people; null = it speaks for itself. */
  readonly meaning: string | null;
  readonly everyMs: number;
  readonly onTimeout: 'refused' | 'unknown';
}

/** Follows a block job. `deadlineMs` bounds the time without progress, not the whole copy. A job that vanishes before `ready` failed. */
export interface WaitJobStep extends StepBase {
  readonly kind: 'wait-job';
  readonly job: string;
  readonly until: 'ready' | 'gone';
  readonly everyMs: number;
}

export type Step = CommandStep | HmpStep | YankStep | WaitEventStep | QueryUntilStep | WaitJobStep;

/** `timeout`: a wait reached its bound. `contrary`: an event or an answer said that it will not happen. */
export type StepError =
  QmpError | { readonly kind: 'timeout'; readonly description: string } | { readonly kind: 'contrary'; readonly description: string };

export interface StepTiming {
  readonly step: string;
  readonly durationMs: number;
  readonly outcome: 'done' | 'already-done';
}

export type Progress =
  | { readonly kind: 'step-started'; readonly procedure: ProcedureName; readonly step: string; readonly index: number; readonly of: number }
  | { readonly kind: 'step-finished'; readonly procedure: ProcedureName; readonly timing: StepTiming }
  /** From here on the guest runs alone and is heard. */
  | { readonly kind: 'released'; readonly procedure: ProcedureName; readonly sinceStartMs: number }
  | {
      readonly kind: 'copying';
      readonly procedure: ProcedureName;
      readonly job: string;
      readonly doneBytes: number;
      readonly totalBytes: number;
    };

/**
 * - `refused`: the step did not happen; those before it did.
 * - `unknown`: nobody knows whether the step happened: read the facts again.
 * - `aborted`: the caller's signal ended it, possibly in the middle of the step.
 */
export type Ending =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly step: string; readonly error: StepError }
  | { readonly kind: 'unknown'; readonly step: string; readonly error: StepError }
  | { readonly kind: 'aborted'; readonly step: string };

export type ProcedureResult = Ending & {
  readonly procedure: ProcedureName;
  readonly durationMs: number;
  /** Steps that were finished, in order. */
  readonly timings: readonly StepTiming[];
};
