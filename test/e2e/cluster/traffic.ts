// What clients of the guest saw, told for people and for assertions. The early closed loop and new connections are promised to survive;
// uploads and downloads are told of (SAFETY 10: a segment without payload is never compared).

import type { DiskRecord } from '../../../deploy/lab/disk-records.js';
import { gapAround, summarise } from '../../../deploy/lab/probe-analysis.js';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import type { Prober } from '../../../deploy/lab/prober.js';

const GAP_WINDOW_MS = 30_000;

/** Nothing that an operator would have to explain to a client; `counters` only where no other client asks the same guest. */
export function troubles(lines: readonly ProbeLine[], { counters }: { readonly counters: boolean }): readonly string[] {
  const seen = summarise(lines);
  const found = [...seen.broken.map((each) => `broken: ${each}`), ...seen.wrong.map((each) => `wrong: ${each}`)];
  if (seen.boots.length > 1) found.push(`the guest booted: ${seen.boots.join(', ')}`);
  if (seen.counters.backward > 0) found.push(`${seen.counters.backward} counters went back`);
  if (counters && seen.counters.missing > 0) found.push(`${seen.counters.missing} counters are missing`);
  if (seen.diskErrors > 0) found.push(`${seen.diskErrors} answers told of a disk error`);
  return found;
}

/** From the end of a handshake, as the client sees it, to a checkpoint after it. */
const HANDSHAKE_MS = 1_000;

/**
 * Without the connections that were made in the last moment before one of these deaths of a primary and never got an answer: QEMU's
 * rewriter may have lost their sequence numbers (DESIGN 5, "What QEMU itself loses"). The second part tells of each how long before.
 */
export function withoutHandshakes(lines: readonly ProbeLine[], deathsMonoMs: readonly number[]): [readonly ProbeLine[], readonly number[]] {
  const beforeMs: number[] = [];
  const kept = lines.filter((line, at) => {
    if (line.kind !== 'broken' || !line.detail.startsWith('no answer')) return true;
    const since = lines.slice(0, at).findLast((each) => each.kind === 'connected' || each.kind === 'answer');
    if (since?.kind !== 'connected') return true;
    const death = deathsMonoMs.find((each) => each >= since.monoMs && each - since.monoMs <= HANDSHAKE_MS);
    if (death !== undefined) beforeMs.push(death - since.monoMs);
    return death === undefined;
  });
  return [kept, beforeMs];
}

/** Counters that a client was told of and that are not on the disk, in the boot that they were told in. */
export function lostRecords(records: readonly (DiskRecord | null)[], logs: readonly (readonly ProbeLine[])[]): readonly string[] {
  const told = logs.flatMap((lines) => lines.flatMap((line) => (line.kind === 'answer' ? [line] : [])));
  return told
    .filter(({ counter, boot }) => {
      const record = records[counter % records.length];
      return record?.counter !== counter || record.boot !== boot;
    })
    .map(({ counter, boot }) => `${counter} of boot ${boot}`);
}

export interface KindReport {
  readonly kind: string;
  readonly exchanges: number;
  readonly afterBlow: number;
  readonly gapMs: number;
  readonly broken: readonly string[];
  readonly wrong: readonly string[];
}

export function reportOf(kind: string, lines: readonly ProbeLine[], blowMonoMs: number): KindReport {
  const isExchange = (line: ProbeLine): boolean =>
    line.kind === 'answer' || line.kind === 'transfer' || (line.kind === 'guest-query' && line.elapsedMs !== null);
  const after = lines.filter((line) => 'monoMs' in line && line.monoMs > blowMonoMs);
  const seen = summarise(after);
  return {
    kind,
    exchanges: lines.filter(isExchange).length,
    afterBlow: after.filter(isExchange).length,
    gapMs: Math.round(gapAround(lines, blowMonoMs, GAP_WINDOW_MS)?.ms ?? Number.NaN),
    broken: [...seen.broken, ...Array.from({ length: seen.guestQueries?.failed ?? 0 }, () => 'a query without an answer')],
    wrong: seen.wrong,
  };
}

/** One line a kind of traffic. `wedged`: nothing came after the blow, and nothing told the client so. */
export function tableOf(title: string, reports: readonly KindReport[]): string {
  const rows = reports.map((each) => {
    const fate =
      each.broken.length > 0 ? `BROKEN ${each.broken.length} (${each.broken[0] ?? ''})` : each.afterBlow === 0 ? 'WEDGED' : 'survived';
    const wrong = each.wrong.length > 0 ? `; WRONG ${each.wrong[0] ?? ''}` : '';
    return `  ${each.kind.padEnd(16)} ${String(each.exchanges).padStart(6)} exchanges, ${String(each.afterBlow).padStart(5)} after the blow, gap ${String(each.gapMs).padStart(6)} ms, ${fate}${wrong}`;
  });
  return [title, ...rows].join('\n');
}

/** Stops probers that may or may not have been started. */
export async function stopAll(probers: readonly (Prober | null)[]): Promise<void> {
  for (const prober of probers) await prober?.stop();
}
