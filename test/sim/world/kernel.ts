// Virtual time: events in the order of their instants, each followed by all the promises that it settles. Nothing in the world happens
// outside an event, so a run is a function of its seed alone.

import { drain } from './drain.js';

interface Event {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

export class Kernel {
  /** True milliseconds; the clocks of processes drift from it. */
  now = 0;
  /** Events that have run. */
  events = 0;
  /** Called after each event with all its consequences. */
  afterEvent: () => void = () => undefined;
  readonly #heap: Event[] = [];
  #order = 0;

  after(ms: number, run: () => void): () => void {
    const event: Event = { at: this.now + (ms > 0 ? ms : 0), order: (this.#order += 1), run };
    this.#push(event);
    return () => {
      event.run = null;
    };
  }

  /** Runs events until `stop` holds after one, or nothing is due before the limit. True = `stop` held. */
  run(untilMs: number, stop: () => boolean = () => false): boolean {
    drain();
    if (stop()) return true;
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.at > untilMs) break;
      this.#pop();
      if (next.run === null) continue;
      this.now = next.at;
      next.run();
      drain();
      this.events += 1;
      this.afterEvent();
      if (stop()) return true;
    }
    this.now = Math.max(this.now, untilMs);
    return stop();
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Event;
      if (isBefore(parent, event)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Event, heap[below] as Event)) below += 1;
      const child = heap[below] as Event;
      if (isBefore(last, child)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
