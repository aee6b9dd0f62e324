// A chapter of a run: one boot of the guest under one client with one connection. At its end the VM is stopped, and everything that the
// client was told must be on the disk that the record names.

import { join } from 'node:path';
import type { StatusShape } from '../../../coordinator/cli/shapes.js';
import { coloctl, waitForVm } from '../../../deploy/lab/coloctl.js';
import { LabError } from '../../../deploy/lab/command.js';
import { readRecords } from '../../../deploy/lab/disk-records.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import { summarise } from '../../../deploy/lab/probe-analysis.js';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';

const ANSWER_MS = 60_000;
const PROTECT_MS = 180_000;
/** The guest's disk holds the last 100000 records; the client makes some 30 a second. */
const RECORDS_KEPT = 100_000;
const RECORDS_A_CHAPTER = 60_000;

export interface ChapterEnd {
  readonly answers: number;
  /** Acknowledged records that were looked for on the disk. */
  readonly records: number;
  readonly problems: readonly string[];
}

export async function startClient(plan: LabPlan, signal?: AbortSignal): Promise<Prober> {
  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(1, ANSWER_MS, signal);
  return client;
}

/** The disk has no room for many more. */
export function isFull(client: Prober): boolean {
  const last = client.lines().findLast((line) => line.kind === 'answer');
  return last?.kind === 'answer' && last.counter > RECORDS_A_CHAPTER;
}

/** Stops client and VM. */
export async function endChapter(plan: LabPlan, vm: string, client: Prober): Promise<ChapterEnd> {
  const lines = await client.stop();
  const seen = summarise(lines);
  const problems: string[] = [];
  if (seen.connections !== 1 || seen.broken.length > 0) problems.push(`${seen.connections} connections: ${seen.broken.join('; ')}`);
  if (seen.counters.missing > 0 || seen.counters.backward > 0)
    problems.push(`${seen.counters.missing} counters missing, ${seen.counters.backward} backward`);
  if (seen.boots.length !== 1) problems.push(`${seen.boots.length} boots`);
  await coloctl(plan, ['vm', 'stop', vm, '--wait', '--timeout', '120s'], { deadlineMs: 130_000 });
  const { vms } = JSON.parse(await coloctl(plan, ['status', '-o', 'json'])) as StatusShape;
  const disk = vms.find((each) => each.name === vm)?.disk ?? null;
  const host = plan.hosts.find((each) => each.name === disk?.host);
  if (host === undefined) throw new LabError(`the record of ${vm} names no disk`);
  const { looked, lost } = await lookFor(lines, join(host.agentStateDir, 'vms', vm, 'disk0.raw'));
  if (lost.length > 0) problems.push(`${lost.length} acknowledged records are not on the disk: ${lost.slice(0, 5).join(', ')}`);
  return { answers: seen.answers, records: looked, problems };
}

async function lookFor(lines: readonly ProbeLine[], image: string): Promise<{ readonly looked: number; readonly lost: readonly number[] }> {
  const records = await readRecords(image);
  const told = lines.filter((line) => line.kind === 'answer');
  const last = told.at(-1)?.counter ?? 0;
  const looked = told.filter((line) => line.counter > last - RECORDS_KEPT);
  const lost = looked.filter(({ counter, boot }) => {
    const record = records[counter % records.length];
    return record?.counter !== counter || record.boot !== boot;
  });
  return { looked: looked.length, lost: lost.map((line) => line.counter) };
}

/** The guest boots anew and counts from 1 again. */
export async function beginChapter(plan: LabPlan, vm: string): Promise<void> {
  // Under TCG a guest that boots inside COLO takes many times as long.
  await coloctl(plan, ['vm', 'unprotect', vm]);
  await coloctl(plan, ['vm', 'start', vm, '--wait', '--timeout', '60s'], { deadlineMs: 65_000 });
  const boot = startProber(plan, { probe: 'closed-loop', reconnect: true });
  await boot.waitForMore(1, ANSWER_MS).finally(() => boot.stop());
  await coloctl(plan, ['vm', 'protect', vm]);
  await waitForVm(plan, vm, 'protected', PROTECT_MS);
}
