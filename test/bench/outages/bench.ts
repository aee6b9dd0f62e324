// `npm run bench -- outages`: etcd's members are taken away beside a protected pair, and faults come while its majority is away. It can be cut
// short, and prints what it has.

import { messageOf } from '../../../deploy/lab/command.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import { startProber } from '../../../deploy/lab/prober.js';
import { endChapter, startClient } from '../faults/chapter.js';
import { Told } from '../told.js';
import { openEye } from '../watch/eye.js';
import type { PairSeen } from '../watch/pair.js';
import { openReads } from '../watch/reads.js';
import { pairNow } from '../watch/vigil.js';
import { faultInOutage, type FaultInOutage } from './fault.js';
import { oneOutage, type Outage, type Stage } from './outage.js';
import { problemsOf, textOf, type OutagesResult } from './result.js';
import { FAULTS, MANNERS, nameOfOutage, OUTAGE_KINDS } from './table.js';

const VM = 'demo';
/** How long the majority is away when a fault comes. */
const FAULT_SECONDS = 10;
/** Each answer tells a clock, in which the two sides differ, and so costs a checkpoint: often would be the load that is measured under. */
const CLOCK_PERIOD_MS = 1_000;

export interface OutagesOptions {
  readonly seconds: readonly number[];
  readonly rounds: number;
  /** Parts of the names of outages; empty = all. */
  readonly only: readonly string[];
  /** How often each fault comes while the majority is away; 0 = not at all. */
  readonly faults: number;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

export async function benchOutages(plan: LabPlan, options: OutagesOptions): Promise<{ readonly text: string; readonly held: boolean }> {
  const { report, signal } = options;
  const outages: Outage[] = [];
  const faults: FaultInOutage[] = [];
  const problems: string[] = [];
  const told = new Told(plan);
  let pair: PairSeen = await pairNow(plan, told, VM);
  const client = await startClient(plan, signal);
  const clock = startProber(plan, { probe: 'read', periodMs: CLOCK_PERIOD_MS, reconnect: true });
  const eye = openEye(plan, () => pair);
  const reads = openReads(plan);
  const stage: Stage = { plan, vm: VM, client, clock, told, reads, eye, expect: (next) => (pair = next), signal };
  try {
    await course(stage, options, outages, faults);
  } catch (error) {
    if (!signal.aborted) problems.push(messageOf(error));
    report(signal.aborted ? 'cut short' : `it ends here: ${messageOf(error)}`);
  }
  await Promise.all([eye.stop(), reads.stop(), clock.stop()]);
  told.close();
  const end = await endChapter(plan, VM, client).catch((error: unknown) => ({ answers: 0, records: 0, problems: [messageOf(error)] }));
  const result: OutagesResult = { ...end, outages, faults, problems: [...problems, ...end.problems] };
  return { text: textOf(result), held: problemsOf(result).length === 0 };
}

async function course(stage: Stage, options: OutagesOptions, outages: Outage[], faults: FaultInOutage[]): Promise<void> {
  const { report } = options;
  const kinds = OUTAGE_KINDS.filter((kind) => options.only.length === 0 || options.only.some((part) => nameOfOutage(kind).includes(part)));
  for (let round = 0; round < options.rounds; round += 1) {
    for (const seconds of options.seconds) {
      for (const kind of kinds) {
        const seen = await oneOutage(stage, kind, seconds, round);
        outages.push(seen);
        const noticed = Number.isNaN(seen.noticedMs) ? '' : `"no etcd quorum" after ${Math.round(seen.noticedMs)} ms, `;
        report(
          `${nameOfOutage(kind)} for ${seconds} s: ${noticed}right ${Math.round(seen.rightMs)} ms after the return, client waited ${Math.round(seen.gapMs)} ms${told(seen.wrong)}`,
        );
      }
    }
  }
  for (let round = 0; round < options.faults; round += 1) {
    for (const [position, fault] of FAULTS.entries()) {
      const manner = MANNERS[(round + position) % MANNERS.length] ?? 'killed';
      const seen = await faultInOutage(stage, fault, manner, FAULT_SECONDS, round);
      faults.push(seen);
      report(
        `${fault} while ${seen.away.join(' and ')} are ${manner}: verdict ${Math.round(seen.verdictMs)} ms, alone ${Math.round(seen.aloneMs)} ms after the return${told(seen.wrong)}`,
      );
    }
  }
}

const told = (wrong: readonly string[]): string => (wrong.length === 0 ? '' : `, WRONG: ${wrong.join('; ')}`);
