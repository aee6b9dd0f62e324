// A search over seeds in one thread: scenario after scenario until the time is over, the seeds are used up, or enough was found.

import { faultsIn } from '../faults/draw.js';
import { nothingCovered, cover, type Coverage } from './coverage.js';
import { describePlan, planOf, runScenarios } from './scenario.js';
import { shrink } from './shrink.js';

export interface Found {
  readonly seed: number;
  readonly violations: readonly string[];
  /** The faults that suffice. */
  readonly faults: readonly string[];
}

export interface Searched {
  readonly worlds: number;
  readonly scenarios: number;
  /** Things that were made to go wrong in them; what ended such a thing is not counted. */
  readonly faults: number;
  readonly events: number;
  readonly virtualMs: number;
  readonly tookMs: number;
  readonly found: readonly Found[];
  /** Why VMs were held or failed at the end, and how often. */
  readonly held: Readonly<Record<string, number>>;
  readonly coverage: Coverage;
}

export interface SearchOptions {
  readonly firstSeed: number;
  /** Seeds first, first + step, first + 2 step, ... */
  readonly step: number;
  /** Ends with the world in which so many scenarios are reached. */
  readonly most: number;
  readonly untilMs: number;
  /** Ends after so many failing seeds. */
  readonly failures: number;
  readonly shrinks: boolean;
}

/** What a long search says while it goes on, and what it can be told. */
export interface Meanwhile {
  readonly found?: (what: Found) => void;
  /** Once a second, with the scenarios that are done. */
  readonly progress?: (scenarios: number) => void;
  /** An operator's wish to end with the world that is running. */
  readonly isToEnd?: () => boolean;
}

const PROGRESS_MS = 1_000;

/** Errors that nobody in the product caught; they end a process there, and are violations here. */
const uncaught: string[] = [];
let listening = false;

function listen(): void {
  if (listening) return;
  listening = true;
  const keep = (error: unknown): void => void uncaught.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.on('uncaughtException', keep);
  process.on('unhandledRejection', keep);
}

/** One scenario a turn of Node's loop, so that lost rejections are told with the scenario that made them. */
export function search(options: SearchOptions, meanwhile: Meanwhile = {}): Promise<Searched> {
  listen();
  const startedAt = Date.now();
  const coverage = nothingCovered();
  const found: Found[] = [];
  const held: Record<string, number> = {};
  let toldAt = startedAt;
  const sum = { worlds: 0, scenarios: 0, faults: 0, events: 0, virtualMs: 0 };
  return new Promise((resolve) => {
    const next = (): void => {
      const isDone = sum.scenarios >= options.most || Date.now() - startedAt >= options.untilMs || found.length >= options.failures;
      const isOver = isDone || meanwhile.isToEnd?.() === true;
      if (isOver) return resolve({ ...sum, tookMs: Date.now() - startedAt, found, held, coverage });
      const seed = options.firstSeed + sum.worlds * options.step;
      const plan = planOf(seed);
      const watch = { uncaught: () => (uncaught.length === 0 ? [] : uncaught.splice(0)) };
      const outcome = runScenarios(plan, { ...watch, seen: (world, what) => cover(coverage, world, what) });
      sum.worlds += 1;
      sum.scenarios += outcome.scenarios;
      for (const round of plan.rounds.slice(0, outcome.scenarios)) sum.faults += faultsIn(round);
      sum.events += outcome.events;
      sum.virtualMs += outcome.virtualMs;
      for (const each of outcome.held) count(held, each.replace(/\bh\d\b/g, 'H').replace(/\d+/g, 'N'));
      if (outcome.violations.length > 0) {
        const smallest = options.shrinks ? shrink(plan, watch) : plan;
        const what = { seed, violations: outcome.violations, faults: describePlan(smallest) };
        found.push(what);
        meanwhile.found?.(what);
      }
      if (Date.now() - toldAt >= PROGRESS_MS) {
        toldAt = Date.now();
        meanwhile.progress?.(sum.scenarios);
      }
      setImmediate(next);
    };
    setImmediate(next);
  });
}

function count(into: Record<string, number>, key: string): void {
  into[key] = (into[key] ?? 0) + 1;
}
