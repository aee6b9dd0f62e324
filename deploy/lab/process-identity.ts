// A pid is given again after its process has ended; together with the start time from /proc it names one process for ever. Everything
// that the lab signals goes through here, so that nothing but what the lab started is ever touched.

import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from './command.js';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, clock ticks since the machine started. */
  readonly startTime: string;
}

/** Null: there is no such process, or it is only waiting to be collected. */
export function identify(pid: number): ProcessIdentity | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  // The name, in brackets, may hold blanks and brackets itself: fields are counted from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const startTime = fields[19];
  const isOver = (fields[0] === 'Z' || fields[0] === 'X') && !hasMoreThreads(pid);
  return isOver || startTime === undefined ? null : { pid, startTime };
}

/** The first thread may end before the others, and the last one closes what the process listens to. */
function hasMoreThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false;
  }
}

export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** False: it had gone already. */
export function sendSignal(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch {
    return false;
  }
}

export async function waitForEnd(target: ProcessIdentity, boundMs: number): Promise<void> {
  await waitFor({ what: `end of process ${target.pid}`, boundMs, everyMs: 5 }, () => (isAlive(target) ? null : true));
}
