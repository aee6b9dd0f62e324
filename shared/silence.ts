// Judges silence, and doubts itself first: time in which this process was not looking (a late tick, a pause) does not count, because what
// was said meanwhile may still wait unread. Uses the given clock only.

import { instant, type Instant } from './core/ids.js';
import { LATE_TICK_MS } from './core/limits.js';
import type { Clock } from './ports.js';

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
    return clock.after(tickMs, () => {
      const now = clock.now();
      const lateMs = now - from - tickMs;
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
