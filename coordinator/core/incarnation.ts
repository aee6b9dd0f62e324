// Whether a store without a cluster key may be given an incarnation. A new cluster's store may; one that was emptied must not, because agents
// believe whatever incarnation the store says, and the silence of a lost store would then look like the beginning of a new cluster.

import type { Incarnation } from '../../shared/core/ids.js';
import type { HostLink } from './link.js';

/** `seen`: the incarnation that this process last read from the store. Null = it may be named; else why not, and what to do. */
export function whyNotNamed(seen: Incarnation | null, links: Iterable<HostLink>): string | null {
  const lead = 'store behind agents: etcd has no cluster key';
  const advice = 'if etcd was restored or emptied, define the VMs again (coloctl vm define --uid), then: coloctl recover';
  const older = [...links].filter((each) => each.heard && (each.report?.incarnation ?? null) !== null);
  if (older.length > 0) return `${lead}, and ${older.map((each) => each.host).join(', ')} obeyed an earlier one; ${advice}`;
  return seen === null ? null : `${lead} any more; ${advice}`;
}
