// Rules about what is written to the store: epochs grow by one on each edge and not otherwise, each edge has its history entry, nothing is
// promoted that was never protected, ports are fresh, and a pair that nothing has hurt is never taken apart.

import { historyCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import type { Side, VmRecord } from '../../../shared/core/model.js';
import type { Observed } from './observed.js';

/** A verdict may be turned around while its winner has released nothing and never will. */
const REVERSALS: ReadonlySet<string> = new Set(['winner-gone', 'winner-unfit']);

export class Records {
  readonly #world: Observed;
  readonly #hurt: ReadonlySet<string>;

  constructor(world: Observed, hurt: ReadonlySet<string>) {
    this.#world = world;
    this.#hurt = hurt;
  }

  stored(key: string, value: string | null, before: string | null): void {
    if (!key.endsWith('/record') || value === null) return;
    const now = vmRecordCodec.decode(key, value);
    const was = before === null ? null : vmRecordCodec.decode(key, before);
    if (!now.ok) return this.#wrong(`${key} is unreadable: ${now.error.detail}`);
    const earlier = was?.ok === true && was.value.uid === now.value.uid ? was.value : null;
    this.#edge(earlier, now.value);
  }

  #edge(before: VmRecord | null, now: VmRecord): void {
    const fromEpoch = before?.epoch ?? 0;
    const fromPhase = before?.phase ?? 'stopped';
    this.#world.note(`record ${now.vm} ${fromPhase}@${fromEpoch} -> ${now.phase}@${now.epoch} [${now.row}] ${now.reason}`);
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
    if (now.phase === 'protected' && before !== null) this.#pairIsNamed(before, now);
  }

  #pairIsNamed(before: VmRecord, now: VmRecord): void {
    if (fromSyncing(before) && sideText(before.primary) === sideText(now.primary) && sideText(before.secondary) === sideText(now.secondary))
      return;
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

const fromSyncing = (record: VmRecord): boolean => record.phase === 'syncing';

function sideText(side: Side | null): string {
  return side === null ? '' : `${side.host}#${side.born}`;
}
