// `npm run bench -- NAME`: measurements on a real cluster in namespaces. Never part of the tests: a slow machine is not a broken program.

import { mkdirSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../../deploy/lab/command.js';
import { bringUp, openLab, takeDown } from '../../deploy/lab/lab.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { QEMU_VERSIONS, type QemuVersion } from '../../deploy/lab/tree.js';
import { benchFailover, type FailoverResult } from './failover.js';
import { benchFaults } from './faults.js';

interface Options {
  readonly rounds: number;
  readonly lab?: string;
  readonly qemu: QemuVersion;
}

const beganMs = performance.now();

function say(line: string): void {
  process.stderr.write(`[${((performance.now() - beganMs) / 1000).toFixed(1).padStart(6)} s] ${line}\n`);
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value <= 10_000) return value;
  throw new InvalidArgumentError('a whole number from 1 to 10000');
}

/** On a lab of its own, or on one that is there already. */
async function onLab(options: Options, measure: (plan: LabPlan) => Promise<FailoverResult>): Promise<void> {
  const own = options.lab === undefined;
  const name = options.lab ?? `bench-${process.pid}`;
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interruption.abort());
  mkdirSync('/run/colo-lab', { recursive: true });
  try {
    const plan = own
      ? await bringUp({ name, hostCount: 3, qemu: options.qemu, vm: 'demo', report: say, signal: interruption.signal })
      : openLab(name);
    const interrupted = new Promise<never>((_, reject) =>
      interruption.signal.addEventListener('abort', () => reject(new Error('interrupted'))),
    );
    const result = await Promise.race([measure(plan), interrupted]);
    process.stdout.write(result.text);
    process.exitCode = result.held ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  } finally {
    if (own) await takeDown(name);
  }
  process.exit();
}

const program = new Command('bench').description('measurements on a real cluster in namespaces');

program
  .command('failover')
  .description('kill the primary and the secondary in turn: time to the verdict, to running alone, gap of a client')
  .option('-n, --rounds <count>', 'how often each', count, 10)
  .option('--lab <name>', 'use this lab, which is up, instead of an own one')
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((options: Options) => onLab(options, (plan) => benchFailover(plan, options.rounds, say)));

program
  .command('faults')
  .description('every fault of the table, done to the primary and to the secondary: who goes on, how soon, what a client notices')
  .option('-n, --rounds <count>', 'how often each', count, 1)
  .option('--only <text>', 'only faults whose name contains this')
  .option('--lab <name>', 'use this lab, which is up, instead of an own one')
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((options: Options & { readonly only?: string }) =>
    onLab(options, (plan) => benchFaults(plan, options.rounds, options.only ?? null, say)),
  );

await program.parseAsync();
