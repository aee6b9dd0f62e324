// Reads the facts of a QEMU, once.

import { COMMAND_MS } from '../core/bounds.js';
import { FACT_QUERIES, factsFrom, filterQueries, type QemuFacts, type Query } from '../core/facts.js';
import type { Json, Monitor } from '../core/procedures/port.js';
import type { Vm } from './vm.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** Within an action, whose next step depends on them. The last facts stay when QEMU does not answer. */
export async function lookNow(vm: Vm): Promise<void> {
  const { link } = vm;
  if (link === null) return;
  const read = await readFacts(link.monitor, vm.names, COMMAND_MS);
  if (read.ok && vm.link === link) vm.facts = read.value;
}

export async function readFacts(monitor: Monitor, names: Vm['names'], deadlineMs: number): Promise<Result<QemuFacts, string>> {
  const first = await ask(monitor, FACT_QUERIES, deadlineMs);
  if (!first.ok) return first;
  const second = await ask(monitor, filterQueries(first.value, names), deadlineMs);
  return second.ok ? ok(factsFrom(first.value, second.value, names)) : second;
}

/** All at once; QEMU answers in order. A refusal is an answer too (a query that this QEMU does not know); a lost answer ends the round. */
export async function ask(monitor: Monitor, queries: readonly Query[], deadlineMs: number): Promise<Result<readonly Json[], string>> {
  const answers = await Promise.all(queries.map((query) => monitor.execute(query.command, query.args, { deadlineMs, oob: false })));
  const values: Json[] = [];
  for (const answer of answers) {
    if (answer.ok) values.push(answer.value);
    else if (answer.error.kind === 'refused') values.push(null);
    else return fail(answer.error.description);
  }
  return ok(values);
}
