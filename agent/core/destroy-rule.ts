// When a QEMU may be destroyed (SAFETY 6): only on a linearizable read of a record that exists, is of the same VM, is newer than all that
// this QEMU obeyed, and names it no more. A store that was emptied, restored or mixed up thereby never kills a guest.

import type { HostId } from '../../shared/core/ids.js';
import type { VmRecord } from '../../shared/core/model.js';
import type { QemuJournal, VmJournal } from './journal.js';

export type DestroyJudgement =
  | { readonly kind: 'permitted' }
  /** The record still counts on this QEMU, or a verdict waits for its winner. */
  | { readonly kind: 'needed'; readonly detail: string }
  /** The record knows less than this host: touch nothing. */
  | { readonly kind: 'store-behind'; readonly detail: string };

/** `record` null = the read succeeded and there is none. */
export function judgeDestroy(journal: VmJournal, qemu: QemuJournal, hostId: HostId, record: VmRecord | null): DestroyJudgement {
  const behind = (what: string): DestroyJudgement => ({ kind: 'store-behind', detail: `store behind agents: ${what}` });
  if (record === null) return behind(`no record of ${journal.vm}`);
  if (record.uid !== journal.uid) return behind(`the record is of uid ${record.uid}, this QEMU of ${journal.uid}`);
  if (record.epoch <= qemu.obeyed) return behind(`the record's epoch is ${record.epoch}, this QEMU has obeyed ${qemu.obeyed}`);
  if (record.phase === 'stopping' || record.phase === 'stopped') return { kind: 'permitted' };
  for (const [role, side] of [
    ['primary', record.primary],
    ['secondary', record.secondary],
  ] as const) {
    if (side !== null && side.hostId === hostId && side.born === qemu.born) {
      return { kind: 'needed', detail: `the record of epoch ${record.epoch} (${record.phase}) names this QEMU as ${role}` };
    }
  }
  // Between verdict and `executed` a loser is the last live copy if the winner fails (SAFETY 4).
  const loser = record.verdict?.loser ?? null;
  if (record.phase === 'verdict' && loser !== null && loser.hostId === hostId && loser.born === qemu.born) {
    return { kind: 'needed', detail: `the verdict of epoch ${record.epoch} is not executed yet` };
  }
  return { kind: 'permitted' };
}

/** Files of a QEMU that may go with it: its overlays, unless the record says that the guest's data is in them. */
export function removableImages(overlays: readonly string[], record: VmRecord | null, alsoKeep: readonly string[]): readonly string[] {
  const keep = new Set([...(record?.disk?.images ?? []), ...alsoKeep]);
  return overlays.filter((each) => !keep.has(each));
}
