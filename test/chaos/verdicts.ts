// What the cluster's own papers say against it: the history must be one unbroken line, and in no epoch may two QEMUs have run the guest alone.

import { ASKED_ROW } from '../../coordinator/core/asked.js';
import type { HistoryEntry } from '../../shared/gen/colo/v1/coordinator.js';

/** An agent's journal said that this QEMU runs the guest alone by an order of that epoch. */
export interface Release {
  readonly host: string;
  readonly born: number;
  readonly epoch: number;
}

/** What somebody asked for stands in the history beside the edges, under the epoch of the edge before it, and is none itself. */
export const isEdge = ({ row }: Pick<HistoryEntry, 'row'>): boolean => !row.startsWith(ASKED_ROW);

type Entry = Pick<HistoryEntry, 'epoch' | 'from' | 'to' | 'row' | 'primary'>;

/** `edges`: by epoch, oldest first. */
export function paperViolations(edges: readonly Entry[], releases: readonly Release[]): readonly string[] {
  return [...lineViolations(edges), ...releaseViolations(edges, releases)];
}

/** Each edge raises the epoch by one and goes on from where the one before ended. */
function lineViolations(history: readonly Entry[]): readonly string[] {
  return history.flatMap((entry, position) => {
    const before = history[position - 1];
    if (before === undefined) return [];
    if (entry.epoch !== before.epoch + 1) return [`the history goes from epoch ${before.epoch} to ${entry.epoch}`];
    return entry.from === before.to ? [] : [`epoch ${entry.epoch} goes from ${entry.from}, and the one before ended in ${before.to}`];
  });
}

function releaseViolations(history: readonly Entry[], releases: readonly Release[]): readonly string[] {
  const found: string[] = [];
  for (const epoch of new Set(releases.map((each) => each.epoch))) {
    const here = releases.filter((each) => each.epoch === epoch);
    const qemus = [...new Set(here.map((each) => `${each.host} (born ${each.born})`))];
    if (qemus.length > 1) found.push(`TWO SIDES in epoch ${epoch}: ${qemus.join(' and ')}`);
    const entry = history.find((each) => each.epoch === epoch);
    if (entry === undefined) continue;
    for (const { host } of here)
      if (entry.primary !== host)
        found.push(`${host} was released in epoch ${epoch}, whose entry (${entry.row}) names ${entry.primary || 'nobody'}`);
  }
  return found;
}
