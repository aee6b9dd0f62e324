// What the agent asks of the store: linearizable reads only. It writes nothing there but its leased keys (shared/lease.ts).

import { clusterCodec, vmRecordCodec } from '../../shared/core/codec.js';
import type { Incarnation } from '../../shared/core/ids.js';
import type { Keys } from '../../shared/core/keys.js';
import type { VmRecord } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Store } from '../../shared/ports.js';
import type { StoreWord } from '../core/orders.js';

/** Null = the store answered that there is none. An error is no answer, or one that cannot be understood. */
export async function readRecord(store: Store, keys: Keys, vm: string): Promise<Result<VmRecord | null, string>> {
  const read = await store.get(keys.record(vm));
  if (!read.ok) return fail(`the store does not answer: ${read.error.detail}`);
  if (read.value.kv === null) return ok(null);
  const record = vmRecordCodec.decode(keys.record(vm), read.value.kv.value);
  return record.ok ? record : fail(record.error.detail);
}

export async function readWord(store: Store, keys: Keys, vm: string): Promise<Result<StoreWord, string>> {
  const [cluster, record] = await Promise.all([store.get(keys.cluster), readRecord(store, keys, vm)]);
  if (!record.ok) return record;
  if (!cluster.ok) return fail(`the store does not answer: ${cluster.error.detail}`);
  let incarnation: Incarnation | null = null;
  if (cluster.value.kv !== null) {
    const decoded = clusterCodec.decode(keys.cluster, cluster.value.kv.value);
    if (!decoded.ok) return fail(decoded.error.detail);
    incarnation = decoded.value.incarnation;
  }
  return ok({ incarnation, record: record.value });
}
