// Reads the cluster's picture out of the mirrored store and the agents' streams. Values are decoded once per version; one that cannot be
// read is named in the picture and never guessed at.

import { coordinatorKeyCodec, historyCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec, type Codec } from '../../shared/core/codec.js';
import type { Keys } from '../../shared/core/keys.js';
import type { HistoryEntry, HostKey, VmRecord, VmWanted } from '../../shared/core/model.js';
import type { Result } from '../../shared/core/result.js';
import type { KeyValue, Snapshot } from '../../shared/ports.js';
import type { HostPicture, VmPicture } from '../core/summary.js';
import type { HostLink } from '../core/link.js';

export interface StoredVm {
  readonly name: string;
  readonly wanted: VmWanted | null;
  readonly record: VmRecord | null;
}

export interface Stored {
  readonly vms: readonly StoredVm[];
  readonly hosts: readonly { readonly key: HostKey; readonly leased: boolean }[];
  readonly coordinators: readonly { readonly name: string; readonly address: string }[];
  /** Each with its key and what is wrong. */
  readonly unreadable: readonly string[];
}

/** One reader per key space; it remembers what it decoded as long as the snapshot's values live. */
export interface StoreReader {
  read(snapshot: Snapshot): Stored;
  /** Oldest first, of one VM or of all. */
  history(snapshot: Snapshot, vm: string | null): readonly HistoryEntry[];
}

export function createStoreReader(keys: Keys): StoreReader {
  const decoded = new WeakMap<KeyValue, Result<unknown, { readonly detail: string }>>();

  function decode<T>(codec: Codec<T>, kv: KeyValue, unreadable: string[]): T | null {
    const known = (decoded.get(kv) as ReturnType<Codec<T>['decode']> | undefined) ?? codec.decode(kv.key, kv.value);
    decoded.set(kv, known);
    if (known.ok) return known.value;
    unreadable.push(known.error.detail);
    return null;
  }

  /** All readable values directly below a prefix, by the rest of the key. */
  function below<T>(snapshot: Snapshot, prefix: string, codec: Codec<T>, unreadable: string[]): ReadonlyMap<string, T> {
    const found = new Map<string, T>();
    for (const [key, kv] of snapshot.keys) {
      if (!key.startsWith(prefix)) continue;
      const value = decode(codec, kv, unreadable);
      if (value !== null) found.set(key.slice(prefix.length), value);
    }
    return found;
  }

  function vms(snapshot: Snapshot): { readonly vms: readonly StoredVm[]; readonly unreadable: readonly string[] } {
    const unreadable: string[] = [];
    const found = new Map<string, { wanted: VmWanted | null; record: VmRecord | null }>();
    for (const [key, kv] of snapshot.keys) {
      if (!key.startsWith(keys.vms)) continue;
      const [name, kind] = key.slice(keys.vms.length).split('/');
      if (name === undefined || (kind !== 'spec' && kind !== 'record')) continue;
      const vm = found.get(name) ?? { wanted: null, record: null };
      if (kind === 'spec') vm.wanted = decode(vmWantedCodec, kv, unreadable);
      else vm.record = decode(vmRecordCodec, kv, unreadable);
      found.set(name, vm);
    }
    return { vms: [...found].map(([name, vm]) => ({ name, ...vm })), unreadable };
  }

  return {
    read: (snapshot) => {
      const stored = vms(snapshot);
      const unreadable = [...stored.unreadable];
      const inventory = below(snapshot, keys.inventory, hostKeyCodec, unreadable);
      const leased = below(snapshot, keys.hosts, hostKeyCodec, unreadable);
      const hosts = [...new Map([...inventory, ...leased]).values()].map((key) => ({ key, leased: leased.has(key.host) }));
      const coordinators = [...below(snapshot, keys.members, coordinatorKeyCodec, unreadable).values()];
      return { vms: stored.vms, hosts, coordinators: coordinators.map(({ name, address }) => ({ name, address })), unreadable };
    },
    history: (snapshot, vm) => {
      const entries = below(snapshot, vm === null ? keys.history : `${keys.history}${vm}/`, historyCodec, []);
      return [...entries.values()].sort((x, y) => x.atMs - y.atMs || x.epoch - y.epoch);
    },
  };
}

/** Hosts as the store and the streams have them. */
export function hostPictures(stored: Stored['hosts'], links: ReadonlyMap<string, HostLink>): readonly HostPicture[] {
  return stored.map(({ key, leased }) => {
    const link = links.get(key.host);
    return { key, leased, heard: link?.heard ?? false, report: link?.report ?? null, strange: link?.strange ?? [] };
  });
}

export function vmPictures(stored: readonly StoredVm[], decisionOf: (vm: string) => VmPicture['decision']): readonly VmPicture[] {
  return stored.map((vm) => ({ ...vm, decision: decisionOf(vm.name) }));
}
