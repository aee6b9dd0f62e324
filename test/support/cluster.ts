// A coordinator's API on a store in memory and virtual time, with coloctl on a line that needs no network.

import { aHost as aReadyHost } from './host-facts.js';
import { status as grpcStatus } from '@grpc/grpc-js';
import type { Lost } from '../../coordinator/catalogue.js';
import { createApi } from '../../coordinator/io/api.js';
import { run } from '../../coordinator/cli/program.js';
import type { LastDecision } from '../../coordinator/core/summary.js';
import type { LeadershipState } from '../../coordinator/leadership.js';
import type { HostLink } from '../../coordinator/core/link.js';
import { coordinatorKeyCodec, historyCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec } from '../../shared/core/codec.js';
import { epoch, hostId, instant, term, vmUid } from '../../shared/core/ids.js';
import { keysOf } from '../../shared/core/keys.js';
import type { HistoryEntry, HostKey, HostReport, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import { fail, ok } from '../../shared/core/result.js';
import type { Line, RpcMethod } from '../../shared/io/rpc/client.js';
import { rpcErrorOf, type RpcError } from '../../shared/io/rpc/errors.js';
import type { Snapshot } from '../../shared/ports.js';
import { fakeClock, fakeLog, fakeRandom } from '../fakes/clock.js';
import { fakeEtcd } from '../fakes/store.js';
import { aSpec } from './spec.js';

export const KEYS = keysOf('/colo/demo');

export function aHost(name: string, change: Partial<HostKey> = {}): HostKey {
  return {
    host: name,
    hostId: hostId(`id-${name}`),
    agentAddress: `${name}:7600`,
    replicationAddress: '10.0.0.1',
    qemuVersion: '11.1.2',
    agentVersion: '0.1.0',
    ...change,
  };
}

export function aWish(change: Partial<VmWanted> = {}): VmWanted {
  return { uid: vmUid('u1'), spec: aSpec(), wanted: 'running', protect: true, ...change };
}

export function aRecord(change: Partial<VmRecord> = {}): VmRecord {
  return {
    vm: 'web',
    uid: vmUid('u1'),
    epoch: epoch(3),
    phase: 'protected',
    reason: 'both sides in lock-step',
    row: 'protected',
    sinceMs: 1_700_000_000_000,
    primary: { host: 'a', hostId: hostId('id-a'), born: epoch(1) },
    secondary: { host: 'b', hostId: hostId('id-b'), born: epoch(2) },
    ports: null,
    verdict: null,
    disk: null,
    lastError: null,
    failedAttempts: 0,
    failoversAtMs: [],
    ...change,
  };
}

export function aHistoryEntry(change: Partial<HistoryEntry> = {}): HistoryEntry {
  return {
    atMs: 1_700_000_000_123,
    vm: 'web',
    epoch: epoch(4),
    row: 'primary-lost',
    from: 'protected',
    to: 'verdict',
    primary: 'b',
    secondary: null,
    evidence: ['the primary died', 'primary a: qemu dead (killed)'],
    by: 'coordinator',
    durationsMs: { detect: 12 },
    ...change,
  };
}

export function aLink(host: string, report: Partial<HostReport> | null, heard = true): HostLink {
  const whole: HostReport = {
    host,
    hostId: hostId(`id-${host}`),
    session: 's',
    sequence: 1,
    latenessMs: 0,
    incarnation: null,
    vms: [],
    peersSilentMs: {},
    freeDiskBytes: 2 ** 40,
    etcdSilentMs: 0,
    ...report,
  };
  return { host, heard, lastReportAt: instant(1), report: report === null ? null : whole, strange: [] };
}

/** What a host says of its half of a healthy pair. */
export function aReport(change: Partial<VmReport> = {}): VmReport {
  return {
    vm: 'web',
    uid: vmUid('u1'),
    term: term(1),
    epoch: epoch(3),
    qemu: { kind: 'alive', born: epoch(1), pid: 42, role: 'primary', runstate: 'running' },
    pair: { state: 'ok', evidence: [] },
    aloneSince: null,
    readyFor: null,
    provenFor: null,
    guestShutdown: false,
    held: false,
    coloExited: false,
    unpromotable: null,
    task: { kind: 'idle' },
    disk: { diskId: null, stampEpoch: null, state: 'clean', images: [], replication: 'clean', localError: false },
    resync: null,
    durationsMs: {},
    ...change,
  };
}

export interface Outcome {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

/** One coordinator named `one`, and hosts a, b and c in the inventory. */
export function aCluster() {
  const clock = fakeClock();
  const random = fakeRandom();
  const etcd = fakeEtcd(clock);
  const store = etcd.connect();
  const links = new Map<string, HostLink>();
  const decisions = new Map<string, LastDecision>();
  const listeners = new Set<() => void>();
  let snapshot: Snapshot | null = null;
  let lost: Lost | null = null;
  let doubt: string | null = null;
  let leadership: LeadershipState = { kind: 'leader', term: term(7) };

  for (const name of ['a', 'b', 'c']) {
    etcd.put(KEYS.inventoryOf(name), hostKeyCodec.encode(aHost(name)));
    etcd.put(KEYS.host(name), hostKeyCodec.encode(aHost(name)));
    links.set(name, aLink(name, {}));
  }
  etcd.put(KEYS.member('one'), coordinatorKeyCodec.encode({ name: 'one', address: 'one:7500', session: 's' }));
  store.mirror(KEYS.all, {
    changed: (next) => {
      snapshot = next;
      listeners.forEach((each) => each());
    },
    health: (health) => {
      lost = health.kind === 'following' ? null : { ...health, at: clock.now() };
    },
  });
  const api = createApi({
    name: 'one',
    cluster: 'demo',
    keys: KEYS,
    store,
    clock,
    random,
    log: fakeLog(),
    portRange: { first: 20000, last: 29999 },
    failoversPerHour: 12,
    storeDoubt: () => doubt,
    certificate: () => null,
    mirror: () => ({ snapshot, lost }),
    links: () => links,
    leadership: () => leadership,
    decisionOf: (vm) => decisions.get(vm) ?? null,
    onChange: (callback) => {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
  });

  /** Calls the service as gRPC would. Addresses that are not `one:7500` refuse connections. */
  function dial(address: string): Line {
    const call = <Request, Response>(method: RpcMethod<Request, Response>, request: Request) =>
      new Promise<ReturnType<typeof ok<Response>> | ReturnType<typeof fail<RpcError>>>((resolve) => {
        if (address !== 'one:7500') return resolve(fail({ kind: 'unavailable', detail: `connect ECONNREFUSED ${address}` }));
        const name = method.path.split('/').at(-1) ?? '';
        const handler = api.service[`${name.charAt(0).toLowerCase()}${name.slice(1)}`] as (call: object, answer: unknown) => void;
        handler({ request, getPath: () => method.path }, (error: { code: grpcStatus; details: string } | null, value: Response) => {
          if (error === null) resolve(ok(value));
          else resolve(fail(rpcErrorOf(Object.assign(new Error(error.details), error) as Parameters<typeof rpcErrorOf>[0])));
        });
      });
    return { address, call, follow: () => ({ close: () => undefined }), close: () => undefined };
  }

  /** Runs one command line to its end in virtual time. */
  async function coloctl(args: readonly string[], files: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    let out = '';
    let err = '';
    let exit: number | null = null;
    const world = {
      clock,
      environment: { COLO_ENDPOINTS: 'one:7500', COLO_INSECURE_LAB: '1' },
      secure: () => fail('no certificates here'),
      isTerminal: false,
      colour: false,
      version: '1.2.3',
      out: (text: string) => void (out += text),
      err: (text: string) => void (err += text),
      lookAtHost: () => Promise.resolve(aReadyHost()),
      readFile: (path: string) => {
        const text = files[path];
        if (text === undefined) throw Object.assign(new Error(`ENOENT: no such file or directory, open '${path}'`), { code: 'ENOENT' });
        return text;
      },
      dial,
      id: () => random.id(),
    };
    void run(world, args).then((code) => (exit = code));
    await clock.until(`coloctl ${args.join(' ')} ends`, 600_000, () => exit !== null);
    return { exit: exit ?? -1, out, err };
  }

  return {
    clock,
    etcd,
    store,
    links,
    decisions,
    api,
    coloctl,
    doubt: (why: string | null) => {
      doubt = why;
    },
    lead: (state: LeadershipState) => {
      leadership = state;
    },
    /** As the leader would write it. */
    wish: (value: VmWanted) => etcd.put(KEYS.spec(value.spec.name), vmWantedCodec.encode(value)),
    record: (value: VmRecord) => etcd.put(KEYS.record(value.vm), vmRecordCodec.encode(value)),
    history: (value: HistoryEntry) => etcd.put(KEYS.historyOf(value.vm, 'u1', value.epoch), historyCodec.encode(value)),
    /** Lets the mirror catch up. */
    settle: () => clock.advance(10),
  };
}
