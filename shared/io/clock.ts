// The machine's own clock as a port. Intervals are measured on the monotonic clock only; the wall clock is for people, because it may
// step at any time.

import { performance } from 'node:perf_hooks';
import { instant } from '../core/ids.js';
import type { Clock } from '../ports.js';

/** Timers keep the process alive. `after` never calls back early: Node rounds its own timers down by up to a millisecond. */
export function systemClock(): Clock {
  return {
    now: () => instant(performance.now()),
    wallMs: () => Date.now(),
    after: (ms, callback) => {
      const due = performance.now() + ms;
      let timer = setTimeout(fire, Math.max(0, Math.ceil(ms)));
      function fire(): void {
        const left = due - performance.now();
        if (left > 0) timer = setTimeout(fire, Math.ceil(left));
        else callback();
      }
      return () => clearTimeout(timer);
    },
  };
}
