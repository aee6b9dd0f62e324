// A small faithful etcd in memory: revisions, guarded transactions, leases that expire, and clients that each have faults of their own. One
// FakeEtcd is shared by all processes of a test; each connects once and can be cut off, delayed, or lied to about one transaction.

import type { Instant } from '../../shared/core/ids.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock, Compare, KeyValue, MirrorHandlers, Snapshot, Store, StoreError, Write } from '../../shared/ports.js';

export interface FakeStore extends Store {
  /** Milliseconds that each call takes, half before the store acts and half after. */
  delayMs: number;
  /** Cut off: calls fail as unavailable after the delay, mirrors are lost until it is set back. */
  cut(isCut: boolean): void;
  /** The next transaction answers `unknown`; `done` says whether it was carried out all the same, `late` carries it out so many ms later. */
  nextTxn(fault: 'unknown-done' | 'unknown-undone' | 'unavailable' | { readonly lateMs: number }): void;
  /** The mirrors see nothing more, and say nothing of it, until `cut(false)`. */
  freezeMirrors(): void;
  /** Transactions that were carried out, newest last. */
  readonly carriedOut: { readonly compares: readonly Compare[]; readonly writes: readonly Write[] }[];
}

export interface FakeEtcd {
  connect(): FakeStore;
  read(key: string): KeyValue | null;
  /** As an outsider would, without a lease. */
  put(key: string, value: string): void;
  remove(key: string): void;
  /** As etcd 3.4 does to a lease that lives. */
  revoke(lease: string): void;
  /** All clients at once: no etcd quorum. Leases do not expire meanwhile, and start anew afterwards, as etcd's do after an election. */
  down(isDown: boolean): void;
  /** It answers, as an older copy of itself that no mirror follows. */
  wentBack(): void;
  revision(): number;
  leases(): readonly string[];
}

interface Lease {
  ttlMs: number;
  expire: () => void;
}

interface Mirror {
  readonly prefix: string;
  readonly handlers: MirrorHandlers;
  readonly client: Client;
  sent: number;
}

interface Client {
  isCut: boolean;
  frozen: boolean;
  lastAnswerAt: Instant | null;
}

/** `minimumTtlMs` is etcd's own floor for a lease. */
export function fakeEtcd(clock: Clock, minimumTtlMs = 2_000): FakeEtcd {
  const data = new Map<string, KeyValue>();
  const leases = new Map<string, Lease>();
  const mirrors = new Set<Mirror>();
  let revision = 1;
  let nextLease = 7_000;
  let isDown = false;

  const reachable = (client: Client): boolean => !isDown && !client.isCut;

  function snapshot(prefix: string): Snapshot {
    return { revision, keys: new Map([...data].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1))) };
  }

  function apply(writes: readonly Write[]): void {
    const next = revision + 1;
    let changed = false;
    for (const write of writes) {
      const before = data.get(write.key);
      if (write.kind === 'delete') {
        changed = data.delete(write.key) || changed;
        continue;
      }
      data.set(write.key, {
        key: write.key,
        value: write.value,
        createRevision: before?.createRevision ?? next,
        modRevision: next,
        lease: write.lease ?? '0',
      });
      changed = true;
    }
    if (!changed) return;
    revision = next;
    const touched = writes.map((each) => each.key);
    for (const mirror of [...mirrors]) if (touched.some((key) => key.startsWith(mirror.prefix))) tell(mirror);
  }

  /** Watches deliver a moment after the write. */
  function tell(mirror: Mirror): void {
    clock.after(0, () => {
      if (!mirrors.has(mirror) || !reachable(mirror.client) || mirror.client.frozen || mirror.sent >= revision) return;
      mirror.sent = revision;
      mirror.handlers.changed(snapshot(mirror.prefix));
    });
  }

  function reopen(mirror: Mirror): void {
    clock.after(1, () => {
      if (!mirrors.has(mirror) || !reachable(mirror.client)) return;
      mirror.sent = revision;
      mirror.handlers.changed(snapshot(mirror.prefix));
      mirror.handlers.health({ kind: 'following' });
    });
  }

  function endLease(id: string): void {
    const lease = leases.get(id);
    if (lease === undefined) return;
    lease.expire();
    leases.delete(id);
    apply([...data.values()].filter((each) => each.lease === id).map((each): Write => ({ kind: 'delete', key: each.key })));
  }

  function startLease(id: string, ttlMs: number): void {
    leases.get(id)?.expire();
    const cancel = clock.after(ttlMs, () => endLease(id));
    leases.set(id, { ttlMs, expire: cancel });
  }

  const holds = (compare: Compare): boolean => {
    const kv = data.get(compare.key);
    return ((compare.kind === 'mod' ? kv?.modRevision : kv?.createRevision) ?? 0) === compare.revision;
  };

  function connect(): FakeStore {
    const client: Client = { isCut: false, frozen: false, lastAnswerAt: null };
    let fault: Parameters<FakeStore['nextTxn']>[0] | null = null;
    const wait = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));

    async function call<T>(act: () => Result<T, StoreError>): Promise<Result<T, StoreError>> {
      await wait(store.delayMs / 2);
      if (!reachable(client)) return fail({ kind: 'unavailable', detail: 'cut off' });
      const answer = act();
      await wait(store.delayMs / 2);
      client.lastAnswerAt = clock.now();
      return answer;
    }

    function transact(
      compares: readonly Compare[],
      writes: readonly Write[],
    ): Result<{ succeeded: boolean; revision: number }, StoreError> {
      if (!compares.every(holds)) return ok({ succeeded: false, revision });
      const missing = writes.find((each) => each.kind === 'put' && each.lease !== null && !leases.has(each.lease));
      if (missing !== undefined) return fail({ kind: 'refused', detail: 'etcdserver: requested lease not found' });
      store.carriedOut.push({ compares, writes });
      apply(writes);
      return ok({ succeeded: true, revision });
    }

    const store: FakeStore = {
      delayMs: 2,
      carriedOut: [],
      cut: (isCut) => {
        client.isCut = isCut;
        client.frozen = false;
        for (const each of mirrors) {
          if (each.client !== client) continue;
          if (isCut) each.handlers.health({ kind: 'lost', detail: 'cut off' });
          else reopen(each);
        }
      },
      nextTxn: (next) => {
        fault = next;
      },
      freezeMirrors: () => {
        client.frozen = true;
      },
      get: (key) => call(() => ok({ kv: data.get(key) ?? null, revision })),
      list: (prefix) => call(() => ok(snapshot(prefix))),
      txn: async (compares, writes) => {
        const now = fault;
        fault = null;
        if (now === 'unavailable') return fail({ kind: 'unavailable', detail: 'asked for by the test' });
        if (now === null) return call(() => transact(compares, writes));
        await wait(store.delayMs);
        if (now === 'unknown-done') transact(compares, writes);
        else if (typeof now === 'object') clock.after(now.lateMs, () => transact(compares, writes));
        return fail({ kind: 'unknown', detail: 'asked for by the test' });
      },
      mirror: (prefix, handlers) => {
        const mirror: Mirror = { prefix, handlers, client, sent: 0 };
        mirrors.add(mirror);
        reopen(mirror);
        return { close: () => void mirrors.delete(mirror) };
      },
      grantLease: (ttlMs) =>
        call(() => {
          const id = String((nextLease += 1));
          const granted = Math.max(ttlMs, minimumTtlMs);
          startLease(id, granted);
          return ok({ lease: id, ttlMs: granted });
        }),
      keepAlive: (id) =>
        call<{ alive: boolean; ttlMs: number }>(() => {
          const lease = leases.get(id);
          if (lease === undefined) return ok({ alive: false, ttlMs: 0 });
          startLease(id, lease.ttlMs);
          return ok({ alive: true, ttlMs: lease.ttlMs });
        }),
      revokeLease: (id) =>
        call(() => {
          endLease(id);
          return ok(null);
        }),
      lastAnswerAt: () => client.lastAnswerAt,
    };
    return store;
  }

  return {
    connect,
    read: (key) => data.get(key) ?? null,
    put: (key, value) => apply([{ kind: 'put', key, value, lease: null }]),
    remove: (key) => apply([{ kind: 'delete', key }]),
    revoke: endLease,
    down: (nowDown) => {
      if (isDown === nowDown) return;
      isDown = nowDown;
      for (const [id, lease] of leases) {
        if (nowDown) lease.expire();
        else startLease(id, lease.ttlMs);
      }
      for (const each of mirrors) {
        if (nowDown) each.handlers.health({ kind: 'lost', detail: 'no etcd quorum' });
        else if (!each.client.isCut) reopen(each);
      }
    },
    wentBack: () => {
      for (const each of mirrors) each.handlers.health({ kind: 'older', detail: `it is at revision 1 and was at ${revision}` });
    },
    revision: () => revision,
    leases: () => [...leases.keys()],
  };
}
