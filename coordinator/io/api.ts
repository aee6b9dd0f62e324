// What operators call: colo.v1.CoordinatorService. Reads come from this coordinator's own mirror of the store and its own streams to the
// agents, so any coordinator answers, also while the store is away. Changes are transactions on the VM's spec key; the leader follows
// the keys, and nothing here gives orders to an agent.

import { status, type handleUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import type { GetStatusRequest, CoordinatorServiceServer, Status, Vm } from '../../shared/gen/colo/v1/coordinator.js';
import { LEASE_TTL_MS } from '../../shared/core/limits.js';
import type { Keys } from '../../shared/core/keys.js';
import type { CertificateReport } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { StoreLoss } from '../../shared/core/store-loss.js';
import { callerOf } from '../../shared/io/rpc/guard.js';
import { historyToWire } from '../../shared/io/wire/history.js';
import { specFromWire } from '../../shared/io/wire/spec.js';
import type { Clock, Log, Random, Snapshot, Store } from '../../shared/ports.js';
import type { Lost } from '../catalogue.js';
import { summarize, summarizeVm, type ClusterPicture, type LastDecision, type Summary } from '../core/summary.js';
import type { Wish } from '../core/definition-rules.js';
import type { LeadershipState } from '../leadership.js';
import type { HostLink } from '../core/link.js';
import { createDefinitions, type CurrentVm, type Refusal } from './definitions.js';
import { createStoreReader, hostPictures, vmPictures } from './picture.js';
import { createOperations } from './operations.js';
import { explanationToWire, recoveredToWire, statusToWire, vmToWire } from './status-wire.js';

/** What the API needs of the coordinator around it. */
export interface ApiWorld {
  /** This coordinator's name. */
  readonly name: string;
  readonly cluster: string;
  readonly keys: Keys;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where ports of attempts are taken from. */
  readonly portRange: { readonly first: number; readonly last: number };
  /** The mirror of everything under the prefix. `lost` says why and since when it is not followed; null = it is. */
  mirror(): { readonly snapshot: Snapshot | null; readonly lost: Lost | null };
  links(): ReadonlyMap<string, HostLink>;
  leadership(): LeadershipState;
  readonly failoversPerHour: number;
  /** Why this coordinator does not trust what the store holds; null = it does. */
  storeDoubt(): string | null;
  /** This coordinator's own; null = it runs without certificates. */
  certificate(): CertificateReport | null;
  /** What the last decision about this VM said, where decisions are made; null on a follower. */
  decisionOf(vm: string): LastDecision | null;
  /** Calls back whenever anything of the above may have changed; the answer ends it. */
  onChange(callback: () => void): () => void;
}

/** A status stream speaks at most so often, however much changes. */
const STATUS_PAUSE_MS = 200;
/** And at least so often, so that a listener can tell silence from peace. */
const STATUS_REPEAT_MS = 1_000;
/** A mirror that is lost for longer is called so. */
const STORE_PATIENCE_MS = 1_000;
const HISTORY_DEFAULT = 100;
const HISTORY_MOST = 2_000;

export interface Api {
  readonly service: CoordinatorServiceServer;
  /** The status that any caller would get now. */
  summary(): Summary;
}

export function createApi(world: ApiWorld): Api {
  const { clock, keys, log, store } = world;
  const reader = createStoreReader(keys);
  const definitions = createDefinitions(store, keys, world.random, () => clock.wallMs());
  const operations = createOperations(world);

  function picture(): ClusterPicture {
    const mirror = world.mirror();
    const stored = reader.read(mirror.snapshot ?? { revision: 0, keys: new Map() });
    const leadership = world.leadership();
    return {
      cluster: world.cluster,
      answeredBy: world.name,
      leader: leadership.kind === 'leader' ? world.name : leadership.leader,
      term: leadership.term,
      storeProblem: storeProblem(mirror),
      vms: vmPictures(stored.vms, (vm) => world.decisionOf(vm)),
      hosts: hostPictures(stored.hosts, world.links()),
      coordinators: stored.coordinators,
      unreadable: stored.unreadable,
      storeDoubt: world.storeDoubt(),
      certificate: world.certificate(),
      wallMs: clock.wallMs(),
    };
  }

  function storeProblem({ snapshot, lost }: ReturnType<ApiWorld['mirror']>): StoreLoss | null {
    const silence = (detail: string): StoreLoss => ({ kind: 'lost', detail });
    if (snapshot === null) return lost ?? silence('it has not answered since this coordinator started');
    // A watch that moves to another member is lost for a moment, and no news. An older store is, and does not pass.
    if (lost !== null && (lost.kind === 'older' || clock.now() - lost.at > STORE_PATIENCE_MS)) return lost;
    const answered = store.lastAnswerAt();
    const silentMs = answered === null ? null : clock.now() - answered;
    return silentMs !== null && silentMs > LEASE_TTL_MS ? silence(`no member has answered for ${Math.round(silentMs / 1_000)} s`) : null;
  }

  const summary = (): Summary => summarize(picture());

  function reply(current: CurrentVm): Vm {
    const hosts = picture().hosts;
    const { name } = current.wanted.spec;
    return vmToWire(current.wanted, summarizeVm({ name, ...current, decision: world.decisionOf(name) }, hosts));
  }

  const changing = (wish: Wish): handleUnaryCall<{ name: string; dryRun: boolean }, Vm> =>
    unary(async ({ name, dryRun }, by) => {
      const changed = await definitions.change(name, wish, dryRun, by);
      if (changed.ok && !dryRun)
        log.info({ by, vm: name, wish, wanted: changed.value.wanted.wanted, protect: changed.value.wanted.protect }, 'vm-wish');
      return changed.ok ? ok(reply(changed.value)) : changed;
    });

  function watchStatus(call: ServerWritableStream<GetStatusRequest, Status>): void {
    let due: () => void = () => undefined;
    let dirty = false;
    let resting = false;
    let full = false;
    const send = (): void => {
      due();
      dirty = false;
      resting = true;
      full = !call.write(statusToWire(summary()));
      due = clock.after(STATUS_PAUSE_MS, () => {
        resting = false;
        if (dirty && !full) return send();
        due = clock.after(STATUS_REPEAT_MS - STATUS_PAUSE_MS, () => (full ? undefined : send()));
      });
    };
    const changed = (): void => {
      dirty = true;
      if (!resting && !full) send();
    };
    const stopListening = world.onChange(changed);
    // A listener that does not read gets nothing more until it has read: the next status tells it all.
    call.on('drain', () => {
      full = false;
      if (!resting) send();
    });
    const end = (): void => {
      full = true;
      stopListening();
      due();
    };
    call.on('cancelled', end);
    call.on('close', end);
    call.on('error', end);
    send();
  }

  const service: CoordinatorServiceServer = {
    getStatus: unary(() => Promise.resolve(ok(statusToWire(summary())))),
    watchStatus,
    listHistory: unary(({ vm, limit, sinceMs }) => {
      const { snapshot } = world.mirror();
      const entries = snapshot === null ? [] : reader.history(snapshot, vm === '' ? null : vm);
      const wanted = entries.filter((each) => each.atMs >= sinceMs);
      const most = Math.min(limit === 0 ? HISTORY_DEFAULT : limit, HISTORY_MOST);
      return Promise.resolve(ok({ entries: wanted.slice(-most).map(historyToWire) }));
    }),
    defineVm: unary(async (request, by) => {
      if (request.spec === undefined) return fail({ code: 'INVALID_ARGUMENT', detail: 'spec: is missing' });
      const spec = specFromWire(request.spec);
      if (!spec.ok) return fail({ code: 'INVALID_ARGUMENT', detail: spec.error.join('\n') });
      if (request.uid !== '' && !/^[0-9a-f]{32}$/.test(request.uid))
        return fail({ code: 'INVALID_ARGUMENT', detail: 'uid: must be 32 hex digits' });
      const { start, dryRun } = request;
      const defined = await definitions.define({ spec: spec.value, uid: request.uid === '' ? null : request.uid, start, dryRun, by });
      if (defined.ok && !dryRun) log.info({ by, vm: spec.value.name, uid: defined.value.wanted.uid, start }, 'vm-defined');
      return defined.ok ? ok(reply(defined.value)) : defined;
    }),
    listVms: unary(() => {
      const seen = picture();
      const vms = [...seen.vms].sort((x, y) => (x.name < y.name ? -1 : 1));
      return Promise.resolve(
        ok({ vms: vms.flatMap((vm) => (vm.wanted === null ? [] : [vmToWire(vm.wanted, summarizeVm(vm, seen.hosts))])) }),
      );
    }),
    getVm: unary(async ({ name }) => {
      const current = await definitions.read(name);
      return current.ok ? ok(reply(current.value)) : current;
    }),
    startVm: changing('start'),
    stopVm: changing('stop'),
    protectVm: changing('protect'),
    unprotectVm: changing('unprotect'),
    deleteVm: changing('delete'),
    releaseVm: changing('release'),
    forceFailover: unary(async ({ name, declaredOff, dryRun }, by) => {
      const forced = await operations.force({ name, declaredOff, dryRun, by });
      if (!forced.ok) return forced;
      const { current, decision } = forced.value;
      if (!dryRun) log.warn({ by, vm: name, declaredOff, decision }, 'failover-forced');
      return ok({ vm: reply(current), decision });
    }),
    recover: unary(async ({ vms, without, disk, dryRun }, by) => {
      const recovered = await operations.recover({ vms, without, disk: disk === '' ? null : disk, dryRun, by });
      if (recovered.ok && !dryRun) log.warn({ by, vms, without, disk, incarnation: recovered.value.incarnation }, 'recovered');
      return recovered.ok ? ok(recoveredToWire(recovered.value)) : recovered;
    }),
    explainVm: unary(async ({ name }) => {
      const explained = await operations.explain(name);
      return explained.ok ? ok(explanationToWire(explained.value, reply(explained.value.current).status)) : explained;
    }),
  };

  /** A handler that answers with a value or a refusal; anything thrown is our own fault and says so. */
  function unary<Request, Response>(
    handle: (request: Request, by: string) => Promise<Result<Response, Refusal>>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const answer = async (): Promise<void> => {
        try {
          const done = await handle(call.request, callerOf(call.metadata));
          if (done.ok) callback(null, done.value);
          else callback({ code: status[done.error.code], details: done.error.detail });
        } catch (error) {
          log.error({ error, path: call.getPath() }, 'api-call-failed');
          callback({ code: status.INTERNAL, details: 'an internal error, see the log of this coordinator' });
        }
      };
      void answer();
    };
  }

  return { service, summary };
}
