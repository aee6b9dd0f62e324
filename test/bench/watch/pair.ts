// What a bench that expects nothing to happen knows of a pair, and how it measures by the guest's own clock whether the guest stood still.
// Pure, so that it can be held against hand-made logs.

import type { ProbeLine } from '../../../deploy/lab/probe-log.js';

/** A protected pair by all that would change if anything were done to it. */
export interface PairSeen {
  readonly vm: string;
  readonly epoch: number;
  readonly primary: string;
  readonly secondary: string;
  /** Host, pid and start time of each QEMU, in order. */
  readonly qemus: readonly string[];
}

export const VERDICT_PHASES: ReadonlySet<string> = new Set(['verdict', 'executed', 'solo', 'held', 'failed']);

export interface Stillness {
  /** From the first to the last look at the guest's clock, milliseconds; 0 = fewer than two looks. */
  readonly lastedMs: number;
  /** By how much the guest's clock fell behind in all that time. Checkpoints make it do so. */
  readonly stillMs: number;
  /** The most that it can have stood still between two looks. */
  readonly longestMs: number;
}

/**
 * How long a guest stood still between two instants, from a `read` prober's lines. Its clock was read at some moment between question and answer,
 * so `stillMs` is wrong by no more than what one answer takes.
 */
export function stillnessOf(lines: readonly ProbeLine[], fromMonoMs: number, toMonoMs: number): Stillness {
  const looks = lines.filter((line) => line.kind === 'value').filter((line) => line.sentMonoMs >= fromMonoMs && line.monoMs <= toMonoMs);
  const first = looks[0];
  const last = looks.at(-1);
  if (first === undefined || last === undefined || first === last) return { lastedMs: 0, stillMs: 0, longestMs: 0 };
  const lastedMs = last.monoMs - first.monoMs;
  const pauses = looks.slice(1).map((each, position) => {
    const before = looks[position] ?? each;
    return each.monoMs - before.monoMs - (each.upMs - before.upMs);
  });
  return { lastedMs, stillMs: lastedMs - (last.upMs - first.upMs), longestMs: Math.max(0, ...pauses) };
}
