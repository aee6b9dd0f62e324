// A small Debian 13 booted in systemd-nspawn, with this tree read-only in /srv/colo. What it writes is in memory and gone with it. It dies
// with the process that booted it, however that ends.

import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../../support/wait.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const TREE = join(HERE, '../../..');
const BOOT_MS = 60_000;
const COMMAND_MS = 120_000;
const NEEDED = ['systemd-nspawn', 'nsenter', 'setpriv', 'mmdebstrap'];

export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Why no machine can be booted here; null = one can. */
export function whyNoMachine(): string | null {
  if (process.getuid?.() !== 0) return 'booting a systemd needs root';
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const missing = NEEDED.filter((program) => !folders.some((folder) => existsSync(join(folder, program))));
  return missing.length === 0 ? null : `needs ${missing.join(', ')} (apt-get install systemd-container mmdebstrap)`;
}

export class Machine {
  readonly #folder: string;
  readonly #container: ChildProcess;
  #leader = 0;

  private constructor(folder: string, container: ChildProcess) {
    this.#folder = folder;
    this.#container = container;
  }

  static async boot(): Promise<Machine> {
    // The first time this unpacks a Debian; afterwards it only says where.
    const base = execFileSync('sh', [join(HERE, 'root.sh')], { stdio: ['ignore', 'pipe', 'inherit'] })
      .toString()
      .trim();
    const folder = mkdtempSync(join(tmpdir(), 'colo-machine-'));
    const [upper, work, root] = ['upper', 'work', 'root'].map((name) => join(folder, name)) as [string, string, string];
    execFileSync('mount', ['-t', 'tmpfs', 'colo-machine', folder]);
    for (const each of [upper, work, root]) mkdirSync(each);
    execFileSync('mount', ['-t', 'overlay', 'colo-machine', '-o', `lowerdir=${base},upperdir=${upper},workdir=${work}`, root]);
    const console = openSync(join(folder, 'console.log'), 'a');
    const container = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'systemd-nspawn', '--quiet', '--boot', '--directory', root, `--machine=colo-${process.pid}`],
        // No machined, no scope of the host's own systemd, and a network of its own: it runs also where the host has no systemd.
        ...['--register=no', '--keep-unit', '--private-network', `--bind-ro=${TREE}:/srv/colo`],
      ],
      { stdio: ['ignore', console, console] },
    );
    closeSync(console);
    const machine = new Machine(folder, container);
    try {
      await waitFor(() => machine.#isUp(), { what: 'the machine to boot', boundMs: BOOT_MS, context: () => machine.console() });
    } catch (error) {
      await machine.destroy();
      throw error;
    }
    return machine;
  }

  async #isUp(): Promise<boolean> {
    const children = readFileSync(`/proc/${this.#container.pid}/task/${this.#container.pid}/children`, 'utf8').trim().split(' ');
    this.#leader = Number(children[0]);
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

  /** As if its power were cut. */
  async destroy(): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      if (this.#container.exitCode !== null || this.#container.signalCode !== null) resolve();
      else this.#container.once('exit', () => resolve());
    });
    // With its first process all others of a process namespace end.
    if (this.#leader > 0) process.kill(this.#leader, 'SIGKILL');
    else this.#container.kill('SIGKILL');
    await gone;
    execFileSync('umount', ['--recursive', this.#folder]);
    rmSync(this.#folder, { recursive: true });
  }
}
