// A trap is one exact instant in the life of a daemon, at which it ends or stops itself: a step of a procedure, the save of an edge, an
// order. The daemons that are shipped know nothing of it: a test starts them with `register.js` preloaded, which puts a watched copy of a
// single function in the place of the real one. Armed traps lie in a file, so that no daemon is started anew for the next one.

import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tree } from '../../../deploy/lab/tree.js';

export type Trap =
  /** `sent`: what the step sends is with QEMU, and its answer is never read. A step that only waits is caught while it waits. */
  | { readonly kind: 'step'; readonly procedure: string; readonly step: string; readonly when: 'before' | 'sent' }
  /** The transaction that saves an edge to this phase. `after`: it is saved, and nothing that follows from it was done. */
  | { readonly kind: 'save'; readonly phase: string; readonly when: 'before' | 'after' }
  /** An agent has accepted an order with such a goal, and nothing that follows from it was done. */
  | { readonly kind: 'order'; readonly goal: string };

export interface Sprung {
  readonly trap: Trap;
  readonly pid: number;
  readonly wallMs: number;
}

const FILE = 'COLO_TRAPS';

/** For the environment of a daemon that is to be caught. */
export function trapEnvironment(file: string): Readonly<Record<string, string>> {
  // The daemons are the built ones, and so is what is preloaded into them, whoever starts them.
  return { [FILE]: file, NODE_OPTIONS: `--import file://${join(tree, 'dist/test/bench/traps/register.js')}` };
}

// ---------------------------------------------------------------- in the test

export function arm(file: string, traps: readonly Trap[]): void {
  writeFileSync(`${file}.new`, JSON.stringify(traps));
  renameSync(`${file}.new`, file);
}

/** Those that are still armed. */
export function armed(file: string): readonly Trap[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as readonly Trap[];
  } catch {
    return [];
  }
}

/** In the order in which they were sprung, all since the file began. */
export function sprung(file: string): readonly Sprung[] {
  try {
    const lines = readFileSync(`${file}.sprung`, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Sprung);
  } catch {
    return [];
  }
}

export function nameOf(trap: Trap): string {
  switch (trap.kind) {
    case 'step':
      return `${trap.procedure}, ${trap.when} "${trap.step}"`;
    case 'save':
      return `${trap.when} the save of ${trap.phase}`;
    case 'order':
      return `after the order to ${trap.goal}`;
  }
}

// ---------------------------------------------------------------- in the daemon

/** The armed trap that this instant is, or null. */
export function trapAt(isIt: (trap: Trap) => boolean): Trap | null {
  const file = process.env[FILE];
  return file === undefined ? null : (armed(file).find(isIt) ?? null);
}

/** Does not come back from SIGKILL; from SIGSTOP when somebody continues this process. */
export function spring(trap: Trap, signal: 'SIGKILL' | 'SIGSTOP'): void {
  const file = process.env[FILE] ?? '';
  const rest = [...armed(file)];
  const at = rest.findIndex((each) => JSON.stringify(each) === JSON.stringify(trap));
  // Another agent was caught by it in the same instant.
  if (at < 0) return;
  rest.splice(at, 1);
  arm(file, rest);
  const note: Sprung = { trap, pid: process.pid, wallMs: Date.now() };
  appendFileSync(`${file}.sprung`, `${JSON.stringify(note)}\n`);
  process.kill(process.pid, signal);
}
