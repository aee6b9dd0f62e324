// Processes as the kernel shows them in /proc. A pid alone proves nothing, because it is given again; with its start time and the boot it
// names one process for ever. Reads are synchronous: /proc is memory, and whoever asks is about to report a death.

import { readFileSync, readdirSync } from 'node:fs';
import type { ProcessId, ProcessState } from '../ports.js';

/** PF_EXITING in the flags of /proc/PID/stat: the process has begun to exit and never runs its program again. */
const EXITING = 0x4;

export const bootId: string = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

interface Stat {
  readonly state: string;
  readonly flags: number;
  readonly startTime: string;
}

/** Null = no such process. */
export function identify(pid: number): ProcessId | null {
  const stat = readStat(pid);
  return stat === null ? null : { pid, startTime: stat.startTime, bootId };
}

export function inspect(process: ProcessId): ProcessState {
  if (process.bootId !== bootId) return 'gone';
  const stat = readStat(process.pid);
  if (stat === null || stat.startTime !== process.startTime) return 'gone';
  if (stat.state === 'Z' || stat.state === 'X' || (stat.flags & EXITING) !== 0) return 'exiting';
  return 'running';
}

export function killExactly(process: ProcessId): void {
  if (inspect(process) !== 'running') return;
  try {
    globalThis.process.kill(process.pid, 'SIGKILL');
  } catch {
    // It has gone between the look and the signal.
  }
}

/** The process that has `text` within one of its arguments, and that is not a helper which only started it. */
export function findByArgument(text: string): ProcessId | null {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const pid = Number(entry);
    if (pid === globalThis.process.pid) continue;
    let argv: readonly string[];
    try {
      argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    } catch {
      continue;
    }
    const program = argv[0] ?? '';
    if (!argv.some((each) => each.includes(text)) || /systemd-run$/.test(program)) continue;
    const found = identify(pid);
    if (found !== null && inspect(found) === 'running') return found;
  }
  return null;
}

function readStat(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  // The program's name, in brackets, may itself hold blanks and brackets; fields are counted from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '?', flags: Number(fields[6]), startTime: fields[19] ?? '' };
}
