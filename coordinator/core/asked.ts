// What somebody asked for, as an entry of the history: it stands beside the edges that follow from it, and says who it was. It changes no
// phase. Entries of this kind are kept in a ring of their own, so that asking again and again fills no store.

import { epoch } from '../../shared/core/ids.js';
import { HISTORY_PER_VM } from '../../shared/core/limits.js';
import type { HistoryEntry, VmRecord, VmWanted } from '../../shared/core/model.js';

export type Asked = 'define' | 'start' | 'stop' | 'delete' | 'protect' | 'unprotect' | 'release';

/** Rows of such entries begin so; no row of the table does. */
export const ASKED_ROW = 'asked-';

/** The entry, and where in the ring it belongs. `before`: the wish that it changes, null = there is none. */
export function askedEntry(
  asked: Asked,
  before: VmWanted | null,
  wanted: VmWanted,
  record: VmRecord | null,
  by: string,
  atMs: number,
): { readonly entry: HistoryEntry; readonly asked: number } {
  const phase = record?.phase ?? 'stopped';
  const wish = `${wanted.wanted}, ${wanted.protect ? 'protected' : 'unprotected'}`;
  const was = before === null ? '' : ` (was: ${before.wanted}, ${before.protect ? 'protected' : 'unprotected'})`;
  return {
    asked: ((before?.asked ?? -1) + 1) % HISTORY_PER_VM,
    entry: {
      atMs,
      vm: wanted.spec.name,
      epoch: record?.epoch ?? epoch(0),
      row: `${ASKED_ROW}${asked}`,
      from: phase,
      to: phase,
      primary: record?.primary?.host ?? null,
      secondary: record?.secondary?.host ?? null,
      evidence: [`wanted: ${wish}${was}`],
      by,
      durationsMs: {},
    },
  };
}
