// A cluster in memory around the real loop, table, catalogue and leadership: a store with faults, hosts that obey, and virtual time.

import { followStore } from '../../coordinator/catalogue.js';
import { createOperations } from '../../coordinator/io/operations.js';
import { createLeadership } from '../../coordinator/leadership.js';
import { runCoordinator } from '../../coordinator/loop.js';
import { clusterCodec, historyCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec } from '../../shared/core/codec.js';
import { incarnation } from '../../shared/core/ids.js';
import { keysOf } from '../../shared/core/keys.js';
import type { GoalKind, HistoryEntry, Order, VmRecord, VmWanted } from '../../shared/core/model.js';
import { fakeAgents } from '../fakes/agents.js';
import { fakeClock, fakeLog, fakeRandom } from '../fakes/clock.js';
import { fakeEtcd } from '../fakes/store.js';
import { aWanted } from './views.js';

export const keys = keysOf('/colo/test');
const BOUND_MS = 30_000;
const PORTS = { first: 20000, last: 20999 };

export interface WorldOptions {
  readonly hosts?: readonly string[];
  readonly failoversPerHour?: number;
}

export type ControlWorld = ReturnType<typeof controlWorld>;

/** One coordinator named `one`, and hosts of which the first gets the VM. */
export function controlWorld({ hosts = ['host1', 'host2', 'host3'], failoversPerHour = 12 }: WorldOptions = {}) {
  const clock = fakeClock();
  const etcd = fakeEtcd(clock);
  const running: { wake(vm: string | null): void; close(): void }[] = [];
  const agents = fakeAgents(clock, hosts, { changed: () => running.forEach((each) => each.wake(null)) });

  function populate(id: string): void {
    etcd.put(keys.cluster, clusterCodec.encode({ name: 'test', incarnation: incarnation(id) }));
    for (const host of hosts) etcd.put(keys.inventoryOf(host), hostKeyCodec.encode(agents.host(host).key));
  }
  populate('inc');

  function coordinator(name: string) {
    const store = etcd.connect();
    const random = fakeRandom(name.length * 7 + name.charCodeAt(name.length - 1));
    const ports = { clock, random, log: fakeLog(), store };
    let loop: ReturnType<typeof runCoordinator> | null = null;
    const catalogue = followStore(ports, keys, { changed: () => loop?.wake(null) });
    const leadership = createLeadership(ports, { keys, name, address: `${name}:1`, ttlMs: 3_000 }, { changed: () => loop?.wake(null) });
    const made = runCoordinator({ ...ports, agents }, { keys, portRange: PORTS, failoversPerHour }, catalogue, leadership);
    loop = made;
    const links = () => agents.links();
    const operations = createOperations({
      ...ports,
      cluster: 'test',
      keys,
      portRange: PORTS,
      failoversPerHour,
      links,
      decisionOf: (vm) => made.decisionOf(vm),
    });
    const all = {
      store,
      leadership,
      operations,
      decision: () => made.decisionOf('demo'),
      wake: made.wake,
      close: () => {
        made.close();
        catalogue.close();
      },
    };
    running.push(all);
    return all;
  }

  const first = coordinator('one');
  const record = (): VmRecord | null => {
    const kv = etcd.read(keys.record('demo'));
    const decoded = kv === null ? null : vmRecordCodec.decode(kv.key, kv.value);
    return decoded?.ok === true ? decoded.value : null;
  };
  const wanted = (): VmWanted | null => {
    const kv = etcd.read(keys.spec('demo'));
    const decoded = kv === null ? null : vmWantedCodec.decode(kv.key, kv.value);
    return decoded?.ok === true ? decoded.value : null;
  };
  const history = (): readonly HistoryEntry[] =>
    Array.from({ length: 400 }, (_, index) => etcd.read(keys.historyOf('demo', aWanted().uid, index))).flatMap((kv) => {
      const decoded = kv === null ? null : historyCodec.decode(kv.key, kv.value);
      return decoded?.ok === true ? [decoded.value] : [];
    });
  const define = (change: Partial<VmWanted> = {}): void => etcd.put(keys.spec('demo'), vmWantedCodec.encode(aWanted(change)));
  const phase = (name: VmRecord['phase'], boundMs = BOUND_MS): Promise<void> =>
    clock.until(`phase ${name}`, boundMs, () => record()?.phase === name);
  /** Orders that start or release something, of all hosts, as `host: goal@epoch`. */
  const given = (...kinds: readonly GoalKind[]): readonly string[] =>
    hosts.flatMap((host) =>
      agents
        .host(host)
        .orders.filter((each: Order) => kinds.includes(each.goal.kind))
        .map((each) => `${host}: ${each.goal.kind}@${each.epoch}`),
    );
  /** Ends in virtual time what a call began. */
  async function done<T>(work: Promise<T>): Promise<T> {
    let ended: { readonly value: T } | null = null;
    void work.then((value) => (ended = { value }));
    await clock.until('the call ends', BOUND_MS, () => ended !== null);
    return (ended as unknown as { readonly value: T }).value;
  }
  const close = (): void => running.forEach((each) => each.close());
  return { clock, etcd, agents, first, coordinator, record, wanted, history, define, phase, given, done, populate, close };
}
