// A coordinator played by hand: writes records with rising epochs, orders agents, and waits for what they report.

import { clusterCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import { diskId, epoch, hostId, incarnation, nextEpoch, term, vmUid, type Epoch } from '../../../shared/core/ids.js';
import { keysOf } from '../../../shared/core/keys.js';
import type { Goal, HostReport, OrderAnswer, Ports, Side, VmRecord, VmReport, VmSpec } from '../../../shared/core/model.js';
import { AgentServiceService } from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { openStore } from '../../../shared/io/etcd/store.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { answerFromWire, orderToWire } from '../../../shared/io/wire/order.js';
import { reportFromWire } from '../../../shared/io/wire/report.js';
import { ADDRESS, ETCD, HOSTS, PREFIX, type HostName } from './stage.js';

const clock = systemClock();
const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
export const INCARNATION = incarnation('stage-incarnation');
const keys = keysOf(PREFIX);

export interface Arrival {
  readonly at: number;
  readonly report: HostReport;
}

export class Cluster {
  readonly #store = openStore([ETCD], clock, quiet);
  readonly #lines: Readonly<Record<HostName, Line>>;
  readonly #streams: readonly { close(): void }[];
  readonly #wakers = new Set<() => void>();
  readonly reports: Record<HostName, HostReport | null> = { a: null, b: null };
  readonly history: Record<HostName, Arrival[]> = { a: [], b: [] };
  record: VmRecord;

  constructor(
    readonly vm: string,
    readonly spec: VmSpec,
    uid: string,
  ) {
    this.record = {
      vm,
      uid: vmUid(uid),
      epoch: epoch(0),
      phase: 'stopped',
      reason: 'test',
      row: 'test',
      sinceMs: 0,
      primary: null,
      secondary: null,
      ports: null,
      verdict: null,
      disk: null,
      lastError: null,
      failedAttempts: 0,
      failoversAtMs: [],
    };
    const line = (host: HostName): Line => dial({ clock, random: systemRandom() }, `${ADDRESS[host]}:7400`);
    this.#lines = { a: line('a'), b: line('b') };
    this.#streams = HOSTS.map((host) =>
      this.#lines[host].follow(
        AgentServiceService.watch,
        { intervalMs: 250 },
        { silentAfterMs: 900, firstMessageMs: 1_000 },
        {
          message: (message) => {
            const read = reportFromWire(message);
            if (!read.ok) throw new Error(read.error.join('; '));
            this.reports[host] = read.value.report;
            this.history[host].push({ at: clock.now(), report: read.value.report });
            for (const wake of this.#wakers) wake();
          },
          down: () => undefined,
        },
      ),
    );
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
    for (const host of HOSTS) this.#lines[host].close();
    this.#store.close();
  }

  async begin(): Promise<void> {
    await this.#put(keys.cluster, clusterCodec.encode({ name: 'stage', incarnation: INCARNATION }));
    await this.save({});
  }

  side(host: HostName, born: Epoch): Side {
    return { host, hostId: this.reports[host]?.hostId ?? hostId('?'), born };
  }

  /** A phase edge: epoch + 1. */
  async save(patch: Partial<VmRecord>): Promise<Epoch> {
    this.record = { ...this.record, ...patch, epoch: nextEpoch(this.record.epoch) };
    await this.#put(keys.record(this.vm), vmRecordCodec.encode(this.record));
    return this.record.epoch;
  }

  async forget(): Promise<void> {
    const done = await this.#store.txn([], [{ kind: 'delete', key: keys.record(this.vm) }]);
    if (!done.ok) throw new Error(done.error.detail);
  }

  async putRecord(record: VmRecord): Promise<void> {
    await this.#put(keys.record(this.vm), vmRecordCodec.encode(record));
  }

  async #put(key: string, value: string): Promise<void> {
    const done = await this.#store.txn([], [{ kind: 'put', key, value, lease: null }]);
    if (!done.ok) throw new Error(done.error.detail);
  }

  /** Keys under the cluster's prefix. */
  async keys(): Promise<readonly string[]> {
    const listed = await this.#store.list(keys.all);
    if (!listed.ok) throw new Error(listed.error.detail);
    return [...listed.value.keys.keys()];
  }

  async order(
    host: HostName,
    goal: Goal,
    other: Partial<{ epoch: Epoch; term: number; uid: string; incarnation: string }> = {},
  ): Promise<OrderAnswer> {
    const request = orderToWire({
      incarnation: incarnation(other.incarnation ?? INCARNATION),
      vm: this.vm,
      uid: vmUid(other.uid ?? this.record.uid),
      term: term(other.term ?? 7),
      epoch: other.epoch ?? this.record.epoch,
      goal,
      spec: this.spec,
    });
    const answer = await this.#lines[host].call(AgentServiceService.order, request, 5_000);
    if (!answer.ok) throw new Error(JSON.stringify(answer.error));
    const read = answerFromWire(answer.value);
    if (!read.ok) throw new Error(read.error.join('; '));
    return read.value;
  }

  async obey(host: HostName, goal: Goal): Promise<void> {
    const answer = await this.order(host, goal);
    if (answer.kind === 'refused') throw new Error(`${host} refused ${goal.kind}: ${answer.refusal}: ${answer.detail}`);
  }

  report(host: HostName): VmReport | null {
    return this.reports[host]?.vms.find((each) => each.vm === this.vm) ?? null;
  }

  /** The instant, of this process's clock, at which a report fulfilled it. */
  async until(host: HostName, what: string, holds: (report: VmReport) => boolean, ms = 30_000): Promise<number> {
    const end = clock.now() + ms;
    for (;;) {
      const report = this.report(host);
      if (report !== null && holds(report)) return clock.now();
      if (report?.task.kind === 'failed' && report.task.epoch === this.record.epoch) {
        throw new Error(`${host}, waiting for ${what}: ${report.task.goal} failed at ${report.task.step}: ${report.task.error}`);
      }
      if (clock.now() >= end) throw new Error(`${host}: not ${what} within ${ms} ms: ${JSON.stringify(report)}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#wakers.delete(wake);
          cancel();
          resolve();
        };
        const cancel = clock.after(Math.max(1, end - clock.now()), wake);
        this.#wakers.add(wake);
      });
    }
  }

  /** Start on `host`, which then runs the guest alone. */
  async startAlone(host: HostName, images: readonly string[] | null = null): Promise<void> {
    const born = nextEpoch(this.record.epoch);
    await this.save({ phase: 'starting', primary: this.side(host, born), secondary: null, verdict: null });
    await this.obey(host, { kind: 'start-alone', born, images, create: images === null });
    await this.until(host, 'alone', (report) => report.aloneSince === born);
    await this.save({
      phase: 'solo',
      disk: { host, diskId: this.report(host)?.disk.diskId ?? diskId('?'), epoch: born, state: 'clean', images: [] },
    });
  }

  /** A secondary on `other`, and the pair proven. */
  async protect(host: HostName, other: HostName, method: VmSpec['method']): Promise<void> {
    const born = nextEpoch(this.record.epoch);
    const ports = portsOf(born);
    const primary = this.record.primary;
    if (primary === null) throw new Error('no primary');
    await this.save({ phase: 'syncing', secondary: this.side(other, born), ports });
    await this.obey(other, { kind: 'start-secondary', born, ports, peer: { host, address: ADDRESS[host] } });
    await this.until(other, 'ready', (report) => report.readyFor === born);
    await this.obey(host, { kind: 'protect', born: primary.born, ports, peer: { host: other, address: ADDRESS[other] }, method });
    await this.until(host, 'proven', (report) => report.provenFor === born);
    await this.until(other, 'proven', (report) => report.provenFor === born);
    for (const each of HOSTS) await this.until(each, 'pair ok', (report) => report.pair.state === 'ok');
    await this.save({ phase: 'protected' });
  }

  /** Saves a verdict and orders the winner. Answers with the milliseconds from `since` to its steps. */
  async release(winner: HostName, loser: HostName, since: number): Promise<Readonly<Record<string, number>>> {
    const { primary, secondary, ports } = this.record;
    if (primary === null || secondary === null || ports === null) throw new Error('no pair');
    const promoted = secondary.host === winner;
    const [won, lost] = promoted ? [secondary, primary] : [primary, secondary];
    const born = won.born;
    const decided = clock.now();
    await this.save({
      phase: 'verdict',
      primary: won,
      secondary: lost,
      verdict: { row: 'test', kind: promoted ? 'promote-secondary' : 'solo-primary', winner: won, loser: lost, evidence: [], atMs: 0 },
    });
    const saved = clock.now();
    await this.obey(winner, promoted ? { kind: 'release-secondary', born, ports } : { kind: 'release-primary', born, acceptLoss: false });
    const ordered = clock.now();
    const alone = await this.until(
      winner,
      'alone',
      (report) => report.aloneSince === this.record.epoch && report.qemu.kind === 'alive' && report.qemu.role === 'alone',
    );
    await this.save({ phase: 'executed', secondary: null });
    void loser;
    return { detect: decided - since, save: saved - decided, order: ordered - saved, released: alone - ordered, all: alone - since };
  }
}

export function portsOf(born: Epoch): Ports {
  const first = 20_000 + 10 * born;
  return { migration: first, nbd: first + 1, mirror: [first + 2], compare: [first + 3] };
}
