// The orders that one VM's hosts were given last: none is given again before it could show an effect, unless it was refused or lost.

import type { DueOrder } from './core/orders.js';
import type { VmView } from './core/view.js';
import type { CoordinatorPorts } from './ports.js';
import { term as termOf, type Instant } from '../shared/core/ids.js';
import { ORDER_AGAIN_FIRST_MS, ORDER_REPEAT_MS } from '../shared/core/limits.js';
import type { Order, VmWanted } from '../shared/core/model.js';

interface Given {
  readonly text: string;
  /** Its answer is still awaited. */
  awaited: boolean;
  /** It is not given again before. */
  again: Instant;
  /** How often in a row it was refused or lost. */
  vain: number;
}

export class GivenOrders {
  readonly #ports: Pick<CoordinatorPorts, 'agents' | 'clock' | 'log'>;
  readonly #vm: string;
  readonly #wake: () => void;
  /** Per host, the last one. */
  readonly #given = new Map<string, Given>();

  /** @param wake is called when an order that was not obeyed is due again */
  constructor(ports: Pick<CoordinatorPorts, 'agents' | 'clock' | 'log'>, vm: string, wake: () => void) {
    this.#ports = ports;
    this.#vm = vm;
    this.#wake = wake;
  }

  /** A new leader has given nothing yet. */
  forget(): void {
    this.#given.clear();
  }

  give(view: VmView, wanted: VmWanted, orders: readonly DueOrder[]): void {
    const { agents, clock, log } = this.#ports;
    const vm = this.#vm;
    for (const due of orders) {
      const order: Order = {
        incarnation: view.incarnation,
        vm,
        uid: wanted.uid,
        term: termOf(view.termBase + view.term),
        epoch: view.record.epoch,
        goal: due.goal,
        spec: wanted.spec,
      };
      const text = JSON.stringify([order.epoch, order.goal]);
      const last = this.#given.get(due.host);
      if (last?.text === text && (last.awaited || clock.now() < last.again)) continue;
      const repeated = last?.text === text;
      const entry: Given = { text, awaited: true, again: this.#in(ORDER_REPEAT_MS), vain: repeated ? last.vain : 0 };
      this.#given.set(due.host, entry);
      void agents.order(due.host, order).then((answer) => {
        entry.awaited = false;
        const fields = { vm, host: due.host, goal: due.goal.kind, epoch: order.epoch, term: order.term };
        if (answer.kind === 'accepted') log[repeated ? 'debug' : 'info'](fields, 'order-accepted');
        else if (answer.kind === 'refused') log.warn({ ...fields, refusal: answer.refusal, detail: answer.detail }, 'order-refused');
        else log.warn({ ...fields, detail: answer.detail }, 'order-lost');
        if (answer.kind === 'accepted') entry.vain = 0;
        else this.#giveSoonAgain(entry);
      });
    }
  }

  /** A guest may stand still until an order is obeyed, so one that was not is due again long before the ordinary pace. */
  #giveSoonAgain(entry: Given): void {
    const pauseMs = Math.min(ORDER_REPEAT_MS, ORDER_AGAIN_FIRST_MS * 2 ** entry.vain);
    entry.vain += 1;
    entry.again = this.#in(pauseMs);
    this.#ports.clock.after(pauseMs, this.#wake);
  }

  #in(ms: number): Instant {
    return (this.#ports.clock.now() + ms) as Instant;
  }
}
