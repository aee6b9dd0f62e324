// What the lines of a prober mean: the longest gap, latencies, whether the counter went on without a hole, how often a connection broke,
// how often the guest booted. Pure, so that it can be held against hand-made logs.

import type { ProbeLine } from './probe-log.js';

type Answer = Extract<ProbeLine, { kind: 'answer' }>;

export interface Gap {
  readonly ms: number;
  readonly fromMonoMs: number;
  readonly toMonoMs: number;
}

export interface ProbeSummary {
  readonly answers: number;
  readonly transfers: number;
  readonly transferredBytes: number;
  /** Longest time between two signs of life of the guest; null with fewer than two. */
  readonly maxGap: Gap | null;
  readonly latency: { readonly medianMs: number; readonly p99Ms: number; readonly maxMs: number } | null;
  readonly connections: number;
  readonly broken: readonly string[];
  readonly wrong: readonly string[];
  /** Boot ids in order of appearance; one = the guest never rebooted. */
  readonly boots: readonly string[];
  readonly counters: CounterCheck;
  /** Answers that told of a disk error. */
  readonly diskErrors: number;
  readonly guestQueries: { readonly answered: number; readonly failed: number; readonly maxMs: number } | null;
}

export interface CounterCheck {
  readonly first: number | null;
  readonly last: number | null;
  /** Counters that no answer told of although later ones did. With other clients on the same guest holes are normal. */
  readonly missing: number;
  /** An answer with a counter not above the one before: the guest went back in time. */
  readonly backward: number;
}

export function summarise(lines: readonly ProbeLine[]): ProbeSummary {
  const answers = lines.filter((line) => line.kind === 'answer');
  const transfers = lines.filter((line) => line.kind === 'transfer');
  const queries = lines.filter((line) => line.kind === 'guest-query');
  const connected = lines.filter((line) => line.kind === 'connected');
  const latencies = [...answers, ...transfers].map((line) => line.monoMs - line.sentMonoMs);
  return {
    answers: answers.length,
    transfers: transfers.length,
    transferredBytes: transfers.reduce((sum, line) => sum + line.bytes, 0),
    maxGap: maxGap(lines),
    latency:
      latencies.length === 0
        ? null
        : { medianMs: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99), maxMs: quantile(latencies, 1) },
    connections: connected.length,
    broken: lines.flatMap((line) => (line.kind === 'broken' ? [line.detail] : [])),
    wrong: lines.flatMap((line) => (line.kind === 'wrong' ? [line.detail] : [])),
    boots: [...new Set(answers.map((answer) => answer.boot))],
    counters: checkCounters(answers),
    diskErrors: answers.filter((answer) => answer.diskErrno !== 0).length,
    guestQueries:
      queries.length === 0
        ? null
        : {
            answered: queries.filter((query) => query.elapsedMs !== null).length,
            failed: queries.filter((query) => query.elapsedMs === null).length,
            maxMs: Math.max(...queries.map((query) => query.elapsedMs ?? 0)),
          },
  };
}

/** A boot begins counting from 1 again, so each boot is looked at by itself. */
export function checkCounters(answers: readonly Answer[]): CounterCheck {
  let missing = 0;
  let backward = 0;
  for (const [position, answer] of answers.entries()) {
    const before = answers[position - 1];
    if (before === undefined || before.boot !== answer.boot) continue;
    if (answer.counter <= before.counter) backward += 1;
    else missing += answer.counter - before.counter - 1;
  }
  return { first: answers[0]?.counter ?? null, last: answers.at(-1)?.counter ?? null, missing, backward };
}

/** Counters of one boot that no client was told of, though a higher one was told: with all the logs of a guest's clients there are none. */
export function untoldCounters(logs: readonly (readonly ProbeLine[])[], boot: string): readonly number[] {
  const told = new Set(
    logs.flatMap((lines) => lines.flatMap((line) => (line.kind === 'answer' && line.boot === boot ? [line.counter] : []))),
  );
  const last = Math.max(0, ...told);
  const untold: number[] = [];
  for (let counter = told.size === 0 ? 1 : Math.min(...told); counter <= last; counter += 1) if (!told.has(counter)) untold.push(counter);
  return untold;
}

/** The moments at which the guest was heard, in order. */
function heardAt(lines: readonly ProbeLine[]): readonly number[] {
  return lines.flatMap((line) => {
    switch (line.kind) {
      case 'answer':
      case 'transfer':
      case 'progress':
      case 'guest-query':
      case 'value':
        return [line.monoMs];
      case 'begin':
      case 'connected':
      case 'asked':
      case 'wrong':
      case 'broken':
      case 'end':
        return [];
    }
  });
}

/** Over the whole log, or only over gaps that end after `afterMonoMs`. */
export function maxGap(lines: readonly ProbeLine[], afterMonoMs = -Infinity): Gap | null {
  return longest(gapsIn(lines).filter((gap) => gap.toMonoMs >= afterMonoMs));
}

/** The gap into which a fault fell, or the first one after it that is the longest within `windowMs`. */
export function gapAround(lines: readonly ProbeLine[], faultMonoMs: number, windowMs: number): Gap | null {
  return longest(gapsIn(lines).filter((gap) => gap.toMonoMs >= faultMonoMs && gap.toMonoMs <= faultMonoMs + windowMs));
}

/** What a fault itself cost: the longest gap after it that had begun when the guest ran alone. */
export function gapOfFault(lines: readonly ProbeLine[], faultMonoMs: number, aloneMonoMs: number): Gap | null {
  return longest(gapsIn(lines).filter((gap) => gap.toMonoMs >= faultMonoMs && gap.fromMonoMs <= aloneMonoMs));
}

/** What making the next pair cost: the longest gap that began after the guest ran alone and until the pair was there. */
export function gapOfPairing(lines: readonly ProbeLine[], aloneMonoMs: number, protectedMonoMs: number): Gap | null {
  return longest(gapsIn(lines).filter((gap) => gap.fromMonoMs > aloneMonoMs && gap.fromMonoMs <= protectedMonoMs));
}

/** All gaps that ended in a time, in milliseconds. */
export function gapsWithin(lines: readonly ProbeLine[], fromMonoMs: number, toMonoMs: number): readonly number[] {
  return gapsIn(lines)
    .filter((gap) => gap.toMonoMs >= fromMonoMs && gap.toMonoMs < toMonoMs)
    .map(({ ms }) => ms);
}

function gapsIn(lines: readonly ProbeLine[]): readonly Gap[] {
  const moments = heardAt(lines);
  return moments.slice(1).map((to, position) => {
    const from = moments[position] ?? to;
    return { ms: to - from, fromMonoMs: from, toMonoMs: to };
  });
}

/** The first of the longest. */
const longest = (gaps: readonly Gap[]): Gap | null =>
  gaps.reduce<Gap | null>((best, gap) => (best === null || gap.ms > best.ms ? gap : best), null);

/** Nearest rank: always a value that was really seen. An empty list has none and is not to be asked about. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = Math.max(0, Math.ceil(part * sorted.length) - 1);
  return sorted[position] ?? Number.NaN;
}
