// `npm run sim`: a search over seeds with all cores, or one seed again with its event log. It prints what was done, how fast, what was
// covered, and for each failure the one line that repeats it.

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { TABLE } from '../../../coordinator/core/decide.js';
import { inOwnTurn } from '../world/drain.js';
import { coverageTable, merge, nothingCovered } from './coverage.js';
import { describePlan, planOf, runScenario } from './scenario.js';
import { search, type Searched, type SearchOptions } from './search.js';

const HELP = `npm run sim -- --seed S          runs one scenario and prints its event log
npm run sim -- --seconds N       searches for so long, with all cores
npm run sim -- --scenarios N     searches so many scenarios
  --from S                       first seed (default: from the clock)
  --coverage                     prints the whole coverage table`;

if (isMainThread) await main();
else parentPort?.postMessage(await search(workerData as SearchOptions));

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      seconds: { type: 'string' },
      scenarios: { type: 'string' },
      from: { type: 'string' },
      coverage: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return say(HELP);
  if (values.seed !== undefined) return replay(Number(values.seed));
  const from = values.from === undefined ? Math.floor(Date.now() / 1_000) % 1_000_000_000 : Number(values.from);
  const scenarios = values.scenarios === undefined ? Infinity : Number(values.scenarios);
  const seconds = values.seconds === undefined ? (scenarios === Infinity ? 60 : Infinity) : Number(values.seconds);
  await searchAll(from, scenarios, seconds, values.coverage);
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
  const outcome = await inOwnTurn(() => runScenario(plan, { trace: say, uncaught: () => uncaught.splice(0) }));
  say(`${outcome.events} events in ${(outcome.virtualMs / 1_000).toFixed(1)} virtual s; ${outcome.violations.length} violations`);
  for (const each of [...outcome.violations, ...outcome.held.map((held) => `held: ${held}`)]) say(`  ${each}`);
  process.exitCode = outcome.violations.length > 0 ? 1 : 0;
}

async function searchAll(from: number, scenarios: number, seconds: number, wholeTable: boolean): Promise<void> {
  const threads = availableParallelism();
  const startedAt = Date.now();
  const parts = await Promise.all(
    Array.from({ length: threads }, (_, k) =>
      searchInThread({
        firstSeed: from + k,
        step: threads,
        most: Math.ceil(scenarios / threads),
        untilMs: seconds * 1_000,
        failures: 10,
        shrinks: true,
      }),
    ),
  );
  const tookS = (Date.now() - startedAt) / 1_000;
  const total = (pick: (part: Searched) => number): number => parts.reduce((sum, part) => sum + pick(part), 0);
  const coverage = nothingCovered();
  for (const part of parts) merge(coverage, part.coverage);
  const rows = TABLE.map((row) => row.name);
  const lines = coverageTable(coverage, rows);
  for (const line of wholeTable ? lines : lines.slice(-2)) say(line);
  const held = new Map<string, number>();
  for (const part of parts) for (const [why, times] of Object.entries(part.held)) held.set(why, (held.get(why) ?? 0) + times);
  for (const [why, times] of held) say(`at the end ${times} times for an operator: ${why}`);
  const all = total((part) => part.scenarios);
  say(
    `${all} scenarios from seed ${from} in ${tookS.toFixed(1)} s on ${threads} threads: ${(all / tookS).toFixed(1)} scenarios/s, ` +
      `${Math.round(total((part) => part.events) / tookS)} events/s, ${(total((part) => part.virtualMs) / 3_600_000).toFixed(1)} virtual hours`,
  );
  const found = parts.flatMap((part) => part.found);
  for (const { seed, violations, faults } of found) {
    say(`\nVIOLATION ${violations[0] ?? ''}`);
    for (const line of faults) say(`  ${line}`);
    say(`  npm run sim -- --seed ${seed}`);
  }
  say(`${found.length} violations`);
  process.exitCode = found.length > 0 ? 1 : 0;
}

function searchInThread(options: SearchOptions): Promise<Searched> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: options });
    worker.once('message', (part: Searched) => {
      resolve(part);
      void worker.terminate();
    });
    worker.once('error', reject);
  });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
