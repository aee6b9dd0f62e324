// `npm run lab`: a whole colo-ha cluster on this machine, to play with. Reads the command line, shows progress with the time it took, and
// takes everything away again when bringing it up fails or is interrupted.

import { Command, InvalidArgumentError, Option } from 'commander';
import { LabError, messageOf } from './command.js';
import { bringUp, openLab, recordOf, takeDown } from './lab.js';
import { FEWEST_HOSTS, MOST_HOSTS } from './plan.js';
import { labNames } from './record.js';
import { environmentText, labStatus, statusText } from './status.js';
import { QEMU_VERSIONS, type QemuVersion } from './tree.js';

const EXIT_FAILED = 1;
const EXIT_INTERRUPTED = 130;
const DEFAULT_NAME = process.env['COLO_LAB'] ?? 'demo';
const VM = 'demo';

const beganMs = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
  process.stderr.write(`[${seconds.padStart(5)} s] ${line}\n`);
}

function hostCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= FEWEST_HOSTS && count <= MOST_HOSTS) return count;
  throw new InvalidArgumentError(`from ${FEWEST_HOSTS} (etcd needs a majority) to ${MOST_HOSTS}`);
}

const program = new Command('lab').description('a colo-ha cluster in network namespaces of this machine');
const nameOption = (): Option => new Option('--name <name>', 'which lab').default(DEFAULT_NAME);

program
  .command('up')
  .description('bring a lab up: hosts, etcd, coordinators, agents, and a protected VM "demo"')
  .addOption(nameOption())
  .addOption(new Option('--hosts <count>', 'how many hosts').default(FEWEST_HOSTS).argParser(hostCount))
  .addOption(new Option('--qemu <version>', 'which QEMU').choices(QEMU_VERSIONS).default('11.1'))
  .option('--tls', 'with mutual TLS, also between QEMUs, users in etcd and signed heartbeats')
  .option('--no-vm', 'without the VM')
  .action(async (options: { name: string; hosts: number; qemu: QemuVersion; tls?: true; vm: boolean }) => {
    needRoot();
    const interruption = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      // Also the second and third time: impatience must not break the cleaning up.
      process.on(signal, () => {
        if (!interruption.signal.aborted) say(`${signal}: stopping`);
        interruption.abort();
      });
    }
    const plan = await bringUp({
      name: options.name,
      hostCount: options.hosts,
      qemu: options.qemu,
      tls: options.tls === true,
      vm: options.vm ? VM : null,
      report: say,
      signal: interruption.signal,
    }).catch((error: unknown) => {
      if (interruption.signal.aborted) process.exit(EXIT_INTERRUPTED);
      throw error;
    });
    say(`lab ${plan.name} is up`);
    process.stderr.write(`\n  eval "$(npm run --silent lab -- env --name ${plan.name})"\n  coloctl status\n\n`);
  });

program
  .command('down')
  .description('take a lab away; nothing of it stays')
  .addOption(nameOption())
  .option('--all', 'every lab of this machine')
  .action(async (options: { name: string; all?: true }) => {
    needRoot();
    for (const name of options.all === true ? labNames() : [options.name]) {
      say((await takeDown(name)) ? `lab ${name} is gone` : `there is no lab "${name}"`);
    }
  });

program
  .command('status')
  .description('where everything is and what runs')
  .addOption(nameOption())
  .addOption(new Option('-o, --output <format>', 'as a table or for scripts').choices(['table', 'json']).default('table'))
  .action(async (options: { name: string; output: 'table' | 'json' }) => {
    const status = await labStatus(openLab(options.name), recordOf(options.name));
    process.stdout.write(`${options.output === 'json' ? JSON.stringify(status, null, 2) : statusText(status)}\n`);
  });

program
  .command('env')
  .description('what to export so that coloctl talks to a lab: eval "$(npm run --silent lab -- env)"')
  .addOption(nameOption())
  .action((options: { name: string }) => {
    process.stdout.write(`${environmentText(openLab(options.name))}\n`);
  });

program
  .command('list')
  .description('the labs of this machine')
  .action(() => {
    for (const name of labNames()) process.stdout.write(`${name}\n`);
  });

function needRoot(): void {
  if (process.getuid?.() !== 0) throw new LabError('namespaces and taps need root: run this with sudo');
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(
    `${error instanceof LabError ? error.message : error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`,
  );
  process.exitCode = EXIT_FAILED;
}
