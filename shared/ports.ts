// What both wings need from the world: time, randomness, a log and the store. Loops take these as arguments, so that the same loops
// run on real etcd and clocks and, unchanged, in a simulated world. Nothing here performs an effect.

import type { Instant } from './core/ids.js';
import type { Result } from './core/result.js';
import type { StoreLoss } from './core/store-loss.js';

export interface Clock {
  /** Monotonic milliseconds, never stepping back; meaningless outside this process. */
  now(): Instant;
  /** Milliseconds since 1970, for people only. */
  wallMs(): number;
  /** Calls back once, not before `ms` have passed. The answer cancels it. */
  after(ms: number, callback: () => void): () => void;
}

export interface Random {
  /** A number in [0, 1). */
  fraction(): number;
  /** A fresh identifier of 16 random bytes in hex. */
  id(): string;
}

/** One event, one line, one stable name. */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, event: string): void;
  info(fields: Readonly<Record<string, unknown>>, event: string): void;
  warn(fields: Readonly<Record<string, unknown>>, event: string): void;
  error(fields: Readonly<Record<string, unknown>>, event: string): void;
}

// ---------------------------------------------------------------- the store (etcd)

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Lease id in decimal, '0' = none. */
  readonly lease: string;
}

/** Holds when the key's revision is exactly this; 0 = the key is absent. */
export type Compare = { readonly kind: 'mod' | 'create'; readonly key: string; readonly revision: number };

export type Write =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly lease: string | null }
  | { readonly kind: 'delete'; readonly key: string };

/**
 * `unavailable`: surely not done. `unknown`: the call was sent and its outcome is lost: read again, never guess.
 * `refused`: etcd answered with an error that repeating will not mend (no space, permission, bad request).
 */
export type StoreError =
  | { readonly kind: 'unavailable'; readonly detail: string }
  | { readonly kind: 'unknown'; readonly detail: string }
  | { readonly kind: 'refused'; readonly detail: string };

/** All keys under a prefix as of one revision. */
export interface Snapshot {
  readonly revision: number;
  readonly keys: ReadonlyMap<string, KeyValue>;
}

export interface MirrorHandlers {
  /** A newer snapshot: after each (re-)list and after each batch of watch events. Never goes back in revision. */
  changed(snapshot: Snapshot): void;
  /** The watch was lost, or runs again. While it does not run, the last snapshot is old. */
  health(state: { readonly kind: 'following' } | StoreLoss): void;
}

/** Every call has a deadline and rotates over the members; none throws. */
export interface Store {
  /** Linearizable read. */
  get(key: string): Promise<Result<{ readonly kv: KeyValue | null; readonly revision: number }, StoreError>>;
  /** Linearizable read of a prefix. */
  list(prefix: string): Promise<Result<Snapshot, StoreError>>;
  /** All writes if all compares hold, else none. `revision` is the store's revision after the transaction. */
  txn(
    compares: readonly Compare[],
    writes: readonly Write[],
  ): Promise<Result<{ readonly succeeded: boolean; readonly revision: number }, StoreError>>;
  /** Follows a prefix for ever, re-listing on each reconnect, until closed. */
  mirror(prefix: string, handlers: MirrorHandlers): { close(): void };
  /** `ttlMs` is what the store really granted, which may be more than was asked. */
  grantLease(ttlMs: number): Promise<Result<{ readonly lease: string; readonly ttlMs: number }, StoreError>>;
  /** `alive: false` = the lease is gone. */
  keepAlive(lease: string): Promise<Result<{ readonly alive: boolean; readonly ttlMs: number }, StoreError>>;
  revokeLease(lease: string): Promise<Result<null, StoreError>>;
  /** Instant of the last answer of any member; null = none yet. */
  lastAnswerAt(): Instant | null;
}
