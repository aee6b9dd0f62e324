// What clients logged, as operations on the guest's counter, and what these say of the guest: whether it was one machine all the time, and
// whether what it acknowledged is on the disk in the end. A boot begins counting anew, so each boot is a history of its own.

import type { DiskRecord } from '../../deploy/lab/disk-records.js';
import type { ProbeLine } from '../../deploy/lab/probe-log.js';
import { violationsOf, type Operation } from './linearizable.js';

export interface ClientLog {
  readonly client: string;
  readonly lines: readonly ProbeLine[];
}

/** `boot` null: the answer is not known, so it may belong to any boot. */
export interface Logged {
  readonly boot: string | null;
  readonly operation: Operation;
}

export function operationsOf({ client, lines }: ClientLog): readonly Logged[] {
  const found: Logged[] = [];
  let asked: { readonly monoMs: number; readonly question: string } | null = null;
  const giveUp = (): void => {
    if (asked !== null && asked.question !== 'stat')
      found.push({ boot: null, operation: { kind: 'add', client, invokedMs: asked.monoMs, returned: null } });
    asked = null;
  };
  for (const line of lines) {
    if (line.kind === 'asked') {
      giveUp();
      asked = line;
    } else if (line.kind === 'answer' && asked !== null) {
      const returned = { atMs: line.monoMs, value: line.counter };
      found.push({ boot: line.boot, operation: { kind: 'add', client, invokedMs: asked.monoMs, returned } });
      asked = null;
    } else if (line.kind === 'value' && asked !== null) {
      const returned = { atMs: line.monoMs, value: line.counter };
      found.push({ boot: line.boot, operation: { kind: 'read', client, invokedMs: asked.monoMs, returned } });
      asked = null;
    }
  }
  giveUp();
  return found;
}

export interface Boot {
  readonly boot: string;
  /** The first answer of this boot, and the last one. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** In the order in which clients first heard of them. */
export function bootsOf(logged: readonly Logged[]): readonly Boot[] {
  const boots = new Map<string, Boot>();
  for (const { boot, operation } of logged) {
    if (boot === null || operation.returned === null) continue;
    const { atMs } = operation.returned;
    const known = boots.get(boot) ?? { boot, firstMs: atMs, lastMs: atMs };
    boots.set(boot, { boot, firstMs: Math.min(known.firstMs, atMs), lastMs: Math.max(known.lastMs, atMs) });
  }
  return [...boots.values()].sort((one, other) => one.firstMs - other.firstMs);
}

/** `initial`: the counter of the first boot before the clients began; later boots count from 0. */
export function historyViolations(logs: readonly ClientLog[], initial: number): readonly string[] {
  const logged = logs.flatMap(operationsOf);
  const found: string[] = [];
  for (const [position, { boot, firstMs }] of bootsOf(logged).entries()) {
    const own = logged.filter((each) => each.boot === boot || each.boot === null).map((each) => each.operation);
    found.push(...violationsOf(own, position === 0 ? initial : 0).map((each) => `boot ${boot}: ${each}`));
    // Once the guest has begun anew nobody may be answered by what it was before.
    const older = logged.filter((each) => each.boot !== null && each.boot !== boot && each.operation.invokedMs > firstMs);
    const before = bootsOf(logged)
      .slice(0, position)
      .map((each) => each.boot);
    for (const { boot: old, operation } of older)
      if (old !== null && before.includes(old))
        found.push(
          `${operation.client} was answered by boot ${old} at ${operation.returned?.atMs ?? 0} ms, after boot ${boot} had answered at ${firstMs} ms`,
        );
  }
  for (const { client, lines } of logs) {
    for (const line of lines) {
      if (line.kind === 'wrong') found.push(`${client} at ${line.monoMs} ms: ${line.detail}`);
      if (line.kind === 'answer' && line.diskErrno !== 0)
        found.push(`${client} at ${line.monoMs} ms: the guest told disk error ${line.diskErrno}`);
    }
  }
  return found;
}

/** Counters that a client was told of and that are not on the disk. A later boot counts anew and writes over the slots of those before. */
export function lostWrites(records: readonly (DiskRecord | null)[], logs: readonly ClientLog[]): readonly string[] {
  const logged = logs.flatMap(operationsOf);
  const order = bootsOf(logged).map((each) => each.boot);
  const lost: string[] = [];
  for (const { boot, operation } of logged) {
    if (operation.kind !== 'add' || operation.returned === null || boot === null) continue;
    const { value } = operation.returned;
    const record = records[value % records.length] ?? null;
    const kept = record !== null && record.boot === boot && record.counter >= value;
    const writtenOver = record !== null && order.indexOf(record.boot) > order.indexOf(boot);
    if (!kept && !writtenOver) lost.push(`${value} of boot ${boot}, told to ${operation.client} at ${operation.returned.atMs} ms`);
  }
  return lost;
}
