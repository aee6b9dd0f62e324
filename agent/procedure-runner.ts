// Runs a procedure step by step through a port, and says truthfully how it ended. A step whose answer was lost is looked at, never
// guessed. It owns no clock and no socket, so the simulator runs it unchanged; it never throws.

import { unreachable } from '../shared/core/assert.js';
import type { Instant } from '../shared/core/ids.js';
import { fail, type Result } from '../shared/core/result.js';
import { at, holds, type Condition } from './core/procedures/condition.js';
import type { Json, JsonObject, ProcedurePort, QmpError, QmpEvent } from './core/procedures/port.js';
import type {
  CommandStep,
  Ending,
  HmpStep,
  Observation,
  Procedure,
  ProcedureResult,
  Progress,
  QueryUntilStep,
  Recognition,
  Step,
  StepError,
  StepTiming,
  WaitEventStep,
  WaitJobStep,
  YankStep,
} from './core/procedures/step.js';

/** How one step ended. `lost`: nobody knows. */
type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'already-done' }
  | { readonly kind: 'refused'; readonly error: StepError }
  | { readonly kind: 'lost'; readonly error: StepError };

const DONE: Outcome = { kind: 'done' };
const ALREADY_DONE: Outcome = { kind: 'already-done' };

/**
 * Runs all steps, or up to the first that does not succeed. Events count from this call on, so call it in the tick in which the
 * procedure was made. `signal` ends it at the next await with `aborted`; QEMU may still carry out what was sent. `objection` is
 * asked before each step by its name: what speaks against that step ends the procedure there, refused; null = nothing.
 */
export async function runProcedure(
  procedure: Procedure,
  port: ProcedurePort,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
  objection: Objection = () => Promise.resolve(null),
): Promise<ProcedureResult> {
  const run = new Run(procedure, port, onProgress, signal, objection);
  try {
    return await run.steps();
  } finally {
    run.end();
  }
}

export type Objection = (step: string) => Promise<string | null>;

class Run {
  readonly #procedure: Procedure;
  readonly #port: ProcedurePort;
  readonly #onProgress: (progress: Progress) => void;
  readonly #signal: AbortSignal;
  readonly #objection: Objection;
  readonly #events: QmpEvent[] = [];
  readonly #unsubscribe: () => void;
  readonly #startedAt: Instant;
  /** Number of events seen when a step began, by its name. */
  readonly #marks = new Map<string, number>();
  readonly #timings: StepTiming[] = [];
  #wake: () => void = () => undefined;
  #closed: QmpError | null = null;

  constructor(
    procedure: Procedure,
    port: ProcedurePort,
    onProgress: (progress: Progress) => void,
    signal: AbortSignal,
    objection: Objection,
  ) {
    this.#procedure = procedure;
    this.#port = port;
    this.#onProgress = onProgress;
    this.#signal = signal;
    this.#objection = objection;
    this.#startedAt = port.now();
    this.#unsubscribe = port.subscribe((event) => {
      this.#events.push(event);
      this.#wake();
    });
    void port.closed.then((closed) => {
      this.#closed = closed.error;
      this.#wake();
    });
  }

  end(): void {
    this.#unsubscribe();
  }

  async steps(): Promise<ProcedureResult> {
    const { name, steps, releasedAfter } = this.#procedure;
    for (const [index, step] of steps.entries()) {
      const against = await this.#objection(step.name);
      if (this.#signal.aborted) return this.#result({ kind: 'aborted', step: step.name });
      if (against !== null) return this.#result({ kind: 'refused', step: step.name, error: { kind: 'contrary', description: against } });
      this.#marks.set(step.name, this.#events.length);
      this.#onProgress({ kind: 'step-started', procedure: name, step: step.name, index, of: steps.length });
      const before = this.#port.now();
      const outcome = await this.#step(step);
      switch (outcome.kind) {
        case 'done':
        case 'already-done': {
          const timing = { step: step.name, durationMs: this.#port.now() - before, outcome: outcome.kind };
          this.#timings.push(timing);
          this.#onProgress({ kind: 'step-finished', procedure: name, timing });
          if (step.name === releasedAfter) this.#onProgress({ kind: 'released', procedure: name, sinceStartMs: this.#elapsedMs() });
          break;
        }
        case 'refused':
          if (this.#signal.aborted) return this.#result({ kind: 'aborted', step: step.name });
          return this.#result({ kind: 'refused', step: step.name, error: outcome.error });
        case 'lost':
          if (this.#signal.aborted) return this.#result({ kind: 'aborted', step: step.name });
          return this.#result({ kind: 'unknown', step: step.name, error: outcome.error });
        default:
          return unreachable(outcome);
      }
    }
    return this.#result({ kind: 'done' });
  }

  #result(ending: Ending): ProcedureResult {
    return { ...ending, procedure: this.#procedure.name, durationMs: this.#elapsedMs(), timings: this.#timings };
  }

  #elapsedMs(): number {
    return this.#port.now() - this.#startedAt;
  }

  #step(step: Step): Promise<Outcome> {
    switch (step.kind) {
      case 'command':
        return this.#command(step, step.command, step.args);
      case 'hmp':
        return this.#command(step, 'human-monitor-command', { 'command-line': step.line });
      case 'yank':
        return this.#yank(step);
      case 'wait-event':
        return this.#waitEvent(step);
      case 'query-until':
        return this.#queryUntil(step);
      case 'wait-job':
        return this.#waitJob(step);
      default:
        return unreachable(step);
    }
  }

  async #execute(command: string, args: JsonObject, deadlineMs: number, oob = false): Promise<Result<Json, QmpError>> {
    const answer = await this.#port.execute(command, args, { deadlineMs, oob, signal: this.#signal });
    if (answer.ok && command === 'human-monitor-command' && typeof answer.value === 'string' && answer.value.trim() !== '') {
      return fail({ kind: 'refused', errorClass: 'HMP', description: answer.value.trim() });
    }
    return answer;
  }

  async #command(step: CommandStep | HmpStep, command: string, args: JsonObject): Promise<Outcome> {
    const answer = await this.#execute(command, args, step.deadlineMs);
    if (answer.ok) return DONE;
    const error = answer.error;
    switch (error.kind) {
      case 'refused':
        return isAmong(step.alreadyDone, error.description) ? ALREADY_DONE : { kind: 'refused', error };
      case 'lost':
      case 'not-ours':
      case 'protocol':
        return (await this.#observed(step.observe)) ? DONE : { kind: 'lost', error };
      default:
        return unreachable(error);
    }
  }

  async #observed(observation: Observation | null): Promise<boolean> {
    if (observation === null || this.#closed !== null || this.#signal.aborted) return false;
    const answer = await this.#execute(observation.command, observation.args, OBSERVE_MS);
    return answer.ok && holds(observation.done, answer.value);
  }

  /** Only a monitor that has ended stops a procedure here: whatever still hangs shows itself at the next command. */
  async #yank(step: YankStep): Promise<Outcome> {
    const answer = await this.#execute('yank', { instances: [{ ...step.instance }] }, step.deadlineMs, true);
    if (answer.ok) return DONE;
    if (answer.error.kind === 'refused') return ALREADY_DONE;
    return this.#closed !== null || this.#signal.aborted ? { kind: 'lost', error: answer.error } : ALREADY_DONE;
  }

  async #waitEvent(step: WaitEventStep): Promise<Outcome> {
    let next = step.since === null ? 0 : (this.#marks.get(step.since) ?? 0);
    const until = this.#port.now() + step.deadlineMs;
    let nudgeAt = step.nudge === null ? Infinity : this.#port.now() + step.nudge.everyMs;
    for (;;) {
      for (; next < this.#events.length; next += 1) {
        const event = this.#events[next];
        if (event === undefined) continue;
        if (event.name === step.event && holds(step.where, event.data)) return DONE;
        const contrary = step.failOn.some((wrong) => wrong.event === event.name && holds(wrong.where, event.data));
        if (contrary) return refuse(`${event.name} ${JSON.stringify(event.data)} came instead of ${step.event}`);
      }
      if (this.#closed !== null) return { kind: 'lost', error: this.#closed };
      if (this.#signal.aborted) return timedOut('refused', step.name, step.deadlineMs);
      const now = this.#port.now();
      if (now >= until) return timedOut(step.onTimeout, step.name, step.deadlineMs);
      if (step.nudge !== null && now >= nudgeAt) {
        nudgeAt = now + step.nudge.everyMs;
        const answer = await this.#execute(step.nudge.command, step.nudge.args, step.nudge.everyMs);
        if (!answer.ok && answer.error.kind === 'refused') return { kind: 'refused', error: answer.error };
        continue;
      }
      await this.#eventOrSleep(Math.min(until, nudgeAt) - now);
    }
  }

  /** Ends at the next event, at the end of the monitor, at an abort, or after so long. */
  async #eventOrSleep(ms: number): Promise<void> {
    const timer = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    await Promise.race([woken, this.#port.sleep(ms, AbortSignal.any([timer.signal, this.#signal]))]);
    timer.abort();
    this.#wake = () => undefined;
  }

  async #queryUntil(step: QueryUntilStep): Promise<Outcome> {
    const until = this.#port.now() + step.deadlineMs;
    for (;;) {
      const answer = await this.#execute(step.command, step.args, Math.max(1, until - this.#port.now()));
      if (answer.ok) {
        if (holds(step.until, answer.value)) return DONE;
        if (step.failWhen !== null && holds(step.failWhen, answer.value))
          return refuse(step.meaning ?? `${step.command} says ${JSON.stringify(answer.value)}`);
      } else if (answer.error.kind !== 'lost' || answer.error.cause !== 'deadline') {
        return answer.error.kind === 'refused' ? { kind: 'refused', error: answer.error } : { kind: 'lost', error: answer.error };
      }
      if (this.#signal.aborted || this.#port.now() >= until) return timedOut(step.onTimeout, step.name, step.deadlineMs);
      await this.#port.sleep(step.everyMs, this.#signal);
    }
  }

  async #waitJob(step: WaitJobStep): Promise<Outcome> {
    let lastOffset = -1;
    let movedAt = this.#port.now();
    for (;;) {
      const answer = await this.#execute('query-block-jobs', {}, step.deadlineMs);
      if (!answer.ok)
        return answer.error.kind === 'refused' ? { kind: 'refused', error: answer.error } : { kind: 'lost', error: answer.error };
      const job = jobIn(answer.value, step.job);
      if (job === null)
        return step.until === 'gone' ? DONE : refuse(`job ${step.job} ended before it was ready${this.#jobError(step.job)}`);
      if (step.until === 'ready' && job.ready) return DONE;
      if (job.offset !== lastOffset) {
        lastOffset = job.offset;
        movedAt = this.#port.now();
        this.#onProgress({
          kind: 'copying',
          procedure: this.#procedure.name,
          job: step.job,
          doneBytes: job.offset,
          totalBytes: job.length,
        });
      }
      if (this.#signal.aborted) return timedOut('refused', step.name, step.deadlineMs);
      if (this.#port.now() - movedAt >= step.deadlineMs) return timedOut('refused', step.name, step.deadlineMs);
      await this.#port.sleep(step.everyMs, this.#signal);
    }
  }

  /** What the job's last event said, for people. */
  #jobError(job: string): string {
    const last = this.#events.filter((event) => event.name.startsWith('BLOCK_JOB_') && event.data['device'] === job).at(-1);
    const error = last?.data['error'];
    return typeof error === 'string' ? `: ${error}` : '';
  }
}

/** A question after a lost answer gets no more time than this, because the main loop may still hang. */
const OBSERVE_MS = 1_000;

function isAmong(recognitions: readonly Recognition[], description: string): boolean {
  return recognitions.some((recognition) => description.includes(recognition.contains));
}

function jobIn(answer: Json, id: string): { readonly ready: boolean; readonly offset: number; readonly length: number } | null {
  const isIt: Condition = { kind: 'equals', path: ['device'], value: id };
  const job = Array.isArray(answer) ? answer.find((item: Json) => holds(isIt, item)) : undefined;
  if (job === undefined) return null;
  const [offset, length] = [at(job, ['offset']), at(job, ['len'])];
  return {
    ready: at(job, ['ready']) === true,
    offset: typeof offset === 'number' ? offset : 0,
    length: typeof length === 'number' ? length : 0,
  };
}

function refuse(description: string): Outcome {
  return { kind: 'refused', error: { kind: 'contrary', description } };
}

function timedOut(onTimeout: 'refused' | 'unknown', step: string, afterMs: number): Outcome {
  const error: StepError = { kind: 'timeout', description: `${step}: not within ${afterMs} ms` };
  return onTimeout === 'refused' ? { kind: 'refused', error } : { kind: 'lost', error };
}
