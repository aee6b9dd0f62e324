// The benches of the control plane as commands: each brings up what it needs by itself.

import { InvalidArgumentError, type Command } from 'commander';
import { messageOf } from '../../deploy/lab/command.js';
import { QEMU_VERSIONS } from '../../deploy/lab/tree.js';
import { benchPriorities } from './detection/priorities.js';
import type { BenchResult, Interruption } from './own-lab.js';
import { benchSteps, type StepsOptions } from './steps/main.js';
import type { Part } from './steps/table.js';
import { benchUpgrade } from './upgrade.js';

type Report = (line: string) => void;
type StepsFlags = Pick<StepsOptions, 'qemu' | 'only' | 'steps' | 'part'>;

function part(text: string): Part {
  const [, number, of] = (/^(\d{1,3})\/(\d{1,3})$/.exec(text) ?? []).map(Number);
  if (number !== undefined && of !== undefined && number >= 1 && number <= of) return { number, of };
  throw new InvalidArgumentError('a number, a slash and how many there are, as in 2/3');
}

const words = (text: string): readonly string[] => text.split(',').filter((each) => each !== '');

async function carryOut(bench: (interruption: Interruption) => Promise<BenchResult>): Promise<never> {
  const interruption = new AbortController();
  const hurry = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => (interruption.signal.aborted ? hurry.abort() : interruption.abort()));
  try {
    const { text, held } = await bench({ signal: interruption.signal, hurry: hurry.signal });
    process.stdout.write(text);
    process.exitCode = held ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  }
  process.exit();
}

export function addControlPlaneCommands(program: Command, report: Report, count: (text: string) => number): void {
  program
    .command('priorities')
    .description(
      'agents beside busy loops, with groups, nice and real time side by side: how late their beats are, how soon they notice a cut',
    )
    .option('-n, --rounds <count>', 'how often each', count, 10)
    .option('--seconds <count>', 'how long they are listened to in each round', count, 3)
    .action((options: { readonly rounds: number; readonly seconds: number }) =>
      carryOut(({ signal }) => benchPriorities({ ...options, report, signal })),
    );

  program
    .command('upgrade')
    .description(
      'the package upgraded on three booted Debian 13 under a protected VM: what a client waits meanwhile, and as long without it',
    )
    .option('-n, --rounds <count>', 'how many upgrades', count, 6)
    .action(({ rounds }: { readonly rounds: number }) => carryOut(({ signal }) => benchUpgrade({ rounds, report, signal })));

  program
    .command('steps')
    .description('the agent is killed before and after every step of every procedure: each comes to its end exactly once')
    .option('--only <courses>', 'solo, promote, live, cold, or several with commas', words, [])
    .option('--steps <text...>', 'only places whose name contains one of these, for example rollback-protection', [])
    .option('--part <number/count>', 'only this one of so many parts of the table', part, { number: 1, of: 1 })
    .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
    .action((options: StepsFlags) => carryOut((interruption) => benchSteps({ ...options, ...interruption, report })));
}
