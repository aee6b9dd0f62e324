// Processes as the kernel shows them in /proc. A pid alone proves nothing, because it is given again; with its start time and the boot it
// names one process for ever. Reads are synchronous: /proc is memory, and whoever asks is about to report a death.

import { readFileSync, readdirSync } from 'node:fs';
import type { ProcessId, ProcessState } from '../ports.js';

/**
 * Flags in /proc/PID/stat of a thread that never runs its program again: PF_EXITING, PF_POSTCOREDUMP, PF_DUMPCORE. They are there long
 * before the end: the kernel first writes a core file or frees the guest's memory, seconds for a big guest, and closes sockets after.
 */
const ENDING = 0x4 | 0x8 | 0x200;

export const bootId: string = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

interface Stat {
  readonly state: string;
  readonly flags: number;
  readonly startTime: string;
}

/** Null = no such process. */
export function identify(pid: number): ProcessId | null {
  const stat = readStat(`/proc/${pid}/stat`);
  return stat === null ? null : { pid, startTime: stat.startTime, bootId };
}

export function inspect(process: ProcessId): ProcessState {
  if (process.bootId !== bootId) return 'gone';
  const stat = readStat(`/proc/${process.pid}/stat`);
  if (stat === null || stat.startTime !== process.startTime) return 'gone';
  return isEnding(stat) && threadsEnd(process.pid) ? 'exiting' : 'running';
}

function isEnding(stat: Stat): boolean {
  return stat.state === 'Z' || stat.state === 'X' || (stat.flags & ENDING) !== 0;
}

/** The first thread may end before the others, and a guest's processor is another one. */
function threadsEnd(pid: number): boolean {
  let threads: readonly string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return true;
  }
  return threads.every((thread) => {
    const stat = readStat(`/proc/${pid}/task/${thread}/stat`);
    return stat === null || isEnding(stat);
  });
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

function readStat(path: string): Stat | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return null;
  }
  // The program's name, in brackets, may itself hold blanks and brackets; fields are counted from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '?', flags: Number(fields[6]), startTime: fields[19] ?? '' };
}
