// A small Debian booted in systemd-nspawn, as a host that an operator has. What it writes is in memory and gone with it. It dies with the
// process that booted it, however that ends.

import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { LabError, waitFor } from '../lab/command.js';
import { tree } from '../lab/tree.js';

const BOOT_MS = 90_000;
const COMMAND_MS = 120_000;
const NEEDED = ['systemd-nspawn', 'nsenter', 'setpriv', 'mmdebstrap'];

export const SUITES = ['bookworm', 'trixie'] as const;
export type Suite = (typeof SUITES)[number];

export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface MachineOptions {
  readonly suite: Suite;
  /** Default: the name of this process. */
  readonly hostname?: string;
  /** A named network namespace of this machine (`ip netns`) that the machine is to live in; default: a fresh one. */
  readonly namespace?: string;
  /** Folders and files of this machine that it sees, read-only, under the same name. */
  readonly visible?: readonly string[];
}

/** Why no machine can be booted here; null = one can. */
export function whyNoMachine(): string | null {
  if (process.getuid?.() !== 0) return 'booting a systemd needs root';
  const missing = NEEDED.filter((program) => !isInstalled(program));
  return missing.length === 0 ? null : `needs ${missing.join(', ')} (apt-get install systemd-container mmdebstrap)`;
}

export function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

/** Builds the .deb of this tree, in another version if one is given, and answers its path. */
export function buildPackage(version?: string): string {
  const environment = version === undefined ? {} : { COLO_PACKAGE_VERSION: version };
  const said = execFileSync('sh', [join(tree, 'deploy/package/build.sh')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  return said.toString().trim().split('\n').at(-1) ?? '';
}

export class Machine {
  /** The root of its files, as this machine sees them. */
  readonly root: string;
  readonly #folder: string;
  readonly #container: ChildProcess;
  #leader = 0;

  private constructor(folder: string, container: ChildProcess) {
    this.#folder = folder;
    this.root = join(folder, 'root');
    this.#container = container;
  }

  static async boot(options: MachineOptions): Promise<Machine> {
    // The first time this unpacks a Debian; afterwards it only says where.
    const base = execFileSync('sh', [join(tree, 'deploy/machines/root.sh'), options.suite], { stdio: ['ignore', 'pipe', 'inherit'] })
      .toString()
      .trim();
    const hostname = options.hostname ?? `colo-${process.pid}`;
    const folder = mkdtempSync(join(tmpdir(), 'colo-machine-'));
    const [upper, work, root] = ['upper', 'work', 'root'].map((name) => join(folder, name)) as [string, string, string];
    execFileSync('mount', ['-t', 'tmpfs', 'colo-machine', folder]);
    for (const each of [upper, work, root]) mkdirSync(each);
    execFileSync('mount', ['-t', 'overlay', 'colo-machine', '-o', `lowerdir=${base},upperdir=${upper},workdir=${work}`, root]);
    writeFileSync(join(root, 'etc/hostname'), `${hostname}\n`);
    const console = openSync(join(folder, 'console.log'), 'a');
    const network =
      options.namespace === undefined
        ? ['--private-network']
        : [`--network-namespace-path=/run/netns/${options.namespace}`, '--capability=CAP_NET_ADMIN'];
    const container = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'systemd-nspawn', '--quiet', '--boot', '--directory', root],
        // No machined, no scope of the host's own systemd: it runs also where the host has no systemd.
        ...[`--machine=${hostname}-${basename(folder).toLowerCase()}`, '--register=no', '--keep-unit', ...network],
        ...(options.visible ?? []).map((path) => `--bind-ro=${path}`),
      ],
      { stdio: ['ignore', console, console] },
    );
    closeSync(console);
    const machine = new Machine(folder, container);
    try {
      await waitFor({ what: 'machine that has booted', boundMs: BOOT_MS, everyMs: 100 }, async () =>
        (await machine.#isUp()) ? true : null,
      );
    } catch (error) {
      const said = machine.console();
      await machine.destroy();
      throw new LabError(`${error instanceof Error ? error.message : String(error)}: ${said}`);
    }
    // What udev does on a real machine: taps are for everybody who owns one.
    await machine.must('mkdir -p /dev/net && { [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200; } && chmod 666 /dev/net/tun');
    return machine;
  }

  async #isUp(): Promise<boolean> {
    if (this.#container.exitCode !== null) throw new LabError(`systemd-nspawn ended: ${this.console()}`);
    const children = readFileSync(`/proc/${this.#container.pid}/task/${this.#container.pid}/children`, 'utf8').trim().split(' ');
    this.#leader = Number(children[0]);
    if (!(this.#leader > 0)) return false;
    // Its first process is for a moment still in our own namespaces, where this file is not.
    const { out } = await this.shell('test -e /.recipe && systemctl is-system-running');
    return ['running', 'degraded'].includes(out.trim());
  }

  /** What the machine printed while it booted. */
  console(): string {
    return readFileSync(join(this.#folder, 'console.log'), 'utf8').slice(-4_000);
  }

  run(argv: readonly string[], input: string | null = null): Promise<Answer> {
    const environment = [
      'env',
      '-i',
      '-C',
      '/',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'HOME=/root',
      'LC_ALL=C.UTF-8',
    ];
    return new Promise((resolve) => {
      const child = execFile(
        'nsenter',
        ['--target', String(this.#leader), '--all', '--', ...environment, ...argv],
        { timeout: COMMAND_MS, killSignal: 'SIGKILL', maxBuffer: 16 * 1024 * 1024 },
        (error, out, err) => resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out, err }),
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input ?? '');
    });
  }

  shell(text: string): Promise<Answer> {
    return this.run(['sh', '-c', text]);
  }

  /** Runs what must succeed, and gives its standard output without the last newline. */
  async must(text: string): Promise<string> {
    const { code, out, err } = await this.shell(text);
    if (code !== 0) throw new Error(`${text}: exit code ${code}\n${out}${err}`);
    return out.trim();
  }

  async write(path: string, text: string): Promise<void> {
    const { code, err } = await this.run(['sh', '-c', 'mkdir -p "$(dirname "$0")" && cat >"$0"', path], text);
    if (code !== 0) throw new Error(`${path}: ${err}`);
  }

  /** A file or a folder of this machine, put into that one. */
  copyIn(from: string, to: string): void {
    execFileSync('cp', ['-R', from, join(this.root, to)]);
  }

  /** Puts a .deb in place as an operator does; its dependencies are there already, so no network is needed. */
  async install(deb: string): Promise<Answer> {
    this.copyIn(deb, 'root');
    return this.shell(`apt-get install -y -q --no-install-recommends /root/${basename(deb)}`);
  }

  /** A process of the machine, by the number that this machine knows it by. */
  outerPid(innerPid: number): number {
    const inside = execFileSync('ps', ['-o', 'pid=', '--ppid', String(this.#leader)]).toString();
    const found = inside
      .split('\n')
      .map(Number)
      .find((pid) => pid > 0 && new RegExp(`^NSpid:.*\\t${innerPid}$`, 'm').test(statusOf(pid)));
    if (found === undefined) throw new LabError(`process ${innerPid} of the machine is not to be found`);
    return found;
  }

  /** As if its power were cut. Safe to repeat. */
  async destroy(): Promise<void> {
    if (!existsSync(this.#folder)) return;
    const gone = new Promise<void>((resolve) => {
      if (this.#container.exitCode !== null || this.#container.signalCode !== null) resolve();
      else this.#container.once('exit', () => resolve());
    });
    // With its first process all others of a process namespace end.
    if (this.#container.exitCode === null && this.#leader > 0) process.kill(this.#leader, 'SIGKILL');
    else this.#container.kill('SIGKILL');
    await gone;
    execFileSync('umount', ['--recursive', this.#folder]);
    rmSync(this.#folder, { recursive: true });
  }
}

/** '' = it has just ended. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}
