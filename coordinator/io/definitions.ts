// Writes what operators want: each change is one transaction on the VM's spec key, so that any coordinator may make it and the leader
// follows the key. New definitions also pass through one guard key, because that two VMs have different MAC addresses is a fact about all
// of them: a definition that was checked against an older list is not stored.

import { historyCodec, vmRecordCodec, vmWantedCodec } from '../../shared/core/codec.js';
import { vmUid } from '../../shared/core/ids.js';
import type { Keys } from '../../shared/core/keys.js';
import type { HostKey, VmRecord, VmSpec, VmWanted } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { describeSpecProblems, specProblems } from '../../shared/core/spec-rules.js';
import type { Random, Store, StoreError, Write } from '../../shared/ports.js';
import { askedEntry, type Asked } from '../core/asked.js';
import { afterWish, collisions, type Wish } from '../core/definition-rules.js';
import { createStoreReader } from './picture.js';

/** gRPC's codes, as far as a change needs them. `detail` has one line a problem, `key: what is wrong` where a key is to blame. */
export interface Refusal {
  readonly code: 'INVALID_ARGUMENT' | 'ALREADY_EXISTS' | 'FAILED_PRECONDITION' | 'NOT_FOUND' | 'ABORTED' | 'UNAVAILABLE' | 'INTERNAL';
  readonly detail: string;
}

/** A VM as the store has it at one moment. */
export interface CurrentVm {
  readonly wanted: VmWanted;
  readonly record: VmRecord | null;
}

export interface DefinitionRequest {
  readonly spec: VmSpec;
  /** Null = a random one. */
  readonly uid: string | null;
  readonly start: boolean;
  readonly dryRun: boolean;
  /** Who asks, for the history. */
  readonly by?: string;
}

export interface Definitions {
  define(request: DefinitionRequest): Promise<Result<CurrentVm, Refusal>>;
  change(name: string, wish: Wish, dryRun: boolean, by?: string): Promise<Result<CurrentVm, Refusal>>;
  /** Linearizable. */
  read(name: string): Promise<Result<CurrentVm, Refusal>>;
}

/** Somebody else wrote in between: so often is the change made again before the caller is told. */
const MOST_TRIES = 5;

interface StoredKeys extends CurrentVm {
  readonly specRevision: number;
  readonly recordRevision: number;
}

export function createDefinitions(store: Store, keys: Keys, random: Random, wallMs: () => number = () => 0): Definitions {
  const reader = createStoreReader(keys);
  /** Written with each definition, so that its revision says whether the list of VMs has grown since it was read. */
  const guard = `${keys.all}definitions`;

  async function define(request: DefinitionRequest): Promise<Result<CurrentVm, Refusal>> {
    const { spec } = request;
    const problems = specProblems(spec);
    if (problems.length > 0) return fail({ code: 'INVALID_ARGUMENT', detail: describeSpecProblems(problems) });
    const uid = vmUid(request.uid ?? random.id());
    const wanted: VmWanted = { uid, spec, wanted: request.start ? 'running' : 'stopped', protect: true };
    return retried(spec.name, async () => {
      const before = await store.get(guard);
      if (!before.ok) return fail(refusalOf(before.error));
      const listed = await store.list(keys.vms);
      if (!listed.ok) return fail(refusalOf(listed.error));
      const inventory = await store.list(keys.inventory);
      if (!inventory.ok) return fail(refusalOf(inventory.error));
      const { vms } = reader.read(listed.value);
      const { hosts } = reader.read(inventory.value);
      const same = vms.find((each) => each.name === spec.name);
      if (same?.wanted?.uid === uid) return ok({ wanted: same.wanted, record: same.record });
      if (same !== undefined) return fail({ code: 'ALREADY_EXISTS', detail: existing(spec.name, same.wanted) });
      const refused = refuseCollisions(
        spec,
        hosts.map((each) => each.key),
        vms.flatMap((each) => each.wanted?.spec ?? []),
      );
      if (refused !== null) return fail(refused);
      if (request.dryRun) return ok({ wanted, record: null });
      const asked = asking('define', null, wanted, null, request.by);
      const done = await store.txn(
        [
          { kind: 'mod', key: guard, revision: before.value.kv?.modRevision ?? 0 },
          { kind: 'create', key: keys.spec(spec.name), revision: 0 },
          { kind: 'create', key: keys.record(spec.name), revision: 0 },
        ],
        [{ kind: 'put', key: guard, value: JSON.stringify({ format: 1, uid }), lease: null }, ...asked.writes],
      );
      // An unknown outcome is read again: the uid tells whether it was ours.
      if (!done.ok) return done.error.kind === 'unknown' ? ok('again') : fail(refusalOf(done.error));
      return ok(done.value.succeeded ? { wanted: asked.wanted, record: null } : 'again');
    });
  }

  /** The wish and its entry in the history, for one transaction. */
  function asking(asked: Asked, before: VmWanted | null, next: VmWanted, record: VmRecord | null, by = 'operator') {
    const { entry, asked: place } = askedEntry(asked, before, next, record, by, wallMs());
    const wanted: VmWanted = { ...next, asked: place };
    const { spec, uid } = wanted;
    const writes: readonly Write[] = [
      { kind: 'put', key: keys.spec(spec.name), value: vmWantedCodec.encode(wanted), lease: null },
      { kind: 'put', key: keys.askedOf(spec.name, uid, place), value: historyCodec.encode(entry), lease: null },
    ];
    return { wanted, writes };
  }

  async function change(name: string, wish: Wish, dryRun: boolean, by?: string): Promise<Result<CurrentVm, Refusal>> {
    return retried(name, async () => {
      const current = await readKeys(name);
      if (!current.ok) return current;
      const { wanted, record, specRevision, recordRevision } = current.value;
      const next = afterWish(wish, wanted, record);
      if (!next.ok) return fail({ code: 'FAILED_PRECONDITION', detail: next.error });
      const changed = vmWantedCodec.encode(next.value) !== vmWantedCodec.encode(wanted);
      if (dryRun || !changed) return ok({ wanted: next.value, record });
      const asked = asking(wish, wanted, next.value, record, by);
      const done = await store.txn(
        [
          { kind: 'mod', key: keys.spec(name), revision: specRevision },
          // A deletion is allowed by what the record says, so the record must still say it.
          ...(wish === 'delete' ? [{ kind: 'mod' as const, key: keys.record(name), revision: recordRevision }] : []),
        ],
        asked.writes,
      );
      if (!done.ok) return done.error.kind === 'unknown' ? ok('again') : fail(refusalOf(done.error));
      return ok(done.value.succeeded ? { wanted: asked.wanted, record } : 'again');
    });
  }

  async function readKeys(name: string): Promise<Result<StoredKeys, Refusal>> {
    if (!/^[a-z0-9-]+$/.test(name)) return fail({ code: 'NOT_FOUND', detail: `there is no VM "${name}"` });
    // Both keys as of one revision.
    const listed = await store.list(`${keys.vms}${name}/`);
    if (!listed.ok) return fail(refusalOf(listed.error));
    const spec = listed.value.keys.get(keys.spec(name));
    const record = listed.value.keys.get(keys.record(name));
    if (spec === undefined)
      return fail({ code: 'NOT_FOUND', detail: `there is no VM "${name}": coloctl vm list shows those that are defined` });
    const wanted = vmWantedCodec.decode(spec.key, spec.value);
    if (!wanted.ok)
      return fail({ code: 'INTERNAL', detail: `the store has a value that this coordinator cannot read: ${wanted.error.detail}` });
    const decoded = record === undefined ? null : vmRecordCodec.decode(record.key, record.value);
    if (decoded?.ok === false)
      return fail({ code: 'INTERNAL', detail: `the store has a value that this coordinator cannot read: ${decoded.error.detail}` });
    return ok({
      wanted: wanted.value,
      record: decoded?.value ?? null,
      specRevision: spec.modRevision,
      recordRevision: record?.modRevision ?? 0,
    });
  }

  return { define, change, read: readKeys };
}

async function retried(name: string, attempt: () => Promise<Result<CurrentVm | 'again', Refusal>>): Promise<Result<CurrentVm, Refusal>> {
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const done = await attempt();
    if (!done.ok) return done;
    if (done.value !== 'again') return ok(done.value);
  }
  return fail({
    code: 'ABORTED',
    detail: `VM "${name}" is changed by others all the time: look at it (coloctl vm show ${name}) and try again`,
  });
}

function refuseCollisions(spec: VmSpec, hosts: readonly HostKey[], others: readonly VmSpec[]): Refusal | null {
  const found = collisions(spec, hosts, others);
  return found.length === 0 ? null : { code: 'FAILED_PRECONDITION', detail: describeSpecProblems(found) };
}

function existing(name: string, wanted: VmWanted | null): string {
  const state =
    wanted?.wanted === 'deleted'
      ? 'is still being deleted: try again when it is gone'
      : `exists: choose another name, or look at it (coloctl vm show ${name})`;
  return `name: VM "${name}" ${state}`;
}

export function refusalOf(error: StoreError): Refusal {
  switch (error.kind) {
    case 'unavailable':
      return { code: 'UNAVAILABLE', detail: `no etcd quorum, nothing was changed: ${error.detail}` };
    case 'unknown':
      return { code: 'UNAVAILABLE', detail: `no etcd quorum, and it is not known whether the change was made: ${error.detail}` };
    case 'refused':
      return { code: 'INTERNAL', detail: `etcd refused the change: ${error.detail}` };
  }
}
