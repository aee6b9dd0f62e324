// `npm run sim`: a search over seeds with all cores, one seed again with its event log, or the stories. It prints what was done, how fast,
// what was covered, and for each failure the one line that repeats it.

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { TABLE } from '../../../coordinator/core/decide.js';
import type { Seen } from '../invariants/watchers.js';
import { inOwnTurn } from '../world/drain.js';
import type { World } from '../world/world.js';
import { cover, coverageTable, merge, nothingCovered, type Coverage } from './coverage.js';
import { cross, crossTable, storiesByRow, VICTIMS, type Crossed } from './cross.js';
import { crashStories } from './crash-stories.js';
import { describePlan, planOf, runScenarios } from './scenario.js';
import { search, type Found, type Searched, type SearchOptions } from './search.js';
import { tellStories } from './stories.js';
import { writeStories } from './story.js';

/** In the model a secondary's failing disk is told by its replication status before its own guest meets it; the table's unit test has this row. */
const OUTSIDE_THE_MODEL: ReadonlySet<string> = new Set(['secondary-disk-lost']);

const HELP = `npm run sim -- --seed S          runs the scenarios of one world and prints the event log
npm run sim -- --seconds N       searches for so long, with all cores
npm run sim -- --scenarios N     searches until so many scenarios are done
npm run sim -- --stories [NAME]  tells the stories of test/sim/stories, or those whose name contains NAME
  --from S                       first seed (default: from the clock)
  --threads N                    with so many cores
  --cross                        lets each process die in each row of the table, or with --row ROW in those whose name contains ROW
  --coverage                     prints the whole coverage table
  --complete                     fails when a row of the table was never fired, by search or story
  --rewrite                      writes the logs of the stories anew instead of holding them against what is written
  --generate                     makes the stories that follow from the procedures anew, then tells and writes them
  --report FILE                  what passed and failed, for the sum of npm test`;
/** Almost all that an event makes is garbage after it; with more room for it, less of what lives is copied. */
const YOUNG_MB = 96;
const FOLDER = join(fileURLToPath(new URL('../../../../../..', import.meta.url)), 'test/sim/stories');

/** A search of hours says so often how far it is. */
const PROGRESS_MS = 60_000;

/** From a thread that searches. */
type Told = { readonly found: Found } | { readonly done: number } | { readonly ended: Searched };

interface Wish {
  readonly scenarios: number;
  readonly seconds: number;
  readonly from: number;
  readonly threads: number;
  readonly stories: boolean;
  readonly only: string | null;
  /** Rows to be crossed with deaths, by a part of their names; null = none. */
  readonly cross: string | null;
  readonly rewrite: boolean;
  readonly coverage: boolean;
  readonly complete: boolean;
}

/** Something that passed or failed, with what is to be said about it. */
interface Verdict {
  readonly name: string;
  readonly problems: readonly string[];
}

if (isMainThread) await main();
else await searchAsTold();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: 'string' },
      seconds: { type: 'string' },
      scenarios: { type: 'string' },
      from: { type: 'string' },
      threads: { type: 'string' },
      stories: { type: 'boolean', default: false },
      rewrite: { type: 'boolean', default: false },
      generate: { type: 'boolean', default: false },
      cross: { type: 'boolean', default: false },
      row: { type: 'string' },
      coverage: { type: 'boolean', default: false },
      complete: { type: 'boolean', default: false },
      report: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return say(HELP);
  if (values.seed !== undefined) return replay(Number(values.seed));
  if (values.generate) for (const [file, stories] of crashStories()) writeFileSync(join(FOLDER, file), writeStories(stories));
  const stories = values.stories || values.rewrite || values.generate;
  const scenarios = values.scenarios === undefined ? Infinity : Number(values.scenarios);
  const byTime = scenarios === Infinity && (!(stories || values.cross) || values.seconds !== undefined);
  const verdicts = await carryOut({
    scenarios: byTime || scenarios !== Infinity ? scenarios : 0,
    seconds: values.seconds === undefined ? (byTime ? 60 : Infinity) : Number(values.seconds),
    from: values.from === undefined ? Math.floor(Date.now() / 1_000) % 1_000_000_000 : Number(values.from),
    threads: values.threads === undefined ? availableParallelism() : Number(values.threads),
    stories,
    only: positionals[0] ?? null,
    cross: values.cross ? (values.row ?? '') : null,
    rewrite: values.rewrite || values.generate,
    coverage: values.coverage,
    complete: values.complete,
  });
  if (values.report !== undefined) writeFileSync(values.report, reportOf(verdicts));
  process.exitCode = verdicts.some(({ problems }) => problems.length > 0) ? 1 : 0;
}

async function carryOut(wish: Wish): Promise<readonly Verdict[]> {
  const coverage = nothingCovered();
  const verdicts: Verdict[] = [];
  if (wish.stories) verdicts.push(...(await stories(wish, coverage)));
  if (wish.cross !== null) verdicts.push(...(await crossAll(wish.cross)));
  if (wish.scenarios > 0) verdicts.push(await searchAll(wish, coverage));
  if (wish.scenarios > 0 || wish.coverage || wish.complete) {
    const lines = coverageTable(
      coverage,
      TABLE.map((row) => row.name),
    );
    for (const line of wish.coverage ? lines : lines.slice(-2)) say(line);
  }
  if (wish.complete) {
    const rows = TABLE.map((row) => row.name).filter((row) => coverage.rows[row] === undefined);
    const never = rows.filter((row) => !OUTSIDE_THE_MODEL.has(row));
    if (rows.length > never.length) say(`NOT FIRED, for the model cannot: ${rows.filter((row) => OUTSIDE_THE_MODEL.has(row)).join(', ')}`);
    const problems = never.length === 0 ? [] : [`never fired by search or story: ${never.join(', ')}`];
    for (const each of problems) say(`FAILED: ${each}`);
    verdicts.push({ name: 'every row of the transition table fires', problems });
  }
  return verdicts;
}

async function stories({ only, rewrite }: Wish, coverage: Coverage): Promise<readonly Verdict[]> {
  const startedAt = Date.now();
  const uncaught: string[] = [];
  const keep = (error: Error): void => void uncaught.push(error.stack ?? error.message);
  process.on('uncaughtException', keep);
  const seen = (world: World, what: Seen): void => cover(coverage, world, what);
  const outcomes = await tellStories({
    folder: FOLDER,
    only,
    rewrite,
    seen,
    uncaught: () => (uncaught.length === 0 ? [] : uncaught.splice(0)),
  }).finally(() => process.off('uncaughtException', keep));
  const failed = outcomes.filter(({ problems }) => problems.length > 0);
  for (const { file, name, problems } of failed) {
    say(`STORY ${name} (${file})`);
    for (const each of problems) say(`  ${each}`);
  }
  say(`${outcomes.length} stories in ${((Date.now() - startedAt) / 1_000).toFixed(1)} s, ${failed.length} failed`);
  return outcomes.map(({ file, name, problems }) => ({ name: `story ${name} (${file})`, problems }));
}

/** As vitest reports, for test/summarise.mjs. */
function reportOf(verdicts: readonly Verdict[]): string {
  const status = (problems: readonly string[]): string => (problems.length === 0 ? 'passed' : 'failed');
  const failed = verdicts.filter(({ problems }) => problems.length > 0);
  return JSON.stringify({
    success: failed.length === 0,
    numPassedTests: verdicts.length - failed.length,
    numPendingTests: 0,
    numTodoTests: 0,
    testResults: [
      {
        name: 'simulator',
        status: failed.length === 0 ? 'passed' : 'failed',
        message: '',
        assertionResults: verdicts.map(({ name, problems }) => ({ status: status(problems), fullName: name })),
      },
    ],
  });
}

async function crossAll(only: string): Promise<readonly Verdict[]> {
  const startedAt = Date.now();
  const uncaught: string[] = [];
  const keep = (error: Error): void => void uncaught.push(error.stack ?? error.message);
  process.on('uncaughtException', keep);
  const rows = TABLE.map((row) => row.name).filter((row) => row.includes(only) && !OUTSIDE_THE_MODEL.has(row));
  const stories = await storiesByRow(FOLDER, rows);
  const cells: Crossed[] = [];
  for (const row of rows)
    for (const victim of VICTIMS) cells.push(await cross(row, victim, stories.get(row) ?? [], () => uncaught.splice(0)));
  process.off('uncaughtException', keep);
  for (const line of crossTable(rows, cells)) say(line);
  const failed = cells.filter(({ problems }) => problems.length > 0);
  for (const { row, victim, story, problems } of failed) say(`FAILED ${row} x ${victim} in "${story ?? ''}": ${problems.join('; ')}`);
  say(`${failed.length} violations, ${((Date.now() - startedAt) / 1_000).toFixed(1)} s`);
  return cells.map(({ row, victim, cell, problems }) => ({
    name: `${row} x the death of ${victim}`,
    problems: [...problems, ...(cell.kind === 'empty' ? [cell.why] : [])],
  }));
}

async function replay(seed: number): Promise<void> {
  const plan = planOf(seed);
  say(
    `seed ${seed}: ${plan.setup.hosts.length} hosts, coordinators ${[...plan.setup.coordinators].map(([name, at]) => `${name} on ${at}`).join(', ')}`,
  );
  say(
    `VMs ${plan.setup.vms.map((vm) => `${vm.spec.name} (${vm.spec.method})`).join(', ')}, QEMU ${Object.values(plan.setup.version).join('.')}; faults:`,
  );
  for (const line of describePlan(plan)) say(`  ${line}`);
  const uncaught: string[] = [];
  process.on('uncaughtException', (error) => uncaught.push(error.stack ?? error.message));
  const outcome = await inOwnTurn(() =>
    runScenarios(plan, { trace: say, uncaught: () => (uncaught.length === 0 ? [] : uncaught.splice(0)) }),
  );
  say(`${outcome.events} events in ${(outcome.virtualMs / 1_000).toFixed(1)} virtual s; ${outcome.violations.length} violations`);
  for (const each of [...outcome.violations, ...outcome.held.map((held) => `held: ${held}`)]) say(`  ${each}`);
  process.exitCode = outcome.violations.length > 0 ? 1 : 0;
}

async function searchAll({ from, scenarios, seconds, threads }: Wish, coverage: Coverage): Promise<Verdict> {
  const startedAt = Date.now();
  const done = Array.from({ length: threads }, () => 0);
  const rate = (all: number): string => `${(all / ((Date.now() - startedAt) / 1_000)).toFixed(1)} scenarios/s`;
  let saidAt = startedAt;
  const progress = (): void => {
    if (Date.now() - saidAt < PROGRESS_MS) return;
    saidAt = Date.now();
    const all = done.reduce((sum, each) => sum + each, 0);
    say(`${new Date().toISOString()} ${all} scenarios, ${rate(all)}`);
  };
  const end = new AbortController();
  const interrupt = (): void => end.abort();
  process.once('SIGINT', interrupt);
  const parts = await Promise.all(
    Array.from({ length: threads }, (_, k) => {
      const options = { step: threads, most: Math.ceil(scenarios / threads), untilMs: seconds * 1_000, failures: 10, shrinks: true };
      return searchInThread({ ...options, firstSeed: from + k }, end.signal, (all) => {
        done[k] = all;
        progress();
      });
    }),
  ).finally(() => process.off('SIGINT', interrupt));
  const tookS = (Date.now() - startedAt) / 1_000;
  const total = (pick: (part: Searched) => number): number => parts.reduce((sum, part) => sum + pick(part), 0);
  for (const part of parts) merge(coverage, part.coverage);
  const held = new Map<string, number>();
  for (const part of parts) for (const [why, times] of Object.entries(part.held)) held.set(why, (held.get(why) ?? 0) + times);
  for (const [why, times] of held) say(`at the end ${times} times for an operator: ${why}`);
  const all = total((part) => part.scenarios);
  say(
    `${all} scenarios in ${total((part) => part.worlds)} worlds from seed ${from} in ${tookS.toFixed(1)} s on ${threads} threads: ` +
      `${(all / tookS).toFixed(1)} scenarios/s, ${Math.round(total((part) => part.events) / tookS)} events/s, ` +
      `${(total((part) => part.virtualMs) / 3_600_000).toFixed(1)} virtual hours`,
  );
  const each = (sum: number): string => (sum / Math.max(1, all)).toFixed(1);
  say(
    `on average a scenario has ${each(total((part) => part.faults))} faults, ${each(total((part) => part.events))} events and ` +
      `${each(total((part) => part.virtualMs) / 1_000)} virtual s`,
  );
  const found = parts.flatMap((part) => part.found);
  say(`${found.length} violations`);
  const problems = found.map(({ seed, violations }) => `seed ${seed}: ${violations[0] ?? ''}`);
  if (end.signal.aborted) {
    problems.push(`ended before all of the ${scenarios} that were asked for`);
    say(`FAILED: ${problems.at(-1) ?? ''}`);
  }
  return { name: `${scenarios} scenarios of random faults break no invariant`, problems };
}

/** What is found is said at once, because a search of hours may be cut off. */
function searchInThread(options: SearchOptions, signal: AbortSignal, progress: (scenarios: number) => void): Promise<Searched> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: options,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    signal.addEventListener('abort', () => worker.postMessage('end'), { once: true });
    worker.on('message', (told: Told) => {
      if ('done' in told) return progress(told.done);
      if ('found' in told) return sayFound(told.found);
      resolve(told.ended);
      void worker.terminate();
    });
    worker.once('error', reject);
  });
}

async function searchAsTold(): Promise<void> {
  const tell = (told: Told): void => parentPort?.postMessage(told);
  let isToEnd = false;
  parentPort?.once('message', () => (isToEnd = true));
  const ended = await search(workerData as SearchOptions, {
    found: (found) => tell({ found }),
    progress: (done) => tell({ done }),
    isToEnd: () => isToEnd,
  });
  tell({ ended });
}

function sayFound({ seed, violations, faults }: Found): void {
  say(`\nVIOLATION ${violations[0] ?? ''}`);
  for (const line of faults) say(`  ${line}`);
  say(`  npm run sim -- --seed ${seed}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
