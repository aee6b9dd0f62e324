// What must never happen, looked at after every event that could matter. Rules about records are in records.ts, those about guests and
// their data in guests.ts, those about what agents say in words.ts; this only carries to them what the world tells.

import type { VmJournal } from '../../../agent/core/journal.js';
import { clusterCodec } from '../../../shared/core/codec.js';
import type { Order, OrderAnswer } from '../../../shared/core/model.js';
import type { Machine } from '../qemu/shapes.js';
import type { Qemu } from '../qemu/shapes.js';
import type { HostEvents } from '../qemu/host-ports.js';
import type { Life } from '../world/life.js';
import type { Observed } from './observed.js';
import { Guests } from './guests.js';
import { Records } from './records.js';
import { Refusals } from './refusals.js';
import { Releases } from './releases.js';
import { Words } from './words.js';

/** Something that a process said or did, for coverage. */
export interface Seen {
  readonly process: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class Watchers implements HostEvents {
  /** VMs that something other than their controllers has hurt: a dead host, a killed QEMU, a cut link, an operator's wish. */
  readonly hurt = new Set<string>();
  /** What agents say of their pairs. */
  readonly words: Words;
  /** Writes that a secondary refused. */
  readonly refusals = new Refusals();
  readonly #world: Observed;
  readonly #releases: Releases;
  readonly #records: Records;
  readonly #guests: Guests;
  #dirty = false;

  constructor(world: Observed) {
    this.#world = world;
    this.#releases = new Releases(world);
    this.#records = new Records(world, this.hurt, this.#releases);
    this.#guests = new Guests(world, this.refusals);
    this.words = new Words(world, this.hurt);
  }

  /** All faults have ended and every VM rests: from here on a pair that nothing hurts again must stay whole. */
  allIsWell(): void {
    this.hurt.clear();
  }

  touch(): void {
    this.#dirty = true;
  }

  afterEvent(): void {
    this.#world.lookAtRows();
    this.refusals.look((vm) => this.#world.record(vm)?.uid ?? '');
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#guests.look();
  }

  /** All that can be looked at only now and then, because it reads whole histories. */
  lookClosely(): void {
    this.#guests.lookClosely();
  }

  stored(key: string, value: string | null, before: string | null, by: string | null): void {
    this.#dirty = true;
    this.#records.stored(key, value, before, by);
  }

  /** What the record of a VM was so many edges ago, as text; for whoever restores a store from a snapshot. */
  earlier(vm: string, edges: number): string | null {
    return this.#records.earlier(vm, edges);
  }

  /** An order is answered when it is on disk. */
  answered(host: string, order: Order, answer: OrderAnswer): void {
    if (answer.kind !== 'accepted') return;
    const journal = this.#world.machines.get(host)?.vmJournals.get(order.vm);
    if (journal?.uid === order.uid && journal.epoch >= order.epoch && journal.term >= order.term) return;
    this.#world.violate(`${host} accepted ${order.goal.kind} of term ${order.term} epoch ${order.epoch} before it was on its disk`);
  }

  /** A process of the product begins. */
  began(life: Life): void {
    this.words.began(life);
    this.refusals.began(life);
    if (life.name.startsWith('agent ')) this.#releases.agentBegins(life.machine);
  }

  /** An agent sends a command that is no question. */
  told(qemu: Qemu, command: string): void {
    this.#releases.told(qemu, command);
  }

  sent(qemu: Qemu, k: number, v: number): void {
    this.#world.clients.get(qemu.vm)?.answered(qemu, k, v);
  }

  journalled(machine: Machine, vm: string, before: { readonly term: number; readonly epoch: number } | null): void {
    const now: VmJournal | undefined = machine.vmJournals.get(vm);
    if (now === undefined) return;
    this.#isOurs(machine, now);
    this.words.journalled(machine, vm);
    this.#releases.journalled(machine, vm);
    if (before === null) return;
    if (now.term < before.term || now.epoch < before.epoch) {
      this.#world.violate(
        `the journal of ${vm} on ${machine.name} went back from term ${before.term} epoch ${before.epoch} to ${now.term}/${now.epoch}`,
      );
    }
  }

  /** Nothing of another cluster, or of another VM of that name, is ever obeyed. */
  #isOurs(machine: Machine, journal: VmJournal): void {
    const { agentJournal } = machine;
    const kv = this.#world.etcd.read(this.#world.keys.cluster);
    const cluster = kv === null ? null : clusterCodec.decode(kv.key, kv.value);
    if (cluster?.ok === true && agentJournal?.incarnation !== cluster.value.incarnation)
      this.#world.violate(`${machine.name} obeyed an order of another incarnation than the store's`);
    const record = this.#world.record(journal.vm);
    if (record !== null && record.uid !== journal.uid)
      this.#world.violate(`${machine.name} obeyed an order for ${journal.vm} of uid ${journal.uid}, the record is of ${record.uid}`);
  }

  /** An image of one VM is claimed for another one. */
  restamped(machine: Machine, path: string, before: string, uid: string): void {
    this.#world.violate(`${machine.name} takes ${path} of the VM ${before} for ${uid}`);
  }

  killed(qemu: Qemu): void {
    this.#guests.killed(qemu);
  }
}
