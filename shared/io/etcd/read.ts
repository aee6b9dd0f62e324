// Linearizable reads, and the forms in which etcd3 gives keys and revisions.

import type { CallOptions } from '@grpc/grpc-js';
import type { Etcd3, IKeyValue } from 'etcd3';
import type { KeyValue, Snapshot } from '../../ports.js';

/** A prefix is listed in pages of one revision, so that no answer grows beyond what a message may hold. */
const PAGE_KEYS = 500;

export function keyValueOf(kv: IKeyValue): KeyValue {
  return {
    key: kv.key.toString('utf8'),
    value: kv.value.toString('utf8'),
    createRevision: Number(kv.create_revision),
    modRevision: Number(kv.mod_revision),
    lease: kv.lease,
  };
}

/** The first key after all keys with the prefix. */
export function endOfPrefix(prefix: string): Buffer {
  const end = Buffer.from(prefix, 'utf8');
  for (let index = end.length - 1; index >= 0; index -= 1) {
    const byte = end[index] ?? 0xff;
    if (byte < 0xff) {
      end[index] = byte + 1;
      return end.subarray(0, index + 1);
    }
  }
  // All bytes were 0xff (or the prefix is empty): etcd's word for "to the end".
  return Buffer.from([0]);
}

export async function readKey(
  client: Etcd3,
  key: string,
  options: CallOptions,
): Promise<{ readonly kv: KeyValue | null; readonly revision: number }> {
  const answer = await client.kv.range({ key: Buffer.from(key, 'utf8') }, options);
  const [kv] = answer.kvs;
  return { kv: kv === undefined ? null : keyValueOf(kv), revision: Number(answer.header.revision) };
}

/** `page` makes the call options of one page, because each page has a deadline of its own. */
export async function readPrefix(client: Etcd3, prefix: string, page: () => CallOptions): Promise<Snapshot> {
  const keys = new Map<string, KeyValue>();
  const end = endOfPrefix(prefix);
  let from = prefix === '' ? Buffer.from([0]) : Buffer.from(prefix, 'utf8');
  let revision = 0;
  for (;;) {
    const answer = await client.kv.range({ key: from, range_end: end, limit: PAGE_KEYS, revision }, page());
    // The first page is the newest state; the others are of the very same revision.
    if (revision === 0) revision = Number(answer.header.revision);
    for (const kv of answer.kvs) {
      const read = keyValueOf(kv);
      keys.set(read.key, read);
    }
    const last = answer.kvs.at(-1);
    if (!answer.more || last === undefined) return { revision, keys };
    from = Buffer.concat([last.key, Buffer.from([0])]);
  }
}
