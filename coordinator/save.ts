// Saves a decision by one transaction, guarded by the leader key and the record's revision, so that it is the arbitration itself: the first
// writer wins. An outcome that is not known is read again and never guessed.

import type { Decision } from './core/decide.js';
import { historyCodec, vmRecordCodec, vmWantedCodec } from '../shared/core/codec.js';
import type { Keys } from '../shared/core/keys.js';
import { HISTORY_PER_VM } from '../shared/core/limits.js';
import type { VmRecord, VmWanted } from '../shared/core/model.js';
import type { Compare, Store, Write } from '../shared/ports.js';

export interface Draft {
  readonly vm: string;
  readonly decision: Exclude<Decision, { kind: 'act' }>;
  /** 0 = there is no record yet. */
  readonly recordRevision: number;
  readonly specRevision: number;
  readonly wanted: VmWanted;
}

type StoredRecord = { readonly value: VmRecord; readonly modRevision: number } | null;

export type Saved =
  | { readonly kind: 'saved'; readonly record: StoredRecord; readonly revision: number }
  /** Somebody else wrote first, or we lead no more: what is there now. */
  | { readonly kind: 'lost-race'; readonly record: StoredRecord; readonly revision: number; readonly mayCome: boolean }
  /** `mayCome`: the transaction was sent and nobody answered, and a member may carry it out yet, as long as the record is not written anew. */
  | { readonly kind: 'failed'; readonly detail: string; readonly mayCome: boolean };

export async function saveDecision(store: Store, keys: Keys, guard: Compare, draft: Draft): Promise<Saved> {
  const answer = await store.txn(comparesOf(keys, guard, draft), writesOf(keys, draft));
  const value = draft.decision.kind === 'save' ? draft.decision.record : null;
  if (answer.ok && answer.value.succeeded) {
    const { revision } = answer.value;
    return { kind: 'saved', record: value === null ? null : { value, modRevision: revision }, revision };
  }
  if (!answer.ok && answer.error.kind !== 'unknown') return { kind: 'failed', detail: answer.error.detail, mayCome: false };
  const read = await store.get(keys.record(draft.vm));
  const failed = (detail: string): Saved => ({ kind: 'failed', detail, mayCome: !answer.ok });
  if (!read.ok) return failed(`outcome unknown, and the record cannot be read: ${read.error.detail}`);
  const { kv, revision } = read.value;
  const mayCome = !answer.ok && (kv?.modRevision ?? 0) === draft.recordRevision;
  if (kv === null)
    return value === null && !answer.ok
      ? { kind: 'saved', record: null, revision }
      : { kind: 'lost-race', record: null, revision, mayCome };
  const decoded = vmRecordCodec.decode(kv.key, kv.value);
  if (!decoded.ok) return failed(decoded.error.detail);
  const record = { value: decoded.value, modRevision: kv.modRevision };
  // The text is compared as a whole: it holds epoch, row and time, so that an equal text is our own write.
  const ours = !answer.ok && value !== null && kv.value === vmRecordCodec.encode(value);
  return ours ? { kind: 'saved', record, revision } : { kind: 'lost-race', record, revision, mayCome };
}

function comparesOf(keys: Keys, guard: Compare, draft: Draft): readonly Compare[] {
  const compares: Compare[] = [guard, { kind: 'mod', key: keys.record(draft.vm), revision: draft.recordRevision }];
  const touchesSpec = draft.decision.kind === 'forget' || draft.decision.stopWanted;
  if (touchesSpec) compares.push({ kind: 'mod', key: keys.spec(draft.vm), revision: draft.specRevision });
  return compares;
}

function writesOf(keys: Keys, draft: Draft): readonly Write[] {
  const { decision, vm, wanted } = draft;
  if (decision.kind === 'forget') {
    return [
      { kind: 'delete', key: keys.spec(vm) },
      { kind: 'delete', key: keys.record(vm) },
    ];
  }
  const { record, history } = decision;
  const writes: Write[] = [{ kind: 'put', key: keys.record(vm), value: vmRecordCodec.encode(record), lease: null }];
  if (history !== null) {
    writes.push({ kind: 'put', key: keys.historyOf(vm, record.uid, record.epoch), value: historyCodec.encode(history), lease: null });
    const oldest = record.epoch - HISTORY_PER_VM;
    if (oldest > 0) writes.push({ kind: 'delete', key: keys.historyOf(vm, record.uid, oldest) });
  }
  if (decision.stopWanted)
    writes.push({ kind: 'put', key: keys.spec(vm), value: vmWantedCodec.encode({ ...wanted, wanted: 'stopped' }), lease: null });
  return writes;
}
