// The view of one VM that decisions are made from: what is wanted, what the record says, and what each host says now, judged side by
// side. It is built anew for each decision from reports and clocks that the loop hands in; it keeps nothing.

import type { Epoch, Incarnation, Term } from '../../shared/core/ids.js';
import type { HostKey, PairState, Side, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import { UNKNOWN_COUNTS_AS_HUNG_MS } from '../../shared/core/limits.js';

/** QEMU of one side as SAFETY 9 speaks of it. `unheard`: nobody hears the agent, so nothing is known. */
export type Judged = 'alive' | 'dead' | 'hung' | 'unknown' | 'unheard';

export interface SideView {
  readonly side: Side;
  readonly qemu: Judged;
  /** `none` when unheard. */
  readonly pair: PairState;
  /** The report was made after the pair was first seen to be in trouble, so that it knows of it. True while there is no trouble. */
  readonly fresh: boolean;
  /** The report of this host about this VM, if it is heard and speaks of the same uid. */
  readonly report: VmReport | null;
}

export interface HostView {
  readonly key: HostKey;
  readonly heard: boolean;
  readonly leased: boolean;
  readonly freeDiskBytes: number;
  /** By replication address: milliseconds since this host last heard a peer's heartbeat; empty when the host is not heard. */
  readonly peersSilentMs: Readonly<Record<string, number>>;
  /** What this host says of this VM (same uid), if it is heard. */
  readonly report: VmReport | null;
  /** How many sides of other VMs the records place here. */
  readonly sides: number;
  /** Milliseconds since a protection attempt of this VM with this host failed; null = none that this leader saw. */
  readonly failedAgoMs: number | null;
}

export interface VmView {
  readonly incarnation: Incarnation;
  /** The leader key's revision, and what is added to it in orders. */
  readonly term: Term;
  readonly termBase: number;
  readonly wallMs: number;
  /** Our own tick was late, so silences seen in this round are not believed. */
  readonly late: boolean;
  readonly wanted: VmWanted;
  readonly record: VmRecord;
  readonly hosts: readonly HostView[];
  /** The record's primary and secondary. */
  readonly a: SideView | null;
  readonly b: SideView | null;
  /** Milliseconds that this leader has seen the record in this epoch. */
  readonly epochAgeMs: number;
  /** Milliseconds that the sides have disagreed about the pair (rows 12, 14, 16); 0 = they do not. */
  readonly doubtMs: number;
  /** What this leader measured of the last edges: `detect`, `verdict`, `execute`. For history only. */
  readonly durationsMs: Readonly<Record<string, number>>;
  /** First ports of blocks that other VMs' records use. */
  readonly portBlocksTaken: ReadonlySet<number>;
  readonly portRange: { readonly first: number; readonly last: number };
  /** More failovers within an hour, and the VM is not protected anew by itself. */
  readonly failoversPerHour: number;
}

/** Judges one side of a record from its host's report. `unknownMs`: how long this leader has seen it `unknown` without a break. */
export function judgeSide(side: Side, report: VmReport | null, heard: boolean, unknownMs: number, fresh: boolean): SideView {
  if (!heard) return { side, qemu: 'unheard', pair: 'none', fresh, report: null };
  if (report === null) return { side, qemu: afterDoubt(unknownMs), pair: 'unknown', fresh, report: null };
  const qemu = judgeQemu(side.born, report);
  return {
    side,
    qemu: qemu === 'unknown' ? afterDoubt(unknownMs) : qemu,
    pair: report.pair.state === 'none' ? 'unknown' : report.pair.state,
    fresh,
    report,
  };
}

/** `unknown` before any patience is counted; the loop needs it to run its timer. */
export function judgeQemu(born: Epoch, report: VmReport): Exclude<Judged, 'unheard'> {
  switch (report.qemu.kind) {
    case 'absent':
      // An agent whose journal has obeyed orders of this QEMU's time and has no QEMU proves that it is gone; an empty journal proves nothing.
      return report.epoch >= born ? 'dead' : 'unknown';
    case 'starting':
    case 'unknown':
      return 'unknown';
    case 'alive':
      return report.qemu.born === born ? 'alive' : otherBorn(report.qemu.born, born);
    case 'hung':
      return report.qemu.born === born ? 'hung' : otherBorn(report.qemu.born, born);
    case 'dead':
      return report.qemu.born === born ? 'dead' : otherBorn(report.qemu.born, born);
  }
}

/** A host holds one QEMU of a VM at a time: a later one proves that the earlier is gone, an earlier one that ours is not there yet. */
function otherBorn(seen: Epoch, ours: Epoch): 'dead' | 'unknown' {
  return seen > ours ? 'dead' : 'unknown';
}

function afterDoubt(unknownMs: number): 'unknown' | 'hung' {
  return unknownMs >= UNKNOWN_COUNTS_AS_HUNG_MS ? 'hung' : 'unknown';
}

/** One line per side for logs, history and people. */
export function describeSide(role: 'primary' | 'secondary', view: SideView | null): readonly string[] {
  if (view === null) return [];
  const who = `${role} ${view.side.host}`;
  if (view.qemu === 'unheard') return [`${who}: agent not heard`];
  const lines = [`${who}: qemu ${view.qemu}${view.report?.qemu.kind === 'dead' ? ` (${view.report.qemu.why})` : ''}, pair ${view.pair}`];
  for (const line of view.report?.pair.evidence ?? []) lines.push(`${who}: ${line}`);
  return lines;
}

export function isSameSide(one: Side | null, other: Side | null): boolean {
  return one !== null && other !== null && one.host === other.host && one.born === other.born;
}
