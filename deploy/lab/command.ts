// Runs programs of the system for the lab. Failures are thrown as LabError, unlike in the product, because here every failure has the
// same consequence: the whole lab is taken away again, in one place.

import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

/** Something that a person can do something about; its message is the whole story. */
export class LabError extends Error {
  override readonly name = 'LabError';
}

export interface RunOptions {
  readonly input?: string;
  readonly deadlineMs?: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const DEADLINE_MS = 20_000;

/** The program's end, whatever its exit status; only a program that cannot be started or that is late is an error. */
export function tryRun(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const shown = [program, ...args].join(' ');
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      [...args],
      {
        timeout: deadlineMs,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        env: { ...process.env, ...options.environment },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ status: 0, stdout, stderr });
        if (options.signal?.aborted === true) return reject(new LabError('interrupted'));
        if (error.killed === true) return reject(new LabError(`${shown}: no end within ${deadlineMs} ms`));
        if (typeof error.code !== 'number') return reject(new LabError(`${shown}: ${error.message}`));
        resolve({ status: error.code, stdout, stderr });
      },
    );
    // A program that ends before it has read all its input is judged by its exit status, not by our broken pipe.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}

/** Standard output; any exit status but 0 is an error that tells what the program said. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await tryRun(program, args, options);
  if (ran.status === 0) return ran.stdout;
  const said = ran.stderr.trim() === '' ? ran.stdout.trim() : ran.stderr.trim();
  throw new LabError(`${[program, ...args].join(' ')}: exit status ${ran.status}: ${said}`);
}

export interface Wait {
  /** Completes "no ... within N ms". */
  readonly what: string;
  readonly boundMs: number;
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
  /** What was there last, for the error. */
  readonly last?: () => string;
}

/** Asks again until the answer is not null. The pause between two asks only spares the processor; the condition decides. */
export async function waitFor<T>(wait: Wait, ask: () => Promise<T | null> | T | null): Promise<T> {
  const giveUpAtMs = performance.now() + wait.boundMs;
  for (;;) {
    if (wait.signal?.aborted === true) throw new LabError('interrupted');
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() > giveUpAtMs) {
      const last = wait.last === undefined ? '' : `: ${wait.last()}`;
      throw new LabError(`no ${wait.what} within ${wait.boundMs} ms${last}`);
    }
    await pause(wait.everyMs ?? 20);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
