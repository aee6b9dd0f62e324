// What the daemons of a lab say in their logs, as one list of events in the order of time. Only what is new is read at each look, so that
// looking often does not disturb what is measured. All daemons run on one machine and so share one wall clock.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { waitFor, type Wait } from '../../../deploy/lab/command.js';
import { logFile } from '../../../deploy/lab/daemons.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import type { Daemon } from '../../../deploy/lab/record.js';

export interface LogEvent {
  readonly host: string;
  readonly daemon: Daemon;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Logs {
  /** Everything said since these logs were opened, as far as it is written by now. */
  events(): readonly LogEvent[];
  /** The first event for which `pick` answers something. */
  until<T>(wait: Wait, pick: (event: LogEvent) => T | null): Promise<T>;
}

const DAEMONS: readonly Daemon[] = ['agent', 'coordinator'];

interface Tail {
  readonly file: string;
  readonly host: string;
  readonly daemon: Daemon;
  offset: number;
  rest: string;
}

/** From the present end of each log on. */
export function openLogs(plan: LabPlan): Logs {
  const tails = plan.hosts.flatMap((host) =>
    DAEMONS.map((daemon): Tail => ({ file: logFile(host, daemon), host: host.name, daemon, offset: 0, rest: '' })),
  );
  for (const tail of tails) tail.offset = sizeOf(tail.file);
  let all: LogEvent[] = [];

  const events = (): readonly LogEvent[] => {
    const fresh = tails.flatMap(readOn);
    if (fresh.length > 0) all = [...all, ...fresh].sort((one, other) => one.atMs - other.atMs);
    return all;
  };
  return {
    events,
    until: (wait, pick) =>
      waitFor(wait, () => {
        for (const event of events()) {
          const found = pick(event);
          if (found !== null) return found;
        }
        return null;
      }),
  };
}

function readOn(tail: Tail): readonly LogEvent[] {
  const text = tail.rest + read(tail);
  const lines = text.split('\n');
  tail.rest = lines.pop() ?? '';
  return lines.flatMap((line) => {
    const event = parseEvent(tail.host, tail.daemon, line);
    return event === null ? [] : [event];
  });
}

/** Null: not a line of our own log, for example a stack trace of Node's. */
export function parseEvent(host: string, daemon: Daemon, line: string): LogEvent | null {
  try {
    const fields = JSON.parse(line) as Record<string, unknown>;
    const atMs = Date.parse(String(fields['time']));
    return Number.isFinite(atMs) && typeof fields['event'] === 'string' ? { host, daemon, atMs, event: fields['event'], fields } : null;
  } catch {
    return null;
  }
}

function read(tail: Tail): string {
  let file: number;
  try {
    file = openSync(tail.file, 'r');
  } catch {
    return '';
  }
  try {
    const buffer = Buffer.alloc(Math.max(0, fstatSync(file).size - tail.offset));
    const length = readSync(file, buffer, 0, buffer.length, tail.offset);
    tail.offset += length;
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

function sizeOf(path: string): number {
  try {
    const file = openSync(path, 'r');
    try {
      return fstatSync(file).size;
    } finally {
      closeSync(file);
    }
  } catch {
    return 0;
  }
}
