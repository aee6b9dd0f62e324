// Rules about guests: at most one side is heard, and only the one that the saved record names; what a client was told, the side that is
// heard knows, in RAM and on disk; the disk that the record calls valid holds it too; and no agent kills what is still needed.

import { aloneOrDoubtful } from '../../../agent/core/journal.js';
import type { VmRecord } from '../../../shared/core/model.js';
import type { Client } from '../qemu/client.js';
import { missingFrom, type Content } from '../qemu/content.js';
import type { Qemu } from '../qemu/shapes.js';
import type { Observed } from './observed.js';
import type { Refusals } from './refusals.js';

interface Known {
  /** It began to compare in the attempt of this epoch. */
  comparedIn: number | null;
  /** Its release was found right since it last was half of a pair. */
  permitted: boolean;
  /** All that the client knew was found in it since it came to be heard. */
  checked: boolean;
}

/** A copy that was just flushed towards the client and is not loaded yet may be so old. */
const SETTLED_MS = 1_000;

export class Guests {
  readonly #world: Observed;
  readonly #refusals: Refusals;
  readonly #known = new WeakMap<Qemu, Known>();

  constructor(world: Observed, refusals: Refusals) {
    this.#world = world;
    this.#refusals = refusals;
  }

  look(): void {
    for (const { spec } of this.#world.setup.vms) {
      const heard: Qemu[] = [];
      for (const machine of this.#world.machines.values()) {
        for (const qemu of machine.processes.values()) {
          if (qemu.vm !== spec.name || !qemu.alive) continue;
          const path = qemu.outputPath();
          if (path === 'tap' && qemu.releases()) {
            heard.push(qemu);
            this.#isPermitted(qemu);
            this.#knowsAll(qemu);
          } else if (path === 'secondary') this.#isHalf(qemu, false);
          // Also while it stands still: from its first filter on it is bound to a record.
          else if (qemu.hasFilters()) this.#isHalf(qemu, true);
        }
      }
      if (heard.length > 1) this.#wrong(`split brain of ${spec.name}: ${heard.map((each) => each.name).join(' and ')} are both heard`);
    }
  }

  lookClosely(): void {
    for (const { spec } of this.#world.setup.vms) {
      const client = this.#world.clients.get(spec.name);
      const record = this.#world.record(spec.name);
      if (client === undefined || record === null) continue;
      const isQuiet = this.#world.kernel.now - client.lastAnswerAt > SETTLED_MS;
      if (isQuiet || record.phase === 'solo' || this.#isHeard(spec.name)) this.#validDisk(spec.name, record);
    }
  }

  /** A side runs alone: its disk has every answer before a client hears it. */
  #isHeard(vm: string): boolean {
    return [...this.#world.machines.values()].some((machine) => machine.running().some((each) => each.vm === vm && each.releases()));
  }

  /** An agent is about to kill it. */
  killed(qemu: Qemu): void {
    const record = this.#world.record(qemu.vm);
    if (record === null) return this.#wrong(`${qemu.name} is killed although the store has no record of it`);
    const journal = qemu.machine.vmJournals.get(qemu.vm);
    if (journal !== undefined && journal.uid !== record.uid)
      return this.#wrong(`${qemu.name} of uid ${journal.uid} is killed by a record of ${record.uid}`);
    if (journal?.qemu?.born === qemu.born && record.epoch <= journal.qemu.obeyed)
      this.#wrong(`${qemu.name} is killed by a record of epoch ${record.epoch}, and has obeyed ${journal.qemu.obeyed}`);
    if (['stopping', 'stopped', 'failed'].includes(record.phase)) return;
    const named = [record.primary, record.secondary].some((side) => side?.host === qemu.machine.name && side.born === qemu.born);
    if (named) this.#wrong(`${qemu.name} is killed although the record of epoch ${record.epoch} (${record.phase}) names it`);
    const loser = record.verdict?.loser ?? null;
    if (record.phase === 'verdict' && loser?.host === qemu.machine.name && loser.born === qemu.born) {
      this.#wrong(`${qemu.name}, the loser of epoch ${record.epoch}, is killed before the winner has executed`);
    }
  }

  #of(qemu: Qemu): Known {
    const known = this.#known.get(qemu) ?? { comparedIn: null, permitted: false, checked: false };
    this.#known.set(qemu, known);
    return known;
  }

  #isHalf(qemu: Qemu, compares: boolean): void {
    const known = this.#of(qemu);
    known.permitted = false;
    known.checked = false;
    if (compares) known.comparedIn ??= this.#attemptOf(qemu);
  }

  /** As its host has journalled it: the record may have given an attempt up while its last command was still on its way to QEMU. */
  #attemptOf(qemu: Qemu): number | null {
    const journal = qemu.machine.vmJournals.get(qemu.vm)?.qemu ?? null;
    const attempt = journal?.born === qemu.born ? journal.attempt : null;
    return attempt?.epoch ?? this.#world.record(qemu.vm)?.epoch ?? null;
  }

  /** From the first filter on, none goes before a saved change; a secondary is heard only when the record has named it. */
  #isPermitted(qemu: Qemu): void {
    const known = this.#of(qemu);
    if (known.permitted) return;
    known.permitted = true;
    this.#world.note(`${qemu.name} is heard`);
    const record = this.#world.record(qemu.vm);
    if (record === null) return this.#wrong(`${qemu.name} is heard and the store has no record of it`);
    const isPrimary = record.primary?.host === qemu.machine.name && record.primary.born === qemu.born;
    if (!isPrimary)
      return this.#wrong(
        `${qemu.name} is heard and the record of epoch ${record.epoch} (${record.phase}) names ${record.primary?.host ?? 'nobody'}`,
      );
    if (record.phase === 'protected') return this.#wrong(`${qemu.name} is heard uncompared while the record says protected`);
    const { comparedIn } = known;
    known.comparedIn = null;
    if (comparedIn === record.epoch) this.#wrong(`${qemu.name} released its output in epoch ${record.epoch} before any saved change`);
  }

  #knowsAll(qemu: Qemu): void {
    const client = this.#world.clients.get(qemu.vm);
    if (client === undefined || !qemu.guest.booted) return;
    const known = this.#of(qemu);
    const given = this.#owed(qemu.vm, known.checked ? client.given.slice(-1) : client.given);
    // What is on a disk that fails now is looked at when it is well again, and then all of it.
    known.checked = !qemu.block.image.bad;
    if (qemu.guest.ramTorn) this.#wrong(`${qemu.name} is heard with a state that failed to load`);
    const inRam = missingFrom(qemu.guest.ram, given);
    if (inRam !== null) this.#wrong(`${qemu.name} is heard and its RAM lacks what a client was told: ${inRam}`);
    const lacks = diskProblem(qemu.block.read(), given);
    if (lacks !== null && !qemu.block.image.bad) this.#wrong(`${qemu.name} is heard and its disk lacks what a client was told: ${lacks}`);
  }

  /** Whatever becomes of the QEMUs, this is what would be booted. */
  #validDisk(vm: string, record: VmRecord): void {
    const { disk } = record;
    const given = this.#owed(vm, this.#world.clients.get(vm)?.given ?? []);
    if (disk === null || given.length === 0 || this.#isWarnedOf(record)) return;
    const machine = this.#world.machines.get(disk.host);
    if (machine === undefined) return;
    const top = machine.image(disk.images[0] ?? '');
    const parent = machine.image(disk.images.at(-1) ?? '');
    if (parent === null) return this.#wrong(`the valid disk of ${vm}, ${disk.images.join(' > ')} on ${disk.host}, does not exist`);
    if (parent.bad) return;
    const content = disk.images.length > 1 && top?.chain?.merged === false ? top.chain.view : parent.content;
    const lacks = diskProblem(content, given);
    if (lacks !== null)
      this.#wrong(`the disk of ${vm} that the record of epoch ${record.epoch} (${record.phase}) calls valid, on ${disk.host}: ${lacks}`);
  }

  /**
   * Nobody boots it: its host has written down that its QEMU must not go on with it, or has not released that QEMU yet. It says so to whoever is about
   * to decide; but the record may say nothing of that yet, where that host is cut off or its QEMU is in the middle of a verdict.
   */
  #isWarnedOf({ vm, disk, primary, phase, verdict }: VmRecord): boolean {
    const own = this.#world.machines.get(disk?.host ?? '')?.vmJournals.get(vm)?.qemu ?? null;
    if (own === null || primary?.host !== disk?.host || own.born !== primary?.born) return false;
    // Nor is the chain of a promoted secondary booted as long as that has let nothing out: the disk of the primary has all that was answered.
    const letNothingOut = phase === 'verdict' && verdict?.kind === 'promote-secondary' && verdict.row !== 'primary-disk-lost';
    return (letNothingOut && aloneOrDoubtful(own) === null) || own.unpromotable !== null;
  }

  #owed(vm: string, given: Client['given']): readonly Client['given'][number][] {
    return this.#refusals.owed(() => this.#world.record(vm)?.uid ?? '', given);
  }

  #wrong(what: string): void {
    this.#world.violate(what);
  }
}

/** What is wrong with a disk for a client that was given these answers; null = nothing. */
export function diskProblem(content: Content, given: readonly { readonly k: number; readonly v: number }[]): string | null {
  return content.torn ?? missingFrom(content.last, given);
}
