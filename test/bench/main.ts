// `npm run bench -- NAME`: measurements on a real cluster in namespaces. Never part of the tests: a slow machine is not a broken program.

import { mkdirSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../../deploy/lab/command.js';
import { bringUp, openLab, takeDown } from '../../deploy/lab/lab.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import type { Role } from '../../deploy/lab/sides.js';
import { QEMU_VERSIONS, type QemuVersion } from '../../deploy/lab/tree.js';
import { benchCalm } from './calm/bench.js';
import { benchCompare, COMPARE_SETTINGS, parseSettings } from './compare.js';
import { benchFailover, type FailoverResult } from './failover.js';
import { addControlPlaneCommands } from './control-plane.js';
import { announcement, benchFaults } from './faults/bench.js';
import { benchOutages } from './outages/bench.js';
import { FAULT_NAMES, PLACES, type Choice, type Place } from './faults/table.js';

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

const countOrNone = (text: string): number => (text === '0' ? 0 : count(text));

/** On a lab of its own, or on one that is there already. `lastWords`: it prints what it has when interrupted; a second time ends it at once. */
async function onLab(
  options: Options,
  measure: (plan: LabPlan, signal: AbortSignal) => Promise<FailoverResult>,
  lastWords = false,
  vm: string | null = 'demo',
): Promise<void> {
  const own = options.lab === undefined;
  const name = options.lab ?? `bench-${process.pid}`;
  const interruption = new AbortController();
  const hurry = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => (interruption.signal.aborted ? hurry.abort() : interruption.abort()));
  mkdirSync('/run/colo-lab', { recursive: true });
  try {
    const plan = own
      ? await bringUp({ name, hostCount: 3, qemu: options.qemu, vm, report: say, signal: interruption.signal })
      : openLab(name);
    const interrupted = new Promise<never>((_, reject) => {
      const end = (): void => reject(new Error('interrupted'));
      hurry.signal.addEventListener('abort', end);
      if (!lastWords) interruption.signal.addEventListener('abort', end);
    });
    const result = await Promise.race([measure(plan, interruption.signal), interrupted]);
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

interface FaultsFlags extends Options {
  readonly only?: readonly string[];
  readonly role?: Role;
  readonly place?: Place;
  readonly targets?: true;
  readonly output: 'text' | 'json';
}

program
  .command('faults')
  .description('every fault of the table, with leaders on the struck host or elsewhere: who goes on, how soon, what a client notices')
  .option('-n, --rounds <count>', 'how often each', count, 1)
  .option('--only <text...>', `only faults whose name contains one of these: ${FAULT_NAMES.join('; ')}`)
  .addOption(new Option('--role <role>', 'only strikes at this side').choices(['primary', 'secondary']))
  .addOption(new Option('--place <place>', 'only with these leaders on the struck host').choices(PLACES))
  .option('--targets', 'only what a time is promised for')
  .addOption(new Option('-o, --output <format>', 'of the result').choices(['text', 'json']).default('text'))
  .option('--lab <name>', 'use this lab, which is up, instead of an own one')
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((flags: FaultsFlags) => {
    const choice: Choice = {
      only: flags.only ?? [],
      roles: flags.role === undefined ? ['primary', 'secondary'] : [flags.role],
      places: flags.place === undefined ? PLACES : [flags.place],
      targetsOnly: flags.targets === true,
    };
    const { rounds } = flags;
    const json = flags.output === 'json';
    say(announcement(choice, rounds));
    return onLab(flags, (plan, signal) => benchFaults(plan, { rounds, choice, json, report: say, signal }), true);
  });

interface OutagesFlags extends Options {
  readonly seconds: readonly string[];
  readonly only?: readonly string[];
  readonly faults: number;
}

program
  .command('outages')
  .description(
    'etcd loses one member, its leader, its majority, all: nobody touches the guest, and a fault meanwhile is acted on afterwards',
  )
  .option('--seconds <count...>', 'how long each lasts', ['10', '30'])
  .option('-n, --rounds <count>', 'how often each', count, 1)
  .option('--only <text...>', 'only outages whose name contains one of these, for example "all SIGSTOP"')
  .option('--faults <count>', 'how often each fault while the majority is away; 0 = none', countOrNone, 2)
  .option('--lab <name>', 'use this lab, which is up, instead of an own one')
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((flags: OutagesFlags) => {
    const { rounds, faults, only = [] } = flags;
    const seconds = flags.seconds.map(count);
    return onLab(flags, (plan, signal) => benchOutages(plan, { seconds, rounds, faults, only, report: say, signal }), true);
  });

interface CalmFlags extends Options {
  readonly minutes: number;
  readonly seed: number;
  readonly away: number;
  readonly blind: number;
}

program
  .command('calm')
  .description(
    'processors taken, daemons paused, frames lost, agents away, all hosts lost at once: no verdict, and the guest notices nothing',
  )
  .option('--minutes <count>', 'how long the storm lasts; 0 = none', countOrNone, 10)
  .option('--seed <number>', 'of the pauses', count, 1)
  .option('--away <seconds>', 'how long one agent is away', count, 30)
  .option('--blind <seconds>', 'how long all hosts are lost at once', count, 5)
  .option('--lab <name>', 'use this lab, which is up, instead of an own one')
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((flags: CalmFlags) => {
    const { minutes, seed } = flags;
    const options = { minutes, seed, aloneSeconds: flags.away, allSeconds: flags.blind, report: say };
    return onLab(flags, (plan, signal) => benchCalm(plan, { ...options, signal }), true);
  });

addControlPlaneCommands(program, say, count);

program
  .command('compare')
  .description('settings of compare and checkpoints side by side: what a query of the guest itself waits, and what its clients wait')
  .option('-n, --rounds <count>', 'queries for each setting', count, 50)
  .option('--settings <list>', 'timeout:scan:delay in milliseconds, with commas between settings', COMPARE_SETTINGS)
  .option('--qemu <version>', QEMU_VERSIONS.join(' or '), '11.1')
  .action((options: Options & { readonly settings: string }) =>
    onLab(options, (plan) => benchCompare(plan, options.qemu, parseSettings(options.settings), options.rounds, say), false, null),
  );

await program.parseAsync();
