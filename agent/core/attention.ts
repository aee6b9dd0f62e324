// How much of the past this process was really looking. A process that was paused, or whose tick came late, has not read what was said
// meanwhile, so that time must not count as anybody's silence. All ages of evidence are taken from here and not from the clock alone.

import type { Instant } from '../../shared/core/ids.js';

export interface Attention {
  readonly periodMs: number;
  readonly tickedAt: Instant;
  /** How late the last tick was. */
  readonly latenessMs: number;
  /** Spans in which nobody looked, oldest first, bounded. */
  readonly lost: readonly { readonly endedAt: Instant; readonly ms: number }[];
}

/** Late spans that are remembered. With a tick of 50 ms that is always late this reaches back beyond 25 s, and no limit is longer. */
const MAX_LOST = 256;

export function startAttention(periodMs: number, now: Instant): Attention {
  return { periodMs, tickedAt: now, latenessMs: 0, lost: [] };
}

/** To be called at every tick, before anything is judged. */
export function attend(attention: Attention, now: Instant): Attention {
  const lostMs = unseenMs(attention, now);
  return {
    ...attention,
    tickedAt: now,
    latenessMs: Math.max(0, now - attention.tickedAt - attention.periodMs),
    lost: lostMs === 0 ? attention.lost : [...attention.lost, { endedAt: now, ms: lostMs }].slice(-MAX_LOST),
  };
}

/** Milliseconds since `at`, without the time in which nobody looked. Never negative. */
export function ageMs(attention: Attention, at: Instant, now: Instant): number {
  let lostMs = 0;
  for (const span of attention.lost) if (span.endedAt > at) lostMs += span.ms;
  // `at` may lie inside a span that was lost, or between the last tick and one that is late: no more than the whole of it is taken off.
  return Math.max(0, now - at - lostMs - unseenMs(attention, now));
}

/** One whole period of a late span counts all the same, so that a machine that is late for ever still judges, only more slowly. */
function unseenMs(attention: Attention, now: Instant): number {
  return Math.max(0, now - attention.tickedAt - 2 * attention.periodMs);
}
