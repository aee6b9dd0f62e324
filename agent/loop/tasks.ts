// Carries out one order: looks which situation the QEMU is in, asks the plan, does the one action that it names, and looks again, until
// the goal is reached or an action fails. Never more than one task a VM; a newer order ends the running one where that is safe.

import { chargeOf } from './charge.js';
import { lookNow } from './look.js';
import { MAX_ACTIONS } from '../core/bounds.js';
import { START_MS } from '../../shared/core/limits.js';
import { withoutDoubt, type Outcome, type VmJournal } from '../core/journal.js';
import { givesWay, plan, releases, type Action } from '../core/plan.js';
import type { Task, Vm } from './vm.js';
import { assert, unreachable } from '../../shared/core/assert.js';
import type { VmRecord } from '../../shared/core/model.js';

/** `again`: look at the situation anew. `finished`: the goal is reached. */
export type ActionResult =
  { readonly kind: 'again' } | { readonly kind: 'finished' } | { readonly kind: 'failed'; readonly step: string; readonly error: string };

export type ActionTable = Readonly<Record<Action, (vm: Vm, task: Task) => Promise<ActionResult>>>;

/** Runs the tasks of one VM, one after another. */
export class Tasks {
  readonly #vm: Vm;
  readonly #actions: ActionTable;
  #last: Promise<void> = Promise.resolve();

  constructor(vm: Vm, actions: ActionTable) {
    this.#vm = vm;
    this.#actions = actions;
  }

  /** Begins the journalled goal; `record` is what was read for it from the store. A running task ends first, at once if it gives way. */
  begin(record: VmRecord | null): void {
    const vm = this.#vm;
    const { journal } = vm;
    assert(journal !== null, 'a task needs a journalled order');
    const running = vm.task;
    if (running !== null && givesWay(running.goal.kind, journal.goal.kind)) running.abort.abort();
    const task: Task = {
      goal: journal.goal,
      epoch: journal.epoch,
      spec: journal.spec,
      record,
      abort: new AbortController(),
      procedure: '',
      step: '',
      freed: false,
    };
    // Nothing is waited for when nothing runs: the first yank of a release is sent in this very tick.
    this.#last = running === null ? this.#run(task) : this.#last.then(() => this.#run(task));
  }

  /** For the end of the agent: the running task stops at its next step. */
  abort(): Promise<void> {
    this.#vm.task?.abort.abort();
    return this.#last;
  }

  async #run(task: Task): Promise<void> {
    const vm = this.#vm;
    // Orders that came while this one waited have replaced it.
    if (!isCurrent(vm.journal, task)) return;
    vm.task = task;
    if (releases(task.goal.kind) && vm.situation() !== 'unseen') vm.stopLooking();
    const { log, clock } = vm.ports;
    const startedAt = clock.now();
    log.info({ vm: vm.name, goal: task.goal.kind, epoch: task.epoch }, 'order-begun');
    const outcome = await this.#pursue(task).catch((error: unknown): Outcome => {
      // A broken invariant ends the process, and leaves QEMU running.
      queueMicrotask(() => {
        throw error;
      });
      return { kind: 'open' };
    });
    log.info(
      { vm: vm.name, goal: task.goal.kind, epoch: task.epoch, ms: Math.round(clock.now() - startedAt), ...outcome, outcome: outcome.kind },
      'order-ended',
    );
    await vm.save((journal) => {
      if (journal === null || !isCurrent(journal, task)) return journal;
      const { qemu } = journal;
      const isSure = outcome.kind === 'failed' && !task.freed && qemu !== null;
      return { ...journal, outcome, qemu: isSure ? withoutDoubt(qemu, task.epoch) : qemu };
    });
    vm.task = null;
    vm.resync = null;
    vm.lookSoon();
    vm.changed();
  }

  async #pursue(task: Task): Promise<Outcome> {
    const vm = this.#vm;
    const { signal } = task.abort;
    const ended = (): Outcome => ({ kind: 'open' });
    for (let actions = 0; actions < MAX_ACTIONS;) {
      if (signal.aborted) return ended();
      const situation = chargeOf(vm, task);
      const planned = plan(task.goal.kind, situation);
      switch (planned.kind) {
        case 'done':
          return { kind: 'done' };
        case 'fail':
          return { kind: 'failed', step: situation, error: planned.why };
        case 'wait': {
          task.step = `waits: QEMU is ${situation}`;
          const moved = await vm.until(() => chargeOf(vm, task) !== situation, START_MS, signal);
          if (!moved && !signal.aborted)
            return { kind: 'failed', step: situation, error: `QEMU is still ${situation} after ${START_MS} ms` };
          break;
        }
        case 'do': {
          actions += 1;
          task.step = planned.action;
          const result = await this.#actions[planned.action](vm, task);
          if (signal.aborted) return ended();
          if (result.kind === 'finished') return { kind: 'done' };
          if (result.kind === 'failed') return result;
          await lookNow(vm);
          break;
        }
        default:
          return unreachable(planned);
      }
    }
    return { kind: 'failed', step: task.step, error: `not done after ${MAX_ACTIONS} actions` };
  }
}

function isCurrent(journal: VmJournal | null, task: Task): boolean {
  return journal !== null && journal.epoch === task.epoch && journal.goal.kind === task.goal.kind;
}
