// What a leader remembers of one VM between two looks: since when a thing is so. All of it is about time, none of it is about truth: a new
// leader begins with an empty memory and comes to the same decisions a little later.

import type { Instant } from '../../shared/core/ids.js';
import type { Epoch } from '../../shared/core/ids.js';
import type { VmView } from './view.js';

export interface Memory {
  readonly epoch: Epoch;
  readonly epochSince: Instant;
  readonly unknownSince: { readonly a: Instant | null; readonly b: Instant | null };
  readonly doubtSince: Instant | null;
  /** When the pair was first seen to be other than well in this epoch. */
  readonly troubleSince: Instant | null;
  readonly failedHosts: ReadonlyMap<string, Instant>;
  readonly durationsMs: Readonly<Record<string, number>>;
}

export function freshMemory(epoch: Epoch, now: Instant): Memory {
  return {
    epoch,
    epochSince: now,
    unknownSince: { a: null, b: null },
    doubtSince: null,
    troubleSince: null,
    failedHosts: new Map(),
    durationsMs: {},
  };
}

/** Memory at the beginning of a look: a new epoch starts its own clocks. */
export function enterEpoch(memory: Memory | null, epoch: Epoch, now: Instant): Memory {
  if (memory === null) return freshMemory(epoch, now);
  if (memory.epoch === epoch) return memory;
  return { ...freshMemory(epoch, now), failedHosts: memory.failedHosts, durationsMs: memory.durationsMs };
}

/** Starts and stops the clocks by what the view shows. `view` must have been judged with no patience (`unknownMs` of 0 is fine). */
export function remember(
  memory: Memory,
  view: Pick<VmView, 'a' | 'b'>,
  rawUnknown: { readonly a: boolean; readonly b: boolean },
  now: Instant,
): Memory {
  const pairs = [view.a, view.b].filter((side) => side !== null && side.qemu !== 'unheard').map((side) => side?.pair ?? 'unknown');
  const allOk = pairs.length > 0 && pairs.every((pair) => pair === 'ok');
  const anyDead = [view.a, view.b].some((side) => side?.qemu === 'dead');
  return {
    ...memory,
    unknownSince: { a: since(memory.unknownSince.a, rawUnknown.a, now), b: since(memory.unknownSince.b, rawUnknown.b, now) },
    doubtSince: since(memory.doubtSince, !allOk, now),
    troubleSince: since(memory.troubleSince, !allOk || anyDead, now),
  };
}

export function sinceMs(instant: Instant | null, now: Instant): number {
  return instant === null ? 0 : now - instant;
}

function since(before: Instant | null, holds: boolean, now: Instant): Instant | null {
  return holds ? (before ?? now) : null;
}
