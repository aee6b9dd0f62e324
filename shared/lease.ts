// Keeps one lease alive for as long as the process lives, and the keys that stand for the process under it. It relies on the store alone
// and believes only its own monotonic clock: the lease is held until its TTL has passed since the SENDING of the last keepalive that was
// acknowledged, so that it is never believed for longer than the store keeps it. It never gives up: a lost lease is made again.

import type { Instant } from './core/ids.js';
import { instant } from './core/ids.js';
import { ok } from './core/result.js';
import type { Clock, Log, Random, Store, StoreError, Write } from './ports.js';

/** First and last wait after a failure; doubling between, with jitter. A store operation has bounds of its own besides. */
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 1_000;
/** Keepalives in one TTL: so many may be lost, and so soon a lease is missed that the store revoked though it lived (etcd 3.4). */
const KEEPALIVES_PER_TTL = 6;

export interface LeaseKeeperPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
}

export interface StandingKey {
  readonly key: string;
  readonly value: string;
  /** False: written together with the others, and kept when the lease ends. */
  readonly leased: boolean;
}

export type LeaseState =
  { readonly kind: 'held'; readonly lease: string; readonly until: Instant } | { readonly kind: 'lost'; readonly detail: string };

export interface LeaseHandlers {
  /** The lease is there and its keys are written. Called again after each loss, with the same lease or another. */
  held(lease: string): void;
  /** The own deadline passed, or the store says that the lease is gone. Its keys may still be there for a while. */
  lost(detail: string): void;
}

export interface LeaseKeeper {
  /** Judged by the clock at the time of the call. */
  state(): LeaseState;
  /** The keys changed: writes them all again. */
  refresh(): void;
  /** Stops, and revokes the lease as far as the store lets it within one operation's time. */
  close(): Promise<void>;
}

/** `keys` is asked each time they are written. `ttlMs` is asked of the store, which may grant more. */
export function keepLease(
  ports: LeaseKeeperPorts,
  options: { readonly ttlMs: number; readonly keys: () => readonly StandingKey[] },
  handlers: LeaseHandlers,
): LeaseKeeper {
  const { clock, random, log, store } = ports;
  let lease: { readonly id: string; ttlMs: number; until: Instant } | null = null;
  /** All keys are written under this lease. */
  let written = false;
  /** They are to be written again. */
  let dirty = true;
  let announced: 'held' | 'lost' = 'lost';
  let detail = 'not granted yet';
  let closed = false;
  /** Keepalives until the keys are looked for again. */
  let lookIn = KEEPALIVES_PER_TTL;
  let backoffMs = BACKOFF_FIRST_MS;
  let wake: (() => void) | null = null;
  let woken = false;
  let stopExpiry: () => void = () => undefined;
  const finished = run();

  function state(): LeaseState {
    if (lease !== null && written && !closed && clock.now() < lease.until) return { kind: 'held', lease: lease.id, until: lease.until };
    return { kind: 'lost', detail };
  }

  async function run(): Promise<void> {
    while (!closed) {
      const problem = lease === null ? await grant() : await renew();
      if (closed) return;
      // Not waited for: a slow answer must not hold up the next keepalive.
      if (problem === null) void lookForKeys();
      const failed = problem ?? (dirty ? await write() : null);
      if (closed) return;
      if (failed === null) {
        backoffMs = BACKOFF_FIRST_MS;
        announce();
        await pause(lease === null ? 0 : lease.ttlMs / KEEPALIVES_PER_TTL);
      } else {
        detail = failed;
        announce();
        await pause(backoffMs * (0.5 + random.fraction() / 2));
        backoffMs = Math.min(backoffMs * 2, BACKOFF_LAST_MS);
      }
    }
  }

  /** Each of the three answers null when done, else what went wrong. */
  async function grant(): Promise<string | null> {
    const sentAt = clock.now();
    const granted = await store.grantLease(options.ttlMs);
    if (!granted.ok) return describe(granted.error);
    lease = { id: granted.value.lease, ttlMs: granted.value.ttlMs, until: instant(sentAt + granted.value.ttlMs) };
    written = false;
    dirty = true;
    watchExpiry();
    return null;
  }

  async function renew(): Promise<string | null> {
    if (lease === null) return 'no lease';
    const sentAt = clock.now();
    const kept = await store.keepAlive(lease.id);
    if (!kept.ok) return describe(kept.error);
    if (kept.value.alive) {
      lease.ttlMs = kept.value.ttlMs;
      lease.until = instant(sentAt + kept.value.ttlMs);
      watchExpiry();
      return null;
    }
    log.warn({ lease: lease.id }, 'lease-gone');
    forget('the store says that the lease is gone');
    // Made again within the same round: whoever looks for its keys has already seen them vanish.
    return grant();
  }

  /** Keys can go while their lease lives, when somebody empties the store; once a TTL is soon enough. A look that fails says nothing. */
  async function lookForKeys(): Promise<void> {
    lookIn -= 1;
    if (lookIn > 0 || dirty) return;
    lookIn = KEEPALIVES_PER_TTL;
    const [first] = options.keys();
    const read = first === undefined ? null : await store.get(first.key);
    if (closed || read?.ok !== true || read.value.kv !== null) return;
    log.warn({ key: first?.key }, 'lease-keys-gone');
    refresh();
  }

  async function write(): Promise<string | null> {
    if (lease === null) return 'no lease';
    const id = lease.id;
    dirty = false;
    const writes = options.keys().map((each): Write => ({ kind: 'put', key: each.key, value: each.value, lease: each.leased ? id : null }));
    const put = writes.length === 0 ? ok(null) : await store.txn([], writes);
    if (put.ok) {
      written = true;
      return null;
    }
    dirty = true;
    // A refusal is most often a lease that vanished between the two calls. The next keepalive would say so as well; this is sooner.
    if (put.error.kind === 'refused') forget(put.error.detail);
    return describe(put.error);
  }

  function refresh(): void {
    dirty = true;
    if (wake === null) woken = true;
    else wake();
  }

  function forget(reason: string): void {
    lease = null;
    written = false;
    detail = reason;
    stopExpiry();
    announce();
  }

  /** Tells the loss at the deadline itself, because the call that is under way may take longer to fail. */
  function watchExpiry(): void {
    stopExpiry();
    if (lease === null) return;
    stopExpiry = clock.after(Math.max(0, lease.until - clock.now()), () => {
      if (lease !== null && clock.now() < lease.until) return watchExpiry();
      detail = 'no keepalive was acknowledged within the TTL';
      announce();
    });
  }

  function announce(): void {
    const now = state();
    if (closed || now.kind === announced) return;
    announced = now.kind;
    if (now.kind === 'held') {
      log.info({ lease: now.lease, ttlMs: lease?.ttlMs }, 'lease-held');
      handlers.held(now.lease);
    } else {
      log.warn({ detail }, 'lease-lost');
      handlers.lost(detail);
    }
  }

  function pause(ms: number): Promise<void> {
    if (woken || closed) {
      woken = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const cancel = clock.after(ms, () => wake?.());
      wake = () => {
        cancel();
        wake = null;
        resolve();
      };
    });
  }

  return {
    state,
    refresh,
    close: async () => {
      closed = true;
      stopExpiry();
      wake?.();
      await finished;
      if (lease !== null) await store.revokeLease(lease.id);
    },
  };
}

function describe(error: StoreError): string {
  return `${error.kind}: ${error.detail}`;
}
