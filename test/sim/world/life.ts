// One life of one process: its clock, its luck, its log, and the gate through which everything enters and leaves it. When it dies, nothing
// that it still had in hand has any effect: timers are dropped, answers are not delivered, and its calls reach nothing. While it is
// paused, what was due and what arrived waits, and comes all at once when it wakes, timers first, as in Node's own loop.

import { instant } from '../../../shared/core/ids.js';
import type { Clock, Log, Random } from '../../../shared/ports.js';
import type { Kernel } from './kernel.js';
import type { Rng } from './rng.js';

export interface CrashPlan {
  /** At the n-th call from now, of those that contain these texts in this order, it dies, or (`pause`) stands still behind it. */
  call: number;
  readonly when: 'before' | 'after' | 'pause';
  readonly texts: readonly string[];
}

export interface LifeOptions {
  readonly name: string;
  /** Machine on which it runs. */
  readonly machine: string;
  /** Seconds of its clock per true second. */
  readonly rate: number;
  /** Difference of its wall clock to the true one. */
  readonly wallOffsetMs: number;
}

export interface LifeEvents {
  /** Every line that it logs. */
  logged(life: Life, level: string, event: string, fields: Readonly<Record<string, unknown>>): void;
  /** It just ended; `by` says how. */
  died(life: Life, by: string): void;
}

/** What a clock without an error shows at the beginning. */
export const WALL_AT_ZERO = 1_700_000_000_000;

export class Life {
  readonly name: string;
  readonly machine: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  alive = true;
  paused = false;
  /** When it was last made to stand still. */
  pausedAt = -Infinity;
  wallOffsetMs: number;
  crashPlan: CrashPlan | null = null;
  /** What it did at each call, for coverage; the last one is kept for the event log. */
  lastCall = '';
  calls = 0;
  /** Its code has run since this was last set to false: only then can it show something new. */
  stirred = true;
  /** Whoever on this machine notices at once that it has ended: the kernel that closes its sockets. */
  readonly onDeath = new Set<() => void>();
  readonly #kernel: Kernel;
  readonly #events: LifeEvents;
  #lateTimers: (() => void)[] = [];
  #waiting: (() => void)[] = [];

  constructor(kernel: Kernel, rng: Rng, options: LifeOptions, events: LifeEvents) {
    this.name = options.name;
    this.machine = options.machine;
    this.wallOffsetMs = options.wallOffsetMs;
    this.#kernel = kernel;
    this.#events = events;
    const bornAt = kernel.now;
    const startsAt = rng.between(1_000, 2_000_000);
    this.clock = {
      now: () => instant(startsAt + (kernel.now - bornAt) * options.rate),
      wallMs: () => Math.round(WALL_AT_ZERO + kernel.now + this.wallOffsetMs),
      after: (ms, callback) => {
        if (!this.alive) return () => undefined;
        let due = true;
        const cancel = kernel.after(ms / options.rate, () => {
          if (!due || !this.alive) return;
          if (this.paused) {
            this.#lateTimers.push(() => {
              if (due) callback();
              due = false;
            });
            return;
          }
          due = false;
          this.stirred = true;
          callback();
        });
        return () => {
          due = false;
          cancel();
        };
      },
    };
    this.random = { fraction: () => rng.fraction(), id: () => rng.hex(32) };
    const at = (level: string) => (fields: Readonly<Record<string, unknown>>, event: string) => {
      if (this.alive) events.logged(this, level, event, fields);
    };
    this.log = { debug: () => undefined, info: at('info'), warn: at('warn'), error: at('error') };
  }

  /** Something from outside reaches it: an answer, a message, an event. */
  deliver(run: () => void): void {
    if (!this.alive) return;
    if (this.paused) {
      this.#waiting.push(run);
      return;
    }
    this.stirred = true;
    run();
  }

  /** It calls the outside. The planned crash happens right before or right after the call has had its effect. */
  act<T>(call: string, effect: () => T, ifDead: T): T {
    if (!this.alive) return ifDead;
    this.calls += 1;
    this.lastCall = call;
    const plan = this.crashPlan;
    const crashes = plan !== null && containsAll(call, plan.texts) && (plan.call -= 1) <= 0;
    if (crashes && plan.when === 'before') {
      this.die(`crash before ${call}`);
      return ifDead;
    }
    const result = effect();
    if (crashes && plan.when === 'pause') {
      this.crashPlan = null;
      this.pause();
    } else if (crashes) this.die(`crash after ${call}`);
    return result;
  }

  die(by: string): void {
    if (!this.alive) return;
    this.alive = false;
    this.#lateTimers = [];
    this.#waiting = [];
    this.#events.died(this, by);
    for (const each of [...this.onDeath]) each();
  }

  pause(): void {
    if (!this.alive) return;
    this.paused = true;
    this.pausedAt = this.#kernel.now;
  }

  wake(): void {
    if (!this.paused) return;
    this.paused = false;
    const timers = this.#lateTimers;
    const waiting = this.#waiting;
    this.#lateTimers = [];
    this.#waiting = [];
    for (const each of timers) this.#kernel.after(0, () => this.deliver(each));
    for (const each of waiting) this.#kernel.after(0, () => this.deliver(each));
  }
}

function containsAll(call: string, texts: readonly string[]): boolean {
  let from = 0;
  return texts.every((each) => {
    const at = call.indexOf(each, from);
    from = at + each.length;
    return at >= 0;
  });
}

/** The promise of a dead process: it never settles, and nobody holds it. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}
