// Rules about what is written to the store: epochs grow by one on each edge and not otherwise, each edge has its history entry, nothing is
// promoted that was never protected, ports are fresh, and a pair that nothing has hurt is never taken apart.

import { coordinatorKeyCodec, historyCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import type { VmJournal } from '../../../agent/core/journal.js';
import type { Side, VmRecord } from '../../../shared/core/model.js';
import type { KeyValue } from '../../../shared/ports.js';
import { missingFrom } from '../qemu/content.js';
import type { Qemu } from '../qemu/shapes.js';
import { diskProblem } from './guests.js';
import type { Observed } from './observed.js';
import type { Releases } from './releases.js';

/** Rows in which the loser of a verdict that was not carried out is named in its place. */
const REVERSALS: ReadonlySet<string> = new Set(['winner-gone', 'winner-unfit']);

export class Records {
  readonly #world: Observed;
  readonly #hurt: ReadonlySet<string>;
  readonly #releases: Releases;
  /** Records by VM in the order of their edges, as text. */
  readonly #edges = new Map<string, string[]>();
  /** The last record that was saved, by key, as text and as read. */
  readonly #latest = new Map<string, { readonly text: string; readonly record: VmRecord }>();
  /** The leader's key as it was last looked at, and who leads by it. */
  #leaderKey: KeyValue | null = null;
  #leader: string | null = null;
  /** Verdicts, by VM and epoch, at which the primary knew of a write that its secondary had missed. */
  readonly #missed = new Set<string>();
  /** Highest epoch that was ever written, by uid. */
  readonly #highest = new Map<string, number>();

  constructor(world: Observed, hurt: ReadonlySet<string>, releases: Releases) {
    this.#world = world;
    this.#hurt = hurt;
    this.#releases = releases;
  }

  stored(key: string, value: string | null, before: string | null, by: string | null): void {
    // Whoever restores a store is outside of all rules; what follows from it is not.
    if (!key.endsWith('/record') || by === null) return;
    this.#leads(key, by);
    if (value === null) {
      this.#world.rowFired(key.split('/').at(-2) ?? '', 'forget');
      return;
    }
    const now = vmRecordCodec.decode(key, value);
    if (!now.ok) return this.#wrong(`${key} is unreadable: ${now.error.detail}`);
    const was = before === null ? null : this.#read(key, before);
    this.#latest.set(key, { text: value, record: now.value });
    const earlier = was?.uid === now.value.uid ? was : null;
    if (earlier === null || earlier.epoch !== now.value.epoch)
      this.#edges.set(now.value.vm, [...(this.#edges.get(now.value.vm) ?? []), value]);
    this.#edge(earlier, now.value);
  }

  /** What stood there before is mostly what was read last. */
  #read(key: string, text: string): VmRecord | null {
    const latest = this.#latest.get(key);
    if (latest?.text === text) return latest.record;
    const read = vmRecordCodec.decode(key, text);
    return read.ok ? read.value : null;
  }

  earlier(vm: string, edges: number): string | null {
    return this.#edges.get(vm)?.at(-1 - edges) ?? null;
  }

  /** Being leader is what the transaction's guard means. */
  #leads(key: string, by: string): void {
    const kv = this.#world.etcd.read(this.#world.keys.leader);
    if (kv !== this.#leaderKey) {
      const leader = kv === null ? null : coordinatorKeyCodec.decode(kv.key, kv.value);
      this.#leaderKey = kv;
      this.#leader = leader?.ok === true ? leader.value.name : null;
    }
    const name = this.#leader;
    if (name !== by) this.#wrong(`${key} is saved by ${by}, and ${name ?? 'nobody'} leads`);
  }

  #edge(before: VmRecord | null, now: VmRecord): void {
    const fromEpoch = before?.epoch ?? 0;
    const fromPhase = before?.phase ?? 'stopped';
    this.#world.note(`record ${now.vm} ${fromPhase}@${fromEpoch} -> ${now.phase}@${now.epoch} [${now.row}] ${now.reason}`);
    const noted = now.epoch === fromEpoch && JSON.stringify(now.disk) !== JSON.stringify(before?.disk ?? null);
    if (now.epoch !== fromEpoch) this.#world.rowFired(now.vm, now.row);
    else if (noted) this.#world.rowFired(now.vm, 'disk-noted');
    if (now.epoch === fromEpoch) {
      if (
        now.phase !== fromPhase ||
        sideText(now.primary) !== sideText(before?.primary ?? null) ||
        sideText(now.secondary) !== sideText(before?.secondary ?? null)
      ) {
        this.#wrong(`the record of ${now.vm} changed from ${fromPhase} to ${now.phase} within epoch ${now.epoch}`);
      }
      return;
    }
    const highest = this.#highest.get(now.uid) ?? 0;
    if (now.epoch <= highest) this.#wrong(`epoch ${now.epoch} of ${now.vm} is used again; ${highest} was reached before`);
    this.#highest.set(now.uid, Math.max(highest, now.epoch));
    if (now.epoch !== fromEpoch + 1) this.#wrong(`the epoch of ${now.vm} went from ${fromEpoch} to ${now.epoch}`);
    this.#history(fromPhase, now);
    if (now.phase === 'verdict' && fromPhase !== 'protected' && !REVERSALS.has(now.row))
      this.#wrong(`a verdict for ${now.vm} out of ${fromPhase}`);
    if (now.verdict?.kind === 'promote-secondary' && now.phase === 'verdict' && fromPhase !== 'protected' && fromPhase !== 'verdict') {
      this.#wrong(`a promotion of ${now.vm} out of ${fromPhase}`);
    }
    if (fromPhase === 'protected' && !this.#hurt.has(now.vm))
      this.#wrong(`the healthy pair of ${now.vm} was taken apart: ${now.row}, ${now.reason}`);
    if (now.phase === 'syncing' && before !== null && before.ports !== null && now.ports?.migration === before.ports.migration) {
      this.#wrong(`the ports of ${now.vm} in epoch ${now.epoch} are those of an earlier attempt`);
    }
    if (now.phase === 'verdict' && before !== null && this.#sidesOf(before).some(missedWrites)) this.#missed.add(`${now.vm}@${now.epoch}`);
    if (now.phase === 'syncing') this.#portsAreItsOwn(now);
    if (now.phase === 'protected' && before !== null) this.#pairIsNamed(before, now);
    if (now.phase === 'executed' && before !== null) this.#winnerRuns(before, now);
    if (now.phase === 'stopped' && before !== null) this.#noCopyLives(before, now);
  }

  /** The journal that is on the disk of this side's host. */
  #journalOf(vm: string, side: Side | null): VmJournal['qemu'] {
    const qemu = side === null ? null : (this.#world.machines.get(side.host)?.vmJournals.get(vm)?.qemu ?? null);
    return qemu?.born === side?.born ? qemu : null;
  }

  /** The loser is the last live copy until its winner was seen to run. */
  #winnerRuns(before: VmRecord, now: VmRecord): void {
    if (this.#journalOf(now.vm, now.primary)?.aloneSince === before.epoch) return;
    this.#wrong(`the verdict of epoch ${before.epoch} of ${now.vm} is called executed and ${now.primary?.host ?? '?'} has not said so`);
  }

  #portsAreItsOwn(now: VmRecord): void {
    for (const { spec } of this.#world.setup.vms) {
      const other = spec.name === now.vm ? null : this.#world.record(spec.name);
      if (other?.ports?.migration === now.ports?.migration && other !== null && other.ports !== null)
        this.#wrong(`the ports of ${now.vm} in epoch ${now.epoch} are those of ${other.vm}`);
    }
  }

  /** Whoever starts the guest anew from a disk throws its memory away: not while a side lives that could go on where the last answer left. */
  #noCopyLives(before: VmRecord, now: VmRecord): void {
    if (before.phase !== 'protected' && before.phase !== 'verdict') return;
    // A winner that has released may have answered, and then no other copy counts, whatever it knows.
    if (this.#journalOf(before.vm, before.primary)?.aloneSince === before.epoch) return;
    // Nor where nobody can say that it has not: its agent was gone in the middle, or never heard what became of a step that lets output go.
    if (before.phase === 'verdict' && this.#releases.isDoubtful(before.vm, before.primary, before.epoch)) return;
    const sides = this.#sidesOf(before);
    if (sides.some(missedWrites) || this.#missed.has(`${before.vm}@${before.epoch}`)) return;
    const given = this.#world.clients.get(before.vm)?.given ?? [];
    for (const qemu of sides) {
      if (qemu === null || qemu.guest.ramTorn || qemu.guest.nextLoadFails || qemu.block.image.bad) continue;
      // Its guest would go on with a disk that lacks what it was told is written, also where no client has heard of that yet.
      if (qemu.block.lacksWrites) continue;
      if (missingFrom(qemu.guest.ram, given) !== null || diskProblem(qemu.block.read(), given) !== null) continue;
      this.#wrong(`${qemu.name}, the last live copy of ${before.vm}, is given up by ${now.row}: ${now.reason}`);
    }
  }

  #sidesOf({ vm, primary, secondary }: VmRecord): readonly (Qemu | null)[] {
    return [primary, secondary].map((side) => qemuOf(this.#world, vm, side));
  }

  #pairIsNamed(before: VmRecord, now: VmRecord): void {
    if (
      fromSyncing(before) &&
      sideText(before.primary) === sideText(now.primary) &&
      sideText(before.secondary) === sideText(now.secondary)
    ) {
      for (const side of [now.primary, now.secondary]) {
        if (this.#journalOf(now.vm, side)?.provenFor === before.epoch) continue;
        this.#wrong(`${now.vm} is called protected in epoch ${now.epoch} and ${side?.host ?? '?'} has not proven its side`);
      }
      return;
    }
    this.#wrong(`${now.vm} is called protected out of ${before.phase} with other sides than were synced`);
  }

  #history(from: string, now: VmRecord): void {
    const key = this.#world.keys.historyOf(now.vm, now.uid, now.epoch);
    const kv = this.#world.etcd.read(key);
    const entry = kv === null ? null : historyCodec.decode(key, kv.value);
    if (entry?.ok !== true) return this.#wrong(`epoch ${now.epoch} of ${now.vm} has no history entry`);
    if (entry.value.from !== from || entry.value.to !== now.phase) {
      this.#wrong(
        `the history of ${now.vm} in epoch ${now.epoch} says ${entry.value.from} -> ${entry.value.to}, the record ${from} -> ${now.phase}`,
      );
    }
  }

  #wrong(what: string): void {
    this.#world.violate(what);
  }
}

/** The running QEMU of this side; null = there is none. */
function qemuOf(world: Observed, vm: string, side: Side | null): Qemu | null {
  if (side === null) return null;
  const running = world.machines.get(side.host)?.running() ?? [];
  return running.find((each) => each.vm === vm && each.born === side.born) ?? null;
}

/** Nobody vouches for the other copy: the primary was told that a write did not reach it, or a driver of either side says so. */
const missedWrites = (qemu: Qemu | null): boolean => qemu?.block.replicationError === true || qemu?.block.missedByPeer === true;

const fromSyncing = (record: VmRecord): boolean => record.phase === 'syncing';

function sideText(side: Side | null): string {
  return side === null ? '' : `${side.host}#${side.born}`;
}
