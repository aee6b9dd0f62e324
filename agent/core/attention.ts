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
  const unseen = unseenMs(attention, now);
  return {
    ...attention,
    tickedAt: now,
    latenessMs: Math.max(0, now - attention.tickedAt - attention.periodMs),
    lost: unseen === 0 ? attention.lost : [...attention.lost, { endedAt: now, ms: unseen }].slice(-MAX_LOST),
  };
}

/**
 * Milliseconds of the time since `at` in which nobody looked. Of a span in which `at` lies only what came after it counts: what a process reads
 * first when it wakes is noted before its tick ends the span, and is new.
 */
export function lostMs(attention: Attention, at: Instant, now: Instant): number {
  let lost = 0;
  for (const span of attention.lost) if (span.endedAt > at) lost += Math.min(span.ms, span.endedAt - at);
  return Math.min(now - at, lost + unseenMs(attention, now));
}

/** Milliseconds since `at`, without the time in which nobody looked. Never negative. */
export function ageMs(attention: Attention, at: Instant, now: Instant): number {
  return Math.max(0, now - at - lostMs(attention, at, now));
}

/** One whole period of a late span counts all the same, so that a machine that is late for ever still judges, only more slowly. */
function unseenMs(attention: Attention, now: Instant): number {
  return Math.max(0, now - attention.tickedAt - 2 * attention.periodMs);
}
