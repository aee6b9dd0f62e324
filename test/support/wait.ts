// The one place where a test waits for real time to pass. Every wait is for a condition and has a bound, and its error says what was
// awaited and what was seen last, so that a red test can be read without running it again.

import { performance } from 'node:perf_hooks';

export interface WaitOptions {
  /** Ends the sentence "waited for ...". */
  readonly what: string;
  readonly boundMs: number;
  /** Default 50. */
  readonly everyMs?: number;
  /** Said beside what was seen last, for example the tail of a log. */
  readonly context?: () => string;
}

/** Asks again and again until the answer is neither false, null nor undefined, and gives that answer. A condition that throws is asked again. */
export async function waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<Exclude<T, false | null | undefined>> {
  const started = performance.now();
  let last = 'nothing';
  for (;;) {
    try {
      const seen = await condition();
      if (seen !== false && seen !== null && seen !== undefined) return seen as Exclude<T, false | null | undefined>;
      last = JSON.stringify(seen) ?? 'undefined';
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    const waitedMs = performance.now() - started;
    if (waitedMs >= options.boundMs) {
      const context = options.context === undefined ? '' : `\n${options.context()}`;
      throw new Error(`waited for ${options.what} for ${Math.round(waitedMs)} ms; last seen: ${last}${context}`);
    }
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 50));
  }
}

/** The same for a plain condition; says how long it took, in milliseconds. */
export async function eventually(what: string, boundMs: number, condition: () => boolean | Promise<boolean>): Promise<number> {
  const started = performance.now();
  await waitFor(condition, { what, boundMs, everyMs: 5 });
  return performance.now() - started;
}

/** Holds a state for a while to see that nothing comes of it: `probe` must stay true all the time. */
export async function staysTrue(probe: () => boolean | Promise<boolean>, options: WaitOptions): Promise<void> {
  const started = performance.now();
  while (performance.now() - started < options.boundMs) {
    if (!(await probe())) throw new Error(`${options.what}: no longer true after ${Math.round(performance.now() - started)} ms`);
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 50));
  }
}
