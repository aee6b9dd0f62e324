// The coordinator's copy of what the store holds: wishes, records, hosts, coordinators. It follows the store by mirrors and takes in the
// outcome of our own transactions at once, so that the next decision is made from them. It is a copy: every save is guarded by revisions.

import { clusterCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec, type Codec, type CodecError } from '../shared/core/codec.js';
import type { Instant } from '../shared/core/ids.js';
import type { Keys } from '../shared/core/keys.js';
import type { Cluster, HostKey, VmRecord, VmWanted } from '../shared/core/model.js';
import type { Result } from '../shared/core/result.js';
import type { StoreLoss } from '../shared/core/store-loss.js';
import type { Clock, KeyValue, Log, Snapshot, Store } from '../shared/ports.js';

/** A decoded value with the revision that guards its next change; 0 = the key is absent. */
export interface Stored<T> {
  readonly value: T;
  readonly modRevision: number;
}

/** Since when the store is not followed, and what the last attempt said. */
export interface Lost extends StoreLoss {
  readonly at: Instant;
}

export interface Catalogue {
  wanted(): ReadonlyMap<string, Stored<VmWanted>>;
  records(): ReadonlyMap<string, Stored<VmRecord>>;
  /** Every host ever seen, and whether its lease is there. */
  hosts(): ReadonlyMap<string, { readonly key: HostKey; readonly leased: boolean }>;
  cluster(): Cluster | null;
  /** All keys as last seen; null = the store has not answered yet. */
  snapshot(): Snapshot | null;
  /** Keys whose values this version cannot read: key -> what is wrong. Decisions about them are not made. */
  unreadable(): ReadonlyMap<string, string>;
  /** Null = the store is followed; else why not. */
  lost(): Lost | null;
  /** Takes in a record that a transaction of ours has just saved, or that was just read. */
  accept(vm: string, kv: { readonly value: VmRecord; readonly modRevision: number } | null, revision: number): void;
  close(): void;
}

export interface CatalogueHandlers {
  /** Something changed; `vm` is null when it may concern any. */
  changed(vm: string | null): void;
}

export function followStore(
  ports: { readonly clock: Clock; readonly store: Store; readonly log: Log },
  keys: Keys,
  handlers: CatalogueHandlers,
): Catalogue {
  const { clock, store, log } = ports;
  let wanted: ReadonlyMap<string, Stored<VmWanted>> = new Map();
  let records: ReadonlyMap<string, Stored<VmRecord>> = new Map();
  let leased: ReadonlyMap<string, HostKey> = new Map();
  let inventory: ReadonlyMap<string, HostKey> = new Map();
  let cluster: Cluster | null = null;
  let unreadable: ReadonlyMap<string, string> = new Map();
  let latest: Snapshot | null = null;
  let lost: Lost | null = { kind: 'lost', detail: 'it has not answered yet', at: clock.now() };
  /** Per VM: the revision as of which its record is known, so that an older snapshot never undoes a newer transaction. */
  const recordAsOf = new Map<string, number>();
  /** A value is decoded once, however many snapshots it is in. */
  const decoded = new WeakMap<KeyValue, Result<unknown, CodecError>>();

  function readerInto(problems: Map<string, string>): <T>(codec: Codec<T>, kv: KeyValue | undefined) => T | null {
    return <T>(codec: Codec<T>, kv: KeyValue | undefined): T | null => {
      if (kv === undefined) return null;
      const value = (decoded.get(kv) as ReturnType<Codec<T>['decode']> | undefined) ?? codec.decode(kv.key, kv.value);
      if (!decoded.has(kv) && !value.ok) log.error({ key: kv.key, detail: value.error.detail }, 'value-unreadable');
      decoded.set(kv, value);
      if (value.ok) return value.value;
      problems.set(kv.key, value.error.detail);
      return null;
    };
  }

  function take(snapshot: Snapshot): void {
    const problems = new Map<string, string>();
    const read = readerInto(problems);
    const below = <T>(prefix: string, suffix: string, codec: Codec<T>): Map<string, Stored<T>> => {
      const found = new Map<string, Stored<T>>();
      for (const [key, kv] of snapshot.keys) {
        if (!key.startsWith(prefix) || !key.endsWith(suffix)) continue;
        const value = read(codec, kv);
        if (value !== null) found.set(key.slice(prefix.length, key.length - suffix.length), { value, modRevision: kv.modRevision });
      }
      return found;
    };
    const values = <T>(map: ReadonlyMap<string, Stored<T>>): ReadonlyMap<string, T> =>
      new Map([...map].map(([name, each]) => [name, each.value]));
    const nextRecords = below(keys.vms, '/record', vmRecordCodec);
    for (const [vm, asOf] of recordAsOf) {
      const newer = records.get(vm);
      if (asOf <= snapshot.revision) recordAsOf.delete(vm);
      else if (newer === undefined) nextRecords.delete(vm);
      else nextRecords.set(vm, newer);
    }
    wanted = below(keys.vms, '/spec', vmWantedCodec);
    records = nextRecords;
    leased = values(below(keys.hosts, '', hostKeyCodec));
    inventory = values(below(keys.inventory, '', hostKeyCodec));
    cluster = read(clusterCodec, snapshot.keys.get(keys.cluster));
    unreadable = problems;
    latest = snapshot;
    handlers.changed(null);
  }

  const mirror = store.mirror(keys.all, {
    changed: take,
    health: (state) => {
      lost = state.kind === 'following' ? null : { ...state, at: lost?.at ?? clock.now() };
      handlers.changed(null);
    },
  });

  return {
    wanted: () => wanted,
    records: () => records,
    hosts: () => {
      const all = new Map<string, { readonly key: HostKey; readonly leased: boolean }>();
      for (const [host, key] of inventory) all.set(host, { key, leased: false });
      for (const [host, key] of leased) all.set(host, { key, leased: true });
      return all;
    },
    cluster: () => cluster,
    snapshot: () => latest,
    unreadable: () => unreadable,
    lost: () => lost,
    accept: (vm, kv, revision) => {
      if (revision < (recordAsOf.get(vm) ?? 0)) return;
      recordAsOf.set(vm, revision);
      const next = new Map(records);
      if (kv === null) next.delete(vm);
      else next.set(vm, kv);
      records = next;
    },
    close: () => mirror.close(),
  };
}
