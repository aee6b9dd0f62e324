// `npm run bench -- faults`: every chosen class of the table, struck n times on one real cluster under one client. It can be cut short at
// any moment, and prints what it has. From time to time the VM is stopped and its disk is read without a guest, because the disk has room
// for so many records only.

import { LabError, messageOf } from '../../../deploy/lab/command.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import type { Prober } from '../../../deploy/lab/prober.js';
import { collectEvidence } from '../../e2e/cluster/evidence.js';
import { beginChapter, endChapter, isFull, startClient } from './chapter.js';
import { jsonOf, textOf, type ClassResult, type FaultsResult } from './result.js';
import { strikeOnce } from './strike.js';
import { chosen, FAULTS, nameOf, type Choice, type FaultClass } from './table.js';

const VM = 'demo';
/** For the estimate: one strike with all that belongs to it, on two cores that do nothing else. */
const STRIKE_SECONDS = 7;
const STRIKE_WITH_LEADER_SECONDS = 10;

export interface FaultsOptions {
  readonly rounds: number;
  readonly choice: Choice;
  readonly json: boolean;
  readonly report: (line: string) => void;
  /** Cut short: what has been measured is printed. */
  readonly signal: AbortSignal;
}

/** What is gathered while it runs. */
interface Notes {
  readonly results: Map<FaultClass, ClassResult>;
  readonly problems: string[];
  answers: number;
  records: number;
}

export async function benchFaults(plan: LabPlan, options: FaultsOptions): Promise<{ readonly text: string; readonly held: boolean }> {
  const classes = chosen(options.choice);
  if (classes.length === 0) throw new LabError('no fault is chosen');
  const { rounds, report, signal } = options;
  const notes: Notes = { results: new Map(), problems: [], answers: 0, records: 0 };
  let client: Prober | null = null;
  try {
    // Round by round, so that whoever cuts it short has something of every class.
    for (let round = 1; round <= rounds; round += 1) {
      for (const each of classes) {
        client ??= await startClient(plan, signal);
        await strike(plan, options, notes, client, each, `${round}/${rounds}`);
        if (isFull(client)) {
          await noteChapter(plan, notes, client);
          client = null;
          await beginChapter(plan, VM);
        }
      }
    }
  } catch (error) {
    if (!signal.aborted) notes.problems.push(messageOf(error));
    report(signal.aborted ? 'cut short' : `it ends here: ${messageOf(error)}`);
    if (!signal.aborted) await collectEvidence(plan, 'faults');
  }
  if (client !== null)
    await noteChapter(plan, notes, client).catch((error: unknown) => notes.problems.push(`at the end: ${messageOf(error)}`));
  const result: FaultsResult = { ...notes, results: [...notes.results.values()], rounds };
  return { text: options.json ? jsonOf(result) : textOf(result), held: notes.problems.length === 0 };
}

/** What is about to be done, and how long it will take. */
export function announcement(choice: Choice, rounds: number): string {
  const classes = chosen(choice);
  return `${classes.length} classes of faults, ${rounds} strikes each: about ${estimate(classes, rounds)}; Ctrl-C ends it with what it has`;
}

async function noteChapter(plan: LabPlan, notes: Notes, client: Prober): Promise<void> {
  const end = await endChapter(plan, VM, client);
  notes.answers += end.answers;
  notes.records += end.records;
  notes.problems.push(...end.problems);
}

async function strike(plan: LabPlan, options: FaultsOptions, notes: Notes, client: Prober, each: FaultClass, which: string): Promise<void> {
  const struck = await strikeOnce({ plan, vm: VM, client, signal: options.signal }, each);
  const known = notes.results.get(each) ?? { faultClass: each, strikes: [] };
  notes.results.set(each, { ...known, strikes: [...known.strikes, struck] });
  for (const wrong of struck.wrong) notes.problems.push(`${nameOf(each)}: ${wrong}`);
  const moments = Object.entries(struck.timeline).map(([moment, ms]) => `${moment} ${Math.round(ms)}`);
  const what =
    FAULTS[each.fault].survivor === 'nobody' ? 'nobody moved' : `${struck.survivor ?? 'nobody'} went on by ${struck.rows.join('+')}`;
  const wrong = struck.wrong.length === 0 ? '' : `, WRONG: ${struck.wrong.join('; ')}`;
  options.report(
    `${nameOf(each)} ${which}: ${what}, gap ${Math.round(struck.gapMs)} ms, healed ${Math.round(struck.healedMs)} ms${wrong} [${moments.join(', ')}]`,
  );
}

function estimate(classes: readonly FaultClass[], rounds: number): string {
  const seconds = classes.reduce((sum, each) => {
    const withLeader = each.place !== 'elsewhere' || each.fault === 'host dark' || FAULTS[each.fault].ofCoordinator;
    return sum + FAULTS[each.fault].watchMs / 1_000 + (withLeader ? STRIKE_WITH_LEADER_SECONDS : STRIKE_SECONDS);
  }, 0);
  const minutes = (seconds * rounds + 20) / 60;
  return minutes < 2 ? `${Math.round(minutes * 60)} s` : `${Math.round(minutes)} minutes`;
}
