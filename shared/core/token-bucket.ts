// A bound on how often something may happen: so many at once, and then so many a second. Pure; the caller brings the time.

import type { Instant } from './ids.js';

export interface Bucket {
  readonly tokens: number;
  readonly at: Instant;
}

export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export function fullBucket(rate: Rate, now: Instant): Bucket {
  return { tokens: rate.burst, at: now };
}

/** Null = there is nothing to take. */
export function take(bucket: Bucket, rate: Rate, now: Instant): Bucket | null {
  const tokens = Math.min(rate.burst, bucket.tokens + ((now - bucket.at) * rate.perSecond) / 1_000);
  return tokens < 1 ? null : { tokens: tokens - 1, at: now };
}
