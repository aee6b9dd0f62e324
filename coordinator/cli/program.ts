// The command line of coloctl: which commands and options there are, and which code each ends with. It does nothing by itself; the other
// files of this folder do the work.

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { ok, type Result } from '../../shared/core/result.js';
import { insecureLab } from '../../shared/io/rpc/security.js';
import { resolveAccess, type AccessFlags } from './access.js';
import { CERTS_OUTPUTS, showCertificates } from './certs.js';
import { addClusterCommands, addRenewCommand, type Alone } from './cluster.js';
import { completionFor, SHELLS, type Shell } from './completion.js';
import { DOCTOR_OUTPUTS, showFindings, type DoctorOutput } from './doctor/show.js';
import { EXIT, EXIT_CODES_HELP } from './exit-codes.js';
import { explainVm } from './explain.js';
import { HISTORY_OUTPUTS, showHistory, type HistoryOutput } from './history.js';
import { manualOf } from './manual.js';
import { forceFailover, recover } from './recover.js';
import { DEFAULT_ENDPOINTS, openSession, type Session } from './session.js';
import { showStatus, STATUS_OUTPUTS, watchStatus, type StatusOutput } from './status.js';
import { parseDuration } from './text.js';
import { changeVm, defineVm, LIST_OUTPUTS, SHOW_OUTPUTS, showVm, listVms, type ChangeOptions, type Wish } from './vm.js';
import { failure, type CliWorld, type Failure } from './world.js';

type Work = (session: Session) => Promise<number | Failure>;

interface ChangeFlags {
  readonly wait?: boolean;
  readonly timeout: number;
  readonly dryRun?: boolean;
}

interface DefineFlags {
  readonly file: string;
  readonly start?: boolean;
  readonly identicalImages?: boolean;
  readonly uid?: string;
}

/** Runs one command line (without node and script) and answers the exit code. Never throws for what a user typed. */
export async function run(world: CliWorld, argv: readonly string[]): Promise<number> {
  let exit: number = EXIT.ok;
  const local = (code: number): void => void (exit = code);
  const alone: Alone = async (work) => {
    const done = await work();
    exit = typeof done === 'number' ? done : report(world, done);
  };
  const perform = async (work: Work): Promise<void> => {
    const access = resolveAccess(world, program.opts<AccessFlags>());
    if (!access.ok) return void (exit = report(world, failure(EXIT.usage, access.error)));
    const security = access.value.tls === null ? ok(insecureLab) : world.secure(access.value.tls);
    if (!security.ok) return void (exit = report(world, failure(EXIT.error, security.error)));
    const session = openSession(world, access.value.endpoints, security.value);
    try {
      const done = await work(session);
      exit = typeof done === 'number' ? done : report(world, done);
    } finally {
      session.close();
    }
  };
  const program = build(world, local, perform, alone);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exit;
  } catch (error) {
    // Commander has already said what is wrong with the command line.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return report(world, failure(EXIT.error, error instanceof Error ? (error.stack ?? error.message) : String(error)));
  }
}

function report(world: CliWorld, failure: Failure): number {
  world.err(`coloctl: ${failure.message}\n`);
  return failure.exit;
}

function build(world: CliWorld, local: (exit: number) => void, perform: (work: Work) => Promise<void>, alone: Alone): Command {
  const program = new Command('coloctl')
    .description('Keeps an eye, and a hand, on virtual machines that survive the death of their host.')
    .option('--endpoints <list>', `coordinators as ADDRESS:PORT,... (or COLO_ENDPOINTS; default ${DEFAULT_ENDPOINTS})`)
    .option(
      '--config <file>',
      'endpoints and certificate (or COLO_CONFIG; default ~/.config/colo/coloctl.yaml, then /etc/colo-ha/coloctl.yaml)',
    )
    .option('--ca <file>', 'the authority that coordinators are certified by (or COLO_CA)')
    .option('--cert <file>', 'your certificate (or COLO_CERT)')
    .option('--key <file>', 'its key (or COLO_KEY)')
    .option('--insecure-lab', 'call coordinators that run without certificates (or COLO_INSECURE_LAB=1)')
    .version(world.version, '-V, --version')
    .addHelpText('after', `\n${EXIT_CODES_HELP}`)
    .exitOverride()
    .configureOutput({ writeOut: (text) => world.out(text), writeErr: (text) => world.err(text) })
    .showHelpAfterError('(coloctl --help shows what there is)');

  program
    .command('status')
    .description('VMs, hosts and coordinators; the exit code says how bad it is')
    .option('-w, --watch', 'follow until interrupted')
    .addOption(output(STATUS_OUTPUTS))
    .action((flags: { readonly watch?: boolean; readonly output: StatusOutput }) =>
      perform((session) => (flags.watch === true ? watchStatus(world, session, flags.output) : showStatus(world, session, flags.output))),
    );

  program
    .command('history')
    .description('what happened, why, and how long it took; oldest first')
    .argument('[vm]', 'only this VM')
    .option('--since <duration>', 'only the last 30m, 1h, 7d, ...', duration)
    .option('-n, --limit <number>', 'only the newest so many', count)
    .addOption(output(HISTORY_OUTPUTS))
    .action((vm: string | undefined, flags: { readonly since?: number; readonly limit?: number; readonly output: HistoryOutput }) =>
      perform((session) =>
        showHistory(world, session, { vm: vm ?? null, sinceMs: flags.since ?? null, limit: flags.limit ?? null, output: flags.output }),
      ),
    );

  program
    .command('explain')
    .description('why a VM is as it is: the row of the table that holds, and what each side looks like')
    .argument('<vm>')
    .action((vm: string) => perform((session) => explainVm(world, session, vm)));

  program
    .command('failover')
    .description('choose a side where no choice is safe, because you know that a host is powered off')
    .argument('<vm>')
    .requiredOption('--force', 'yes, what only the other side has is lost')
    .requiredOption('--declare-off <host>', 'a host that is powered off, for certain; can be given again', collect)
    .option('--dry-run', 'say what would be decided, and change nothing')
    .action((vm: string, flags: { readonly declareOff: readonly string[]; readonly dryRun?: boolean }) =>
      perform((session) => forceFailover(world, session, vm, flags.declareOff, flags.dryRun === true)),
    );

  program
    .command('recover')
    .description('after etcd was restored or emptied: make it say what the hosts have')
    .argument('[vm...]', 'only these VMs')
    .option('--without <host>', 'a host that is powered off, for certain; can be given again', collect)
    .option('--disk <host>', 'of one VM that does not run: the host whose disk is to be the valid one')
    .option('--dry-run', 'say what is found and what would be written')
    .action((vms: readonly string[], flags: { readonly without?: readonly string[]; readonly disk?: string; readonly dryRun?: boolean }) =>
      perform((session) =>
        recover(world, session, { vms, without: flags.without ?? [], disk: flags.disk ?? null, dryRun: flags.dryRun === true }),
      ),
    );

  addVmCommands(program.command('vm').description('define, look at and change VMs'), world, perform);

  addClusterCommands(program, world, alone);
  const certs = program.command('certs').description('certificates of this cluster');
  certs
    .command('show')
    .description("your own and those of the cluster's daemons; exit code 3 when one expires within 30 days or is not taken up")
    .addOption(output(CERTS_OUTPUTS))
    .action((flags: { readonly output: (typeof CERTS_OUTPUTS)[number] }) =>
      perform((session) => showCertificates(world, session, flags.output)),
    );
  addRenewCommand(certs, world, alone);

  program
    .command('doctor')
    .description('what this machine lacks for colo-ha, or may regret; exit code 0 ready, 3 with doubts, 1 something is missing')
    .option('--agent <file>', 'configuration of the agent', '/etc/colo-ha/agent.yaml')
    .option('--coordinator <file>', 'configuration of the coordinator', '/etc/colo-ha/coordinator.yaml')
    .addOption(output(DOCTOR_OUTPUTS))
    .action(async (flags: { readonly agent: string; readonly coordinator: string; readonly output: DoctorOutput }) =>
      local(showFindings(world, await world.lookAtHost(flags), flags.output)),
    );

  program
    .command('version')
    .description('the version of coloctl')
    .action(() => world.out(`coloctl ${world.version}\n`));

  program
    .command('completion')
    .description('completion for a shell')
    .argument('<shell>', SHELLS.join(', '), shell)
    .action((chosen: Shell) => world.out(completionFor(chosen, program)));

  program
    .command('manual')
    .description('the manual page of coloctl, as troff: coloctl manual | man -l -')
    .action(() => world.out(manualOf(program, world.version)));
  return program;
}

function addVmCommands(group: Command, world: CliWorld, perform: (work: Work) => Promise<void>): void {
  changing(group.command('define'))
    .description('define a VM from a file (see deploy/examples/vm.yaml)')
    .requiredOption('-f, --file <file>', 'the VM file; - reads standard input')
    .option('--start', 'start it at once')
    .option('--identical-images', 'the images on all hosts are identical: the first pair is made without copying a disk')
    .option('--uid <uid>', 'define again a VM that etcd has forgotten and hosts have not (see coloctl recover)', uid)
    .action((flags: ChangeFlags & DefineFlags) => {
      const identicalImages = flags.identicalImages === true;
      const options = { ...changeOptions(flags), start: flags.start === true, identicalImages, uid: flags.uid ?? null };
      return perform((session) => defineVm(world, session, flags.file, options));
    });

  group
    .command('list')
    .description('all VMs')
    .addOption(output(LIST_OUTPUTS))
    .action((flags: { readonly output: (typeof LIST_OUTPUTS)[number] }) => perform((session) => listVms(world, session, flags.output)));

  group
    .command('show')
    .description('one VM; -o yaml writes its definition as a VM file')
    .argument('<vm>')
    .addOption(output(SHOW_OUTPUTS))
    .action((name: string, flags: { readonly output: (typeof SHOW_OUTPUTS)[number] }) =>
      perform((session) => showVm(world, session, name, flags.output)),
    );

  const wishes: readonly (readonly [Wish, string])[] = [
    ['start', 'let it run, protected if that is wanted'],
    ['stop', 'shut the guest down; its disks stay'],
    ['protect', 'keep a secondary beside it whenever it runs'],
    ['unprotect', 'let it run alone'],
    ['release', 'protect it again although it failed over too often within an hour'],
    ['delete', 'forget a stopped VM; its images stay on the hosts and its history in etcd'],
  ];
  for (const [wish, description] of wishes) {
    changing(group.command(wish))
      .description(description)
      .argument('<vm>')
      .action((name: string, flags: ChangeFlags) => perform((session) => changeVm(world, session, name, wish, changeOptions(flags))));
  }
}

function changing(command: Command): Command {
  return command
    .option('--wait', 'wait until it is done')
    .option('--timeout <duration>', 'the longest wait', duration, 120_000)
    .option('--dry-run', 'say what would be refused, and change nothing');
}

function changeOptions(flags: ChangeFlags): ChangeOptions {
  return { dryRun: flags.dryRun === true, waitMs: flags.wait === true ? flags.timeout : null };
}

function output(choices: readonly [string, ...string[]]): Option {
  return new Option('-o, --output <form>').choices(choices).default(choices[0]);
}

function duration(text: string): number {
  return valid(parseDuration(text));
}

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a number from 1 on.');
  return Number(text);
}

function collect(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

function uid(text: string): string {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new InvalidArgumentError('It must be the 32 hex digits that coloctl status says.');
  return text;
}

function shell(text: string): Shell {
  const known = SHELLS.find((each) => each === text);
  if (known === undefined) throw new InvalidArgumentError(`It must be one of ${SHELLS.join(', ')}.`);
  return known;
}

function valid<T>(parsed: Result<T, string>): T {
  if (!parsed.ok) throw new InvalidArgumentError(parsed.error);
  return parsed.value;
}
