// Starts probers inside the client's namespace and reads what they write. The demo, the tests and the benchmark all look at the guest
// through this one window.

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { LabError, waitFor } from './command.js';
import type { LabPlan } from './plan.js';
import { parseProbeLog, type ProbeKind, type ProbeLine } from './probe-log.js';
import { programs } from './tree.js';

export interface ProberOptions {
  readonly probe: ProbeKind;
  /** Default: the guest of the VM `demo`. */
  readonly address?: string;
  /** Default 30; 0 for one exchange after the other. */
  readonly periodMs?: number;
  /** Default 256 KiB. */
  readonly bytes?: number;
  readonly reconnect?: boolean;
  /** Default: none. */
  readonly answerBoundMs?: number;
}

export interface Prober {
  readonly file: string;
  /** All that has been written until now. */
  lines(): readonly ProbeLine[];
  /** Until it has written so many answers (or transfers, or guest queries) more than now. */
  waitForMore(count: number, boundMs: number, signal?: AbortSignal): Promise<void>;
  /** Ends it, and gives all lines. */
  stop(): Promise<readonly ProbeLine[]>;
}

const STOP_MS = 5_000;
const NEWLINE = 0x0a;
let started = 0;

export function startProber(plan: LabPlan, options: ProberOptions): Prober {
  started += 1;
  const file = join(plan.runFolder, `probe-${process.pid}-${started}-${options.probe}.jsonl`);
  const output = openSync(file, 'w');
  const child = spawn('ip', ['netns', 'exec', plan.client.namespace, process.execPath, programs.prober, ...argumentsOf(plan, options)], {
    stdio: ['pipe', output, 'inherit'],
  });
  closeSync(output);
  let failure: Error | null = null;
  child.once('error', (error) => (failure = error));

  const read = reader(file);
  const lines = (): readonly ProbeLine[] => read().lines;
  const exchanges = (): number => read().exchanges;

  return {
    file,
    lines,
    waitForMore: async (count, boundMs, signal) => {
      const wanted = exchanges() + count;
      const wait = {
        what: `${count} more ${options.probe} exchanges with the guest`,
        boundMs,
        ...(signal === undefined ? {} : { signal }),
      };
      await waitFor(wait, () => {
        if (failure !== null) throw new LabError(`the prober cannot be started: ${failure.message}`);
        if (exchanges() >= wanted) return true;
        if (hasEnded(child)) throw new LabError(`the ${options.probe} prober ended: ${describeEnd(lines())}`);
        return null;
      });
    },
    stop: async () => {
      child.stdin?.end();
      await waitFor({ what: 'end of the prober', boundMs: STOP_MS }, () => (hasEnded(child) ? true : null)).catch((error: unknown) => {
        child.kill('SIGKILL');
        throw error;
      });
      return lines();
    },
  };
}

/** Reads what is new at each call, so that waiting for an answer costs the same after an hour as at the beginning. */
function reader(path: string): () => { readonly lines: readonly ProbeLine[]; readonly exchanges: number } {
  const lines: ProbeLine[] = [];
  let offset = 0;
  let exchanges = 0;
  return () => {
    const file = openSync(path, 'r');
    const chunk = Buffer.alloc(Math.max(0, fstatSync(file).size - offset));
    const length = readSync(file, chunk, 0, chunk.length, offset);
    closeSync(file);
    // A line that is still being written is read the next time.
    const whole = chunk.subarray(0, chunk.lastIndexOf(NEWLINE, length - 1) + 1);
    offset += whole.length;
    for (const line of parseProbeLog(whole.toString('utf8'))) {
      lines.push(line);
      if (isExchange(line)) exchanges += 1;
    }
    return { lines, exchanges };
  };
}

function argumentsOf(plan: LabPlan, options: ProberOptions): readonly string[] {
  return [
    ...['--kind', options.probe],
    ...['--address', options.address ?? plan.guest.address],
    ...['--own-address', plan.client.guestAddress],
    ...['--period-ms', String(options.periodMs ?? 30)],
    ...['--bytes', String(options.bytes ?? 256 * 1024)],
    ...(options.reconnect === true ? ['--reconnect'] : []),
    ...(options.answerBoundMs === undefined ? [] : ['--answer-ms', String(options.answerBoundMs)]),
  ];
}

function isExchange(line: ProbeLine): boolean {
  return line.kind === 'answer' || line.kind === 'value' || line.kind === 'transfer' || line.kind === 'guest-query';
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

function describeEnd(lines: readonly ProbeLine[]): string {
  const last = lines.findLast((line) => line.kind === 'broken' || line.kind === 'wrong');
  return last === undefined ? 'without a word' : last.detail;
}
