// `npm run chaos -- --minutes M --seed S [--name LAB]`: a real cluster under random faults, and clients whose every operation is checked. Ends
// with 0 only if no rule was broken; else it keeps the evidence and says how to run the same plan again.

import { mkdirSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../../deploy/lab/command.js';
import { bringUp, openLab, takeDown } from '../../deploy/lab/lab.js';
import { runChaos } from './run.js';

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly name?: string;
}

const VM = 'demo';
const beganMs = performance.now();

function say(line: string): void {
  process.stderr.write(`[${((performance.now() - beganMs) / 1000).toFixed(1).padStart(6)} s] ${line}\n`);
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('a number above 0');
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw new InvalidArgumentError('a whole number from 0 to 4294967295');
}

const options = new Command('chaos')
  .description('a real cluster under random faults, with clients whose history is checked')
  .option('--minutes <minutes>', 'how long faults go on', positive, 1)
  .option('--seed <seed>', 'of the plan of faults', whole, Math.floor(Math.random() * 1_000_000))
  .option('--name <lab>', 'use this lab, which is up with the VM demo, instead of an own one')
  .parse()
  .opts<Options>();

const own = options.name === undefined;
const name = options.name ?? `chaos-${process.pid}`;
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interruption.abort());
mkdirSync('/run/colo-lab', { recursive: true });
try {
  const { signal } = interruption;
  const plan = own ? await bringUp({ name, hostCount: 3, qemu: '11.1', vm: VM, report: say, signal }) : openLab(name);
  const { violations, summary, folder } = await runChaos({ plan, vm: VM, ...options, report: say, signal });
  process.stdout.write(`${summary}\n`);
  if (folder !== null)
    process.stdout.write(
      `logs, records, history and the plan of faults: ${folder}\nagain: npm run chaos -- --minutes ${options.minutes} --seed ${options.seed}\n`,
    );
  process.exitCode = violations.length === 0 && !signal.aborted ? 0 : 1;
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
} finally {
  if (own) await takeDown(name);
}
process.exit();
