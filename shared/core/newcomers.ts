// How often each address may come anew. What is remembered is bounded, whoever knocks.

import type { Instant } from './ids.js';
import { fullBucket, take, type Bucket, type Rate } from './token-bucket.js';

/** Addresses whose rate is remembered; beyond, all are forgotten and begin anew. */
const MOST_ADDRESSES = 4_096;

/** False: this address has come too often. */
export function newcomers(now: () => Instant, rate: Rate): (address: string) => boolean {
  const buckets = new Map<string, Bucket>();
  return (address) => {
    const at = now();
    if (buckets.size > MOST_ADDRESSES) buckets.clear();
    const taken = take(buckets.get(address) ?? fullBucket(rate, at), rate, at);
    if (taken !== null) buckets.set(address, taken);
    return taken !== null;
  };
}
