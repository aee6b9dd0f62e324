// Virtual time: timers fire only when a test moves the clock, in order of their due times, and promises settle between any two of them.

import { instant } from '../../shared/core/ids.js';
import type { Clock, Log, Random } from '../../shared/ports.js';

export interface FakeClock extends Clock {
  /** Moves time on; each timer due on the way fires at its own instant. */
  advance(ms: number): Promise<void>;
  /** Moves time on until the condition holds; throws with `what` when it does not within `limitMs` of virtual time. */
  until(what: string, limitMs: number, condition: () => boolean): Promise<void>;
  /** Lets promises settle without moving time. */
  settle(): Promise<void>;
  /** Moves time on without firing what became due: the process was paused. The next `advance` fires it all, late. */
  pause(ms: number): void;
}

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly callback: () => void;
}

export function fakeClock(startMs = 1_000): FakeClock {
  let now = startMs;
  let order = 0;
  const timers = new Set<Timer>();

  // A macrotask runs only after all microtasks, and theirs, are done. Timers of promises are not used by code under a virtual clock.
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  function earliest(notAfter: number): Timer | null {
    let found: Timer | null = null;
    for (const each of timers) {
      if (each.due > notAfter) continue;
      if (found === null || each.due < found.due || (each.due === found.due && each.order < found.order)) found = each;
    }
    return found;
  }

  async function run(to: number, done: () => boolean): Promise<boolean> {
    await settle();
    for (;;) {
      if (done()) return true;
      const next = earliest(to);
      if (next === null) break;
      timers.delete(next);
      now = Math.max(now, next.due);
      next.callback();
      await settle();
    }
    now = to;
    return done();
  }

  return {
    now: () => instant(now),
    wallMs: () => 1_700_000_000_000 + now,
    after: (ms, callback) => {
      const timer = { due: now + Math.max(0, ms), order: (order += 1), callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance: async (ms) => {
      await run(now + ms, () => false);
    },
    until: async (what, limitMs, condition) => {
      if (!(await run(now + limitMs, condition))) throw new Error(`not within ${limitMs} ms: ${what}`);
    },
    settle,
    pause: (ms) => {
      now += ms;
    },
  };
}

/** The same numbers for the same seed. */
export function fakeRandom(seed = 1): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    // mulberry32: small, and good enough to spread hold-offs.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  const word = (): string =>
    Math.floor(fraction() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, '0');
  return { fraction, id: () => word() + word() + word() + word() };
}

export interface FakeLog extends Log {
  readonly lines: { readonly level: string; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[];
}

export function fakeLog(): FakeLog {
  const lines: FakeLog['lines'] = [];
  const at =
    (level: string) =>
    (fields: Readonly<Record<string, unknown>>, event: string): void => {
      lines.push({ level, event, fields });
    };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
