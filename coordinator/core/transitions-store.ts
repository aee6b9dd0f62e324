// The row that stands before all others: the store knows less than a host that obeyed it. Then etcd was restored from a snapshot, was
// emptied, or is another one, and every decision made from it could take the life of the newer truth. Nothing is ordered and nothing is
// decided for that VM until an operator has compared the two (`coloctl recover`).

import { PHASES } from '../../shared/core/model.js';
import type { Row } from './rows.js';
import type { VmView } from './view.js';

/** What every sentence about it begins with. */
export const STORE_BEHIND = 'store behind agents';

/** How the store is behind what a heard host has obeyed; null = it is not. */
export function storeBehind(view: VmView): string | null {
  const { record } = view;
  const newest = newestOf(view, (report) => report.epoch);
  if (newest !== null && newest.value > record.epoch)
    return `${newest.host} has obeyed epoch ${newest.value}, and the record is of epoch ${record.epoch}`;
  const term = view.termBase + view.term;
  const latest = newestOf(view, (report) => report.term);
  // Also true for a leader that was overtaken and does not know it yet; then it had better decide nothing either.
  if (latest !== null && latest.value > term) return `${latest.host} has obeyed term ${latest.value}, and this is term ${term}`;
  return null;
}

function newestOf(
  view: VmView,
  valueOf: (report: NonNullable<VmView['hosts'][number]['report']>) => number,
): { readonly host: string; readonly value: number } | null {
  let newest: { readonly host: string; readonly value: number } | null = null;
  for (const { key, report } of view.hosts) {
    const value = report === null ? 0 : valueOf(report);
    if (newest === null || value > newest.value) newest = { host: key.host, value };
  }
  return newest;
}

export const storeRow: Row = {
  name: 'store-behind-agents',
  from: PHASES,
  to: 'same',
  why: 'A host has obeyed orders that the store knows nothing of: etcd was restored or emptied, or its prefix is another. Nothing is touched.',
  when: (view) => storeBehind(view) !== null,
  act: (view) => ({ kind: 'freeze', reason: `${STORE_BEHIND}: ${storeBehind(view) ?? '?'}. If it stays so: coloctl recover` }),
};
