// etcd as it is seen from outside: one revisioned map behind a majority, transactions that are all or nothing, leases that may end late
// or early, and histories for watchers. Clients reach it over the network (etcd-client.ts); nothing here can fail but by being down.

import type { Compare, KeyValue, Snapshot, Write } from '../../../shared/ports.js';
import type { Kernel } from './kernel.js';
import type { Rng } from './rng.js';

/** etcd grants no less than about one and a half election timeouts. */
const LEAST_TTL_MS = 2_000;

export interface EtcdEvents {
  /** A key was written or (value null) deleted. `by`: the process that did it; null = an outsider. */
  changed(key: string, value: string | null, before: string | null, by: string | null): void;
}

/** One key's change in one revision. */
export interface Change {
  readonly isDelete: boolean;
  /** What it became; of a deleted key only name and revision count. */
  readonly kv: KeyValue;
}

/** So many changes are kept for watchers; what is older is compacted, as by etcd's own timer. */
const KEPT_CHANGES = 400;

interface Lease {
  readonly ttlMs: number;
  cancel: () => void;
}

export type TxnAnswer =
  { readonly kind: 'done'; readonly succeeded: boolean; readonly revision: number } | { readonly kind: 'refused'; readonly detail: string };

export class Etcd {
  revision = 1;
  /** Watches cannot begin at this revision or before it. */
  compacted = 0;
  /** No majority: nothing is answered and no lease ends. */
  isDown = false;
  /** Told of every new revision and of every change of `isDown`. */
  readonly onRevision = new Set<(touched: readonly string[]) => void>();
  readonly onDown = new Set<() => void>();
  readonly #kernel: Kernel;
  readonly #rng: Rng;
  readonly #events: EtcdEvents;
  readonly #data = new Map<string, KeyValue>();
  readonly #leases = new Map<string, Lease>();
  #changes: Change[] = [];
  readonly #snapshots = new Map<string, Snapshot>();
  #nextLease = 7_000;

  constructor(kernel: Kernel, rng: Rng, events: EtcdEvents) {
    this.#kernel = kernel;
    this.#rng = rng;
    this.#events = events;
  }

  read(key: string): KeyValue | null {
    return this.#data.get(key) ?? null;
  }

  /** All keys under a prefix, sorted, as of now. The same object for all who ask at one revision. */
  list(prefix: string): Snapshot {
    const known = this.#snapshots.get(prefix);
    if (known !== undefined && known.revision === this.revision) return known;
    const keys = new Map([...this.#data].filter(([key]) => key.startsWith(prefix)).sort(([one], [other]) => (one < other ? -1 : 1)));
    const snapshot = { revision: this.revision, keys };
    this.#snapshots.set(prefix, snapshot);
    return snapshot;
  }

  txn(compares: readonly Compare[], writes: readonly Write[], by: string): TxnAnswer {
    if (!compares.every((each) => this.#holds(each))) return { kind: 'done', succeeded: false, revision: this.revision };
    const orphan = writes.some((each) => each.kind === 'put' && each.lease !== null && !this.#leases.has(each.lease));
    if (orphan) return { kind: 'refused', detail: 'etcdserver: requested lease not found' };
    this.apply(writes, by);
    return { kind: 'done', succeeded: true, revision: this.revision };
  }

  /** Without any guard, as an outsider would unless a process is named. */
  apply(writes: readonly Write[], by: string | null = null): void {
    const next = this.revision + 1;
    const touched: { readonly key: string; readonly value: string | null; readonly before: string | null }[] = [];
    for (const write of writes) {
      const before = this.#data.get(write.key);
      if (write.kind === 'delete') {
        if (!this.#data.delete(write.key)) continue;
        touched.push({ key: write.key, value: null, before: before?.value ?? null });
        this.#changes.push({ isDelete: true, kv: { key: write.key, value: '', createRevision: 0, modRevision: next, lease: '0' } });
        continue;
      }
      const { key, value } = write;
      const kv = { key, value, createRevision: before?.createRevision ?? next, modRevision: next, lease: write.lease ?? '0' };
      this.#data.set(key, kv);
      this.#changes.push({ isDelete: false, kv });
      touched.push({ key, value, before: before?.value ?? null });
    }
    if (touched.length === 0) return;
    this.revision = next;
    if (this.#changes.length > 2 * KEPT_CHANGES) this.compact(this.#changes.at(-KEPT_CHANGES)?.kv.modRevision ?? next);
    for (const each of touched) this.#events.changed(each.key, each.value, each.before, by);
    for (const each of [...this.onRevision]) each(touched.map(({ key }) => key));
  }

  /** From this revision on, which must not be compacted. */
  changesSince(revision: number): readonly Change[] {
    return this.#changes.filter((each) => each.kv.modRevision >= revision);
  }

  /** Forgets what led to this revision and to those before it; what is there now stays. */
  compact(revision: number): void {
    this.compacted = Math.max(this.compacted, revision);
    this.#changes = this.#changes.filter((each) => each.kv.modRevision > this.compacted);
  }

  grant(ttlMs: number): { readonly lease: string; readonly ttlMs: number } {
    const lease = String((this.#nextLease += 1));
    const granted = Math.max(ttlMs, LEAST_TTL_MS);
    this.#start(lease, granted);
    return { lease, ttlMs: granted };
  }

  /** 0 = there is no such lease. */
  keepAlive(lease: string): number {
    const known = this.#leases.get(lease);
    if (known === undefined) return 0;
    this.#start(lease, known.ttlMs);
    return known.ttlMs;
  }

  revoke(lease: string): void {
    const known = this.#leases.get(lease);
    if (known === undefined) return;
    known.cancel();
    this.#leases.delete(lease);
    this.apply([...this.#data.values()].filter((each) => each.lease === lease).map((each): Write => ({ kind: 'delete', key: each.key })));
  }

  leases(): readonly string[] {
    return [...this.#leases.keys()];
  }

  /** After an election every lease starts anew. */
  setDown(down: boolean): void {
    if (this.isDown === down) return;
    this.isDown = down;
    for (const [lease, { ttlMs, cancel }] of this.#leases) {
      cancel();
      if (!down) this.#start(lease, ttlMs);
    }
    for (const each of [...this.onDown]) each();
  }

  /** Only ever late here; an early end is a fault of its own. */
  #start(lease: string, ttlMs: number): void {
    this.#leases.get(lease)?.cancel();
    const cancel = this.#kernel.after(ttlMs + this.#rng.delay(50, 1_500), () => this.revoke(lease));
    this.#leases.set(lease, { ttlMs, cancel });
  }

  #holds(compare: Compare): boolean {
    const kv = this.#data.get(compare.key);
    return ((compare.kind === 'mod' ? kv?.modRevision : kv?.createRevision) ?? 0) === compare.revision;
  }
}
