// Lets promises settle within a simulated event. V8 can be asked to run its microtasks at once, which makes the whole simulation one
// synchronous call per event; without that an event would cost a turn of Node's loop, a hundred times as much.

import { setFlagsFromString } from 'node:v8';

/** Runs every microtask that is due, and those that they make. Must not be called from within one. */
export const drain: () => void = makeDrain();

function makeDrain(): () => void {
  setFlagsFromString('--allow-natives-syntax');
  // The parser knows the name only after the flag is set, so it cannot stand in this file's own text.
  return new Function('%PerformMicrotaskCheckpoint()') as () => void;
}

/** Runs this in a turn of Node's loop of its own, outside any microtask, where `drain` has an effect. */
export function inOwnTurn<T>(run: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(run());
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
  });
}
