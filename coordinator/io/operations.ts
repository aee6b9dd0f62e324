// What operators decide against or beside the table: a forced failover, the recovery of a store that is behind its agents, and the question
// why a VM is as it is. Any coordinator can do it: it reads all keys as of one revision, looks through its own streams at the hosts, and
// writes by transactions that fail if a record was changed meanwhile. Orders are left to the leader, which follows the records.

import { clusterCodec, historyCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec, type Codec } from '../../shared/core/codec.js';
import { incarnation, term } from '../../shared/core/ids.js';
import type { Keys } from '../../shared/core/keys.js';
import type { Cluster, HistoryEntry, HostKey, VmRecord, VmWanted } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock, Compare, KeyValue, Random, Snapshot, Store, Write } from '../../shared/ports.js';
import { assemble, initialRecord } from '../core/assemble.js';
import { decide, rowOf, TABLE, takeEdge } from '../core/decide.js';
import { declarationProblem, forceFailover } from '../core/forced.js';
import type { HostLink } from '../core/link.js';
import { missingHosts, planRecovery, type Recovery } from '../core/recover.js';
import { strangeWords, unknownQemus, type LastDecision } from '../core/summary.js';
import type { VmView } from '../core/view.js';
import { refusalOf, type CurrentVm, type Refusal } from './definitions.js';
import { hostPictures } from './picture.js';

export interface OperationsWorld {
  readonly cluster: string;
  readonly keys: Keys;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly portRange: { readonly first: number; readonly last: number };
  readonly failoversPerHour: number;
  links(): ReadonlyMap<string, HostLink>;
  decisionOf(vm: string): LastDecision | null;
}

export interface ForceRequest {
  readonly name: string;
  readonly declaredOff: readonly string[];
  readonly dryRun: boolean;
  /** Who asks, for the history. */
  readonly by?: string;
}

export interface RecoverRequest {
  /** Empty = all. */
  readonly vms: readonly string[];
  readonly without: readonly string[];
  readonly disk: string | null;
  readonly dryRun: boolean;
  readonly by?: string;
}

export interface Recovered {
  readonly vms: readonly { readonly wanted: VmWanted; readonly plan: Recovery }[];
  readonly unknown: readonly string[];
  /** Null = nothing was to be mended. */
  readonly incarnation: string | null;
}

export interface Explanation {
  readonly current: CurrentVm;
  readonly row: string;
  readonly why: string;
  readonly reason: string;
  readonly orders: readonly string[];
}

export interface Operations {
  force(request: ForceRequest): Promise<Result<{ readonly current: CurrentVm; readonly decision: string }, Refusal>>;
  recover(request: RecoverRequest): Promise<Result<Recovered, Refusal>>;
  explain(name: string): Promise<Result<Explanation, Refusal>>;
}

/** etcd takes 128 operations in one transaction; a VM needs up to five. */
const VMS_PER_TXN = 20;
/** The same wish again after a lost answer is not a second one. */
const REPEATED_MS = 30_000;

interface StoredVm {
  readonly wanted: VmWanted;
  readonly record: VmRecord | null;
  readonly specRevision: number;
  readonly recordRevision: number;
}

/** Everything as of one revision. */
interface Everything {
  readonly snapshot: Snapshot;
  readonly cluster: Cluster | null;
  readonly clusterRevision: number;
  readonly leaderRevision: number;
  readonly vms: ReadonlyMap<string, StoredVm>;
  readonly hosts: ReadonlyMap<string, { readonly key: HostKey; readonly leased: boolean }>;
}

export function createOperations(world: OperationsWorld): Operations {
  const { clock, keys, random, store } = world;
  const refused = (detail: string): Result<never, Refusal> => fail({ code: 'FAILED_PRECONDITION', detail });

  async function readAll(): Promise<Result<Everything, Refusal>> {
    const listed = await store.list(keys.all);
    if (!listed.ok) return fail(refusalOf(listed.error));
    return readEverything(keys, listed.value);
  }

  function viewOf(all: Everything, vm: StoredVm): VmView {
    const records = [...all.vms].flatMap(([name, each]) => (each.record === null ? [] : [[name, each.record] as const]));
    const known = {
      incarnation: all.cluster?.incarnation ?? incarnation(''),
      term: term(all.leaderRevision),
      termBase: all.cluster?.termBase ?? 0,
      now: clock.now(),
      wallMs: clock.wallMs(),
      late: false,
      portRange: world.portRange,
      failoversPerHour: world.failoversPerHour,
      hosts: all.hosts,
      links: world.links(),
      records: new Map(records),
    };
    // A record of another uid is that of an earlier VM of this name.
    const record = vm.record?.uid === vm.wanted.uid ? vm.record : initialRecord(vm.wanted);
    return assemble(known, vm.wanted, record, null).view;
  }

  async function force(request: ForceRequest): ReturnType<Operations['force']> {
    const all = await readAll();
    if (!all.ok) return all;
    const vm = all.value.vms.get(request.name);
    if (vm === undefined) return fail({ code: 'NOT_FOUND', detail: `there is no VM "${request.name}"` });
    if (request.declaredOff.length === 0) return fail({ code: 'INVALID_ARGUMENT', detail: 'name the host that is powered off' });
    if (all.value.leaderRevision === 0) return fail({ code: 'UNAVAILABLE', detail: 'no coordinator leads: try again in a moment' });
    const { record } = vm;
    if (record?.row === 'forced' && clock.wallMs() - record.sinceMs < REPEATED_MS)
      return ok({ current: { wanted: vm.wanted, record }, decision: record.reason });
    const view = viewOf(all.value, vm);
    const forced = forceFailover(view, new Set(request.declaredOff));
    if (!forced.ok) return refused(`${forced.error}. Nothing was changed`);
    const said = `declared powered off by an operator: ${request.declaredOff.join(', ')}`;
    const edge = takeEdge(view, 'forced', { ...forced.value, evidence: [said, ...forced.value.evidence] }, request.by ?? 'operator');
    if (request.dryRun) return ok({ current: { wanted: vm.wanted, record }, decision: edge.record.reason });
    const done = await commit([compareRecord(vm)], writesOf(edge.record, edge.history, null));
    if (!done.ok) return done;
    return ok({ current: { wanted: vm.wanted, record: edge.record }, decision: edge.record.reason });
  }

  async function recover(request: RecoverRequest): Promise<Result<Recovered, Refusal>> {
    const read = await readAll();
    if (!read.ok) return read;
    const all = read.value;
    const missing = request.vms.find((each) => !all.vms.has(each));
    if (missing !== undefined) return fail({ code: 'NOT_FOUND', detail: `there is no VM "${missing}": coloctl vm list` });
    if (request.disk !== null && request.vms.length !== 1) return fail({ code: 'INVALID_ARGUMENT', detail: 'a disk is chosen for one VM' });
    const off = new Set(request.without);
    const hosts = hostPictures([...all.hosts.values()], world.links());
    const known = [...all.vms].map(([name, vm]) => ({ name, wanted: vm.wanted, record: vm.record, decision: null }));
    const unknown = unknownQemus(hosts, known);
    const strange = strangeWords(hosts.filter((each) => !off.has(each.key.host)));
    if (strange.length > 0) return refused(`${strange.join('; ')}. Nothing was changed`);
    const chosen = [...all.vms.values()].filter((each) => request.vms.length === 0 || request.vms.includes(each.wanted.spec.name));
    const plans: { readonly vm: StoredVm; readonly plan: Recovery }[] = [];
    for (const vm of chosen) {
      const view = viewOf(all, vm);
      const wrong = declarationProblem(view, off);
      if (wrong !== null) return refused(`${wrong}. Nothing was changed`);
      const silent = missingHosts(view, off);
      if (silent.length > 0) return refused(notHeard(silent));
      const plan = planRecovery(view, { off, disk: request.disk, by: request.by ?? 'operator' });
      if (!plan.ok) return refused(`VM "${vm.wanted.spec.name}": ${plan.error}. Nothing was changed`);
      plans.push({ vm, plan: plan.value });
    }
    const vms = plans.map(({ vm, plan }) => ({ wanted: vm.wanted, plan }));
    const highest = Math.max(0, ...hosts.flatMap((each) => (each.heard ? (each.report?.vms ?? []) : [])).map((each) => each.term));
    const termBase = all.cluster?.termBase ?? 0;
    const isTermBehind = highest > termBase + all.leaderRevision && all.leaderRevision > 0;
    const toWrite = plans.flatMap(({ vm, plan }) => (plan.kind === 'write' ? [{ vm, plan }] : []));
    if (toWrite.length === 0 && !isTermBehind && all.cluster !== null) return ok({ vms, unknown, incarnation: null });
    const next: Cluster = {
      name: all.cluster?.name ?? world.cluster,
      incarnation: incarnation(random.id()),
      termBase: highest > termBase + all.leaderRevision ? highest : termBase,
    };
    if (request.dryRun) return ok({ vms, unknown, incarnation: next.incarnation });
    // The incarnation goes with the first; what a crash leaves over is found behind by the next `recover`.
    for (let first = 0; first === 0 || first < toWrite.length; first += VMS_PER_TXN) {
      const part = toWrite.slice(first, first + VMS_PER_TXN);
      const compares: Compare[] = part.flatMap(({ vm }) => [
        compareRecord(vm),
        { kind: 'mod', key: specKey(vm), revision: vm.specRevision },
      ]);
      const writes = part.flatMap(({ plan }) => writesOf(plan.record, plan.history, plan.wanted));
      if (first === 0) {
        compares.push({ kind: 'mod', key: keys.cluster, revision: all.clusterRevision });
        writes.push({ kind: 'put', key: keys.cluster, value: clusterCodec.encode(next), lease: null });
      }
      const done = await commit(compares, writes);
      if (!done.ok) return done;
    }
    return ok({ vms, unknown, incarnation: next.incarnation });
  }

  async function explain(name: string): Promise<Result<Explanation, Refusal>> {
    const all = await readAll();
    if (!all.ok) return all;
    const vm = all.value.vms.get(name);
    if (vm === undefined) return fail({ code: 'NOT_FOUND', detail: `there is no VM "${name}": coloctl vm list` });
    const view = viewOf(all.value, vm);
    const { phase } = view.record;
    // The leader knows how long things have been so; another coordinator sees them as if for the first time.
    const said = world.decisionOf(name);
    const row = TABLE.find((each) => each.name === said?.row && each.from.includes(phase)) ?? rowOf(view);
    const decision = decide(view);
    const reason = said?.reason ?? (decision.kind === 'act' ? decision.reason : decision.kind === 'save' ? decision.record.reason : '');
    const orders = decision.kind === 'act' ? decision.orders.map((each) => `${each.host}: ${each.goal.kind}`) : [];
    return ok({ current: { wanted: vm.wanted, record: vm.record }, row: row.name, why: row.why, reason, orders });
  }

  async function commit(compares: readonly Compare[], writes: readonly Write[]): Promise<Result<null, Refusal>> {
    const done = await store.txn(compares, writes);
    if (!done.ok) return fail(refusalOf(done.error));
    if (done.value.succeeded) return ok(null);
    return fail({ code: 'ABORTED', detail: 'the record was changed meanwhile: look at coloctl status, and try again' });
  }

  const specKey = (vm: StoredVm): string => keys.spec(vm.wanted.spec.name);
  const compareRecord = (vm: StoredVm): Compare => ({ kind: 'mod', key: keys.record(vm.wanted.spec.name), revision: vm.recordRevision });

  function writesOf(record: VmRecord, history: HistoryEntry, wanted: VmWanted | null): Write[] {
    const { vm, uid } = record;
    const writes: Write[] = [
      { kind: 'put', key: keys.record(vm), value: vmRecordCodec.encode(record), lease: null },
      { kind: 'put', key: keys.historyOf(vm, uid, record.epoch), value: historyCodec.encode(history), lease: null },
    ];
    if (wanted !== null) writes.push({ kind: 'put', key: keys.spec(vm), value: vmWantedCodec.encode(wanted), lease: null });
    return writes;
  }

  return { force, recover, explain };
}

function notHeard(hosts: readonly string[]): string {
  const flags = hosts.map((each) => `--without ${each}`).join(' ');
  return (
    `not heard: ${hosts.join(', ')}. What they have is not known, so nothing was changed. Bring their agents back; or, if they are ` +
    `powered off for certain, say so: ${flags}`
  );
}

function readEverything(keys: Keys, snapshot: Snapshot): Result<Everything, Refusal> {
  const broken: string[] = [];
  const read = <T>(codec: Codec<T>, kv: KeyValue | undefined): T | null => {
    if (kv === undefined) return null;
    const decoded = codec.decode(kv.key, kv.value);
    if (decoded.ok) return decoded.value;
    broken.push(decoded.error.detail);
    return null;
  };
  const vms = new Map<string, StoredVm>();
  const hosts = new Map<string, { readonly key: HostKey; readonly leased: boolean }>();
  for (const [key, kv] of snapshot.keys) {
    if (key.startsWith(keys.inventory) || key.startsWith(keys.hosts)) {
      const host = read(hostKeyCodec, kv);
      if (host !== null) hosts.set(host.host, { key: host, leased: key.startsWith(keys.hosts) || hosts.get(host.host)?.leased === true });
    } else if (key.startsWith(keys.vms) && key.endsWith('/spec')) {
      const wanted = read(vmWantedCodec, kv);
      if (wanted === null) continue;
      const record = snapshot.keys.get(keys.record(wanted.spec.name));
      vms.set(wanted.spec.name, {
        wanted,
        record: read(vmRecordCodec, record),
        specRevision: kv.modRevision,
        recordRevision: record?.modRevision ?? 0,
      });
    }
  }
  const clusterKv = snapshot.keys.get(keys.cluster);
  const cluster = read(clusterCodec, clusterKv);
  if (broken.length > 0)
    return fail({ code: 'INTERNAL', detail: `the store has a value that this coordinator cannot read: ${broken.join('; ')}` });
  const leaderRevision = snapshot.keys.get(keys.leader)?.modRevision ?? 0;
  return ok({ snapshot, cluster, clusterRevision: clusterKv?.modRevision ?? 0, leaderRevision, vms, hosts });
}
