// etcd's members as the product's own client meets them (shared/io/etcd/store.ts, over `EtcdMember`): three servers of one store, each of which
// can stand still, be cut off from the others, or be slow by itself. Rotation, deadlines, lists, watches and what follows from a compaction
// are then the product's code and not a model of it.

import type { CallOptions } from '@grpc/grpc-js';
import type { Etcd3, ICompare, IDuplexStream, IRequestOp, IWatchRequest, IWatchResponse } from 'etcd3';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import { STORE_CALL_MS } from '../../../shared/core/limits.js';
import type { Compare, KeyValue, Store, StoreError, Write } from '../../../shared/ports.js';
import { storeErrorOf, type CallKind } from '../../../shared/io/etcd/errors.js';
import type { EtcdMember } from '../../../shared/io/etcd/member.js';
import { storeOver } from '../../../shared/io/etcd/store.js';
import type { Change, Etcd } from './etcd.js';
import { ETCD, type Place } from './etcd-client.js';
import { never, type Life } from './life.js';

export type MemberState = 'well' | 'paused' | 'cut';

/** What all processes share of one member. */
export interface MemberServer {
  readonly name: string;
  state: MemberState;
  /** Told when it stands still, or goes on. */
  readonly onChange: Set<() => void>;
}

export function memberServer(name: string): MemberServer {
  return { name, state: 'well', onChange: new Set() };
}

export function setMember(server: MemberServer, state: MemberState): void {
  server.state = state;
  for (const each of [...server.onChange]) each();
}

/** The product's own client over simulated members. */
export function storeOverMembers(place: Place, life: Life, servers: readonly MemberServer[]): Store {
  const members = servers.map((each) => simulatedMember(place, life, each));
  const store = storeOver(members, life.clock, life.log);
  const act = <T>(call: string, run: () => Promise<T>): Promise<T> => life.act(call, run, never());
  return {
    get: (key) => act(`etcd get ${key}`, () => store.get(key)),
    list: (prefix) => act(`etcd list ${prefix}`, () => store.list(prefix)),
    txn: (compares, writes) => act(`etcd txn ${writes[0]?.key ?? ''}`, () => store.txn(compares, writes)),
    mirror: (prefix, handlers) => life.act(`etcd mirror ${prefix}`, () => store.mirror(prefix, handlers), { close: () => undefined }),
    grantLease: (ttlMs) => act('etcd grant', () => store.grantLease(ttlMs)),
    keepAlive: (lease) => act('etcd keepalive', () => store.keepAlive(lease)),
    revokeLease: (lease) => act('etcd revoke', () => store.revokeLease(lease)),
    lastAnswerAt: () => store.lastAnswerAt(),
  };
}

/** One process's way to one member. */
export function simulatedMember(place: Place, life: Life, server: MemberServer): EtcdMember {
  const { kernel, network, etcd, rng, faults } = place;

  /** One request and its answer. A member that stands still does what it was asked when it goes on, whoever still waits. */
  function request<T>(carryOut: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const slow = rng.chance(faults.slowMember);
      const serve = (): void => {
        if (server.state === 'paused') return once(server.onChange, serve);
        if (etcd.isDown || !network.passes('mgmt', life.machine, ETCD)) return;
        let answer: () => void;
        if (server.state === 'cut') answer = () => reject(new Error('14 UNAVAILABLE: etcdserver: no leader'));
        else {
          try {
            const value = carryOut();
            answer = () => resolve(value);
          } catch (error) {
            answer = () => reject(error instanceof Error ? error : new Error(String(error)));
          }
        }
        kernel.after(slow ? rng.between(0.5, STORE_CALL_MS) : network.delayMs(), () => {
          if (network.passes('mgmt', ETCD, life.machine)) life.deliver(answer);
        });
      };
      kernel.after(slow ? rng.between(0.5, 2 * STORE_CALL_MS) : network.delayMs(), serve);
    });
  }

  const client = clientOf(etcd, life, request);

  function call<T>(
    kind: CallKind,
    deadlineMs: number,
    send: (client: Etcd3, options: CallOptions) => Promise<T>,
  ): Promise<Result<T, StoreError>> {
    return new Promise((resolve) => {
      const lost = kind === 'read' ? 'unavailable' : 'unknown';
      const cancel = life.clock.after(deadlineMs, () => resolve(fail({ kind: lost, detail: `${server.name}: no answer` })));
      send(client, {}).then(
        (value) => (cancel(), resolve(ok(value))),
        (error: unknown) => (cancel(), resolve(fail(storeErrorOf(error, kind)))),
      );
    });
  }

  return {
    endpoint: server.name,
    call,
    keepAlive: (lease, deadlineMs) => call('read', deadlineMs, () => request(() => etcd.keepAlive(lease) / 1_000)),
    watch: () => Promise.resolve(watchStream(place, life, server)),
    connect: () => client,
    close: () => undefined,
  };
}

function once(set: Set<() => void>, run: () => void): void {
  const each = (): void => {
    set.delete(each);
    run();
  };
  set.add(each);
}

/** The calls of etcd3's client that the product makes. */
function clientOf(etcd: Etcd, life: Life, request: <T>(carryOut: () => T) => Promise<T>): Etcd3 {
  const header = (): { readonly revision: string } => ({ revision: String(etcd.revision) });
  const kv = {
    range: ({ key, range_end }: { readonly key: Buffer; readonly range_end?: Buffer }) =>
      request(() => {
        const prefix = key.toString('utf8');
        const found = range_end === undefined ? [etcd.read(prefix)] : [...etcd.list(prefix).keys.values()];
        return { header: header(), kvs: found.filter((each) => each !== null).map(wireOf), more: false };
      }),
    txn: ({ compare, success }: { readonly compare: readonly ICompare[]; readonly success: readonly IRequestOp[] }) =>
      request(() => {
        const answer = etcd.txn(compare.map(compareOf), success.map(writeOf), life.name);
        if (answer.kind === 'refused') throw new Error(`5 NOT_FOUND: ${answer.detail}`);
        return { header: { revision: String(answer.revision) }, succeeded: answer.succeeded };
      }),
  };
  const leaseClient = {
    leaseGrant: ({ TTL }: { readonly TTL: number }) =>
      request(() => {
        const { lease, ttlMs } = etcd.grant(Number(TTL) * 1_000);
        return { ID: lease, TTL: String(ttlMs / 1_000) };
      }),
    leaseRevoke: ({ ID }: { readonly ID: string }) => request(() => etcd.revoke(ID)),
  };
  return { kv, leaseClient, close: () => undefined } as unknown as Etcd3;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');

const wireOf = (kv: KeyValue) => ({
  key: bytes(kv.key),
  value: bytes(kv.value),
  create_revision: String(kv.createRevision),
  mod_revision: String(kv.modRevision),
  lease: kv.lease,
});

const compareOf = ({ key, mod_revision, create_revision }: ICompare): Compare =>
  mod_revision !== undefined
    ? { kind: 'mod', key: String(key), revision: Number(mod_revision) }
    : { kind: 'create', key: String(key), revision: Number(create_revision) };

function writeOf({ request_put, request_delete_range }: IRequestOp): Write {
  if (request_put !== undefined)
    return {
      kind: 'put',
      key: String(request_put.key),
      value: String(request_put.value),
      lease: request_put.lease === undefined ? null : String(request_put.lease),
    };
  return { kind: 'delete', key: String(request_delete_range?.key) };
}

type Handler = (value?: unknown) => void;

/** Events in the order of their revisions, several at once where they were held up; asked for what is compacted it ends with that word. */
function watchStream(
  { kernel, network, etcd, rng, faults }: Place,
  life: Life,
  server: MemberServer,
): IDuplexStream<IWatchRequest, IWatchResponse> {
  const handlers = new Map<string, Handler>();
  let over = false;
  let prefix: string | null = null;
  /** First revision that was not sent yet. */
  let next = 0;
  let scheduled = false;
  let arrivesAt = 0;
  /** What it knows: a member that is cut off learns nothing more, and goes on answering. */
  let known = etcd.revision;

  const isOpen = (): boolean => server.state !== 'paused' && !etcd.isDown && network.passes('mgmt', ETCD, life.machine);

  function say(response: object): void {
    arrivesAt = Math.max(arrivesAt + 0.01, kernel.now + network.delayMs());
    kernel.after(arrivesAt - kernel.now, () => life.deliver(() => over || handlers.get('data')?.(response)));
  }

  function header(): { readonly revision: string } {
    if (server.state !== 'cut') known = etcd.revision;
    return { revision: String(known) };
  }

  function pump(): void {
    if (over || !life.alive) return end();
    if (scheduled || prefix === null || server.state === 'cut' || next > etcd.revision) return;
    scheduled = true;
    const frozenMs = (faults.frozenUntil.get(life.machine) ?? 0) - kernel.now;
    kernel.after(Math.max(frozenMs, 0) + rng.delay(0.3, 5), () => {
      scheduled = false;
      if (over || !isOpen() || server.state === 'cut') return;
      if (next <= etcd.compacted) {
        say({ header: header(), canceled: true, compact_revision: String(etcd.compacted), cancel_reason: '', events: [] });
        return end();
      }
      const changes = etcd.changesSince(next).filter((each) => each.kv.key.startsWith(prefix ?? ''));
      next = etcd.revision + 1;
      if (changes.length > 0) say({ header: header(), canceled: false, created: false, events: changes.map(eventOf) });
    });
  }

  function end(): void {
    over = over || !life.alive;
    etcd.onRevision.delete(pump);
    etcd.onDown.delete(pump);
    network.onChange.delete(pump);
    server.onChange.delete(pump);
  }

  function write(asked: IWatchRequest): void {
    if (over) return;
    kernel.after(network.delayMs(), function arrive() {
      if (over) return;
      if (server.state === 'paused') return once(server.onChange, arrive);
      if (etcd.isDown || !network.passes('mgmt', life.machine, ETCD) || !isOpen()) return;
      const create = asked.create_request;
      if (create === undefined) return say({ header: header(), canceled: false, created: false, events: [] });
      prefix = String(create.key);
      next = Number(create.start_revision);
      if (server.state === 'cut') return void kernel.after(0, () => life.deliver(() => handlers.get('error')?.(new Error('no leader'))));
      say({ header: header(), canceled: false, created: true, events: [] });
      pump();
    });
  }

  for (const set of [etcd.onRevision, etcd.onDown, network.onChange, server.onChange]) (set as Set<() => void>).add(pump);
  const stream = {
    on: (name: string, handler: Handler) => (handlers.set(name, handler), stream),
    write,
    cancel: () => {
      over = true;
      end();
    },
  };
  return stream as unknown as IDuplexStream<IWatchRequest, IWatchResponse>;
}

const eventOf = ({ kv, isDelete }: Change) => ({ type: isDelete ? 'Delete' : 'Put', kv: wireOf(kv) });
