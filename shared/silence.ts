// Judges silence, and doubts itself first: time in which this process was not looking (a late tick, a pause) does not count, because what
// was said meanwhile may still wait unread. Uses the given clock only.

import { instant, type Instant } from './core/ids.js';
import { LATE_TICK_MS } from './core/limits.js';
import type { Clock } from './ports.js';

/** Silence is more than the limit, so the tick that judges it falls just behind. */
const PAST_LIMIT_MS = 1;
const MIN_TICK_MS = 2;

export interface SilenceWatch {
  /** Something was heard just now. Silence is counted anew, also after it was told. */
  heard(): void;
  stop(): void;
}

/** Calls `silent` once when nothing was heard for more than `afterMs`, and again only after something was heard. */
export function watchSilence(clock: Clock, afterMs: number, silent: (silentMs: number) => void): SilenceWatch {
  const tickMs = Math.max(10, afterMs / 6);
  let last = clock.now();
  let told = false;
  let stopped = false;
  let cancel = schedule(clock.now());

  function schedule(from: Instant): () => void {
    // The last tick falls on the limit itself: whoever waits for this judgement does not wait for a tick as well.
    const leftMs = told ? tickMs : Math.max(MIN_TICK_MS, afterMs - (from - last) + PAST_LIMIT_MS);
    const waitMs = Math.min(tickMs, leftMs);
    return clock.after(waitMs, () => {
      const now = clock.now();
      const lateMs = now - from - waitMs;
      // One tick of the late span is counted all the same, so that a machine that is late for ever still judges, only more slowly.
      if (lateMs > LATE_TICK_MS) last = instant(Math.min(now, last + lateMs));
      if (!told && now - last > afterMs) {
        told = true;
        silent(now - last);
      }
      if (!stopped) cancel = schedule(now);
    });
  }

  return {
    heard: () => {
      last = clock.now();
      told = false;
    },
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}
