// Asks one QEMU for everything that its facts and capabilities are made of. All answers or none: half a picture is no picture. Facts
// are not of one instant: read them again when something moved in between.

import { fail, ok, type Result } from '../shared/core/result.js';
import { capabilitiesFrom, CAPABILITY_QUERIES, type QemuCapabilities } from './core/capabilities.js';
import { FACT_QUERIES, factsFrom, filterQueries, type QemuFacts, type Query } from './core/facts.js';
import { vmNames } from './core/names.js';
import type { Json, QemuPort, QmpError } from './core/procedures/port.js';

/** Questions that only look, one after the other. `deadlineMs` is for each. The first error ends it. */
async function ask(port: QemuPort, queries: readonly Query[], deadlineMs: number): Promise<Result<readonly Json[], QmpError>> {
  const answers: Json[] = [];
  for (const query of queries) {
    const answer = await port.execute(query.command, query.args, { deadlineMs, oob: false });
    if (!answer.ok) return answer;
    answers.push(answer.value);
  }
  return ok(answers);
}

/** The facts of a VM with so many disks and NICs; two rounds, some twenty short questions, 10-20 ms. */
export async function readFacts(
  port: QemuPort,
  counts: { readonly disks: number; readonly nics: number },
  deadlineMs: number,
): Promise<Result<QemuFacts, QmpError>> {
  const names = vmNames(counts.disks, counts.nics);
  const first = await ask(port, FACT_QUERIES, deadlineMs);
  if (!first.ok) return first;
  const second = await ask(port, filterQueries(first.value, names), deadlineMs);
  if (!second.ok) return second;
  return ok(factsFrom(first.value, second.value, names));
}

/** Asked once per monitor. `refused` with class `Client` when this QEMU was built without COLO. */
export async function readCapabilities(port: QemuPort, deadlineMs: number): Promise<Result<QemuCapabilities, QmpError>> {
  const answers = await ask(port, CAPABILITY_QUERIES, deadlineMs);
  if (!answers.ok) return answers;
  const capabilities = capabilitiesFrom(answers.value);
  return capabilities.ok ? capabilities : fail({ kind: 'refused', errorClass: 'Client', description: capabilities.error });
}
