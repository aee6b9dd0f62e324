// Tries one copy of the sources, mutated or not, with one story or search after another until something breaks that must never break. Runs
// in a thread of its own, because each copy is a program of its own.

import { parentPort, workerData } from 'node:worker_threads';
import { perform } from '../faults/commands.js';
import { restProblem } from '../invariants/rest.js';
import { planOf, runScenarios } from '../run/scenario.js';
import { World } from '../world/world.js';
import { setupOf, STORIES, type Story } from './stories.js';

/** One story with one seed; story null = the scenario that the search draws from the seed. */
export interface Trial {
  readonly story: string | null;
  readonly seed: number;
}

export interface Found {
  readonly trial: Trial;
  readonly violation: string;
  readonly tried: number;
  readonly tookMs: number;
}

export interface Attempt {
  readonly trials: readonly Trial[];
  /** What the violation must say; empty = anything. */
  readonly violation: string;
  readonly trace: boolean;
}

export type Said = { readonly kind: 'found'; readonly found: Found } | { readonly kind: 'nothing'; readonly tried: number };

const WARM_UP_MS = 8_000;
const REST_MS = 30_000;
const LOOK_MS = 100;

export function runStory(story: Story, seed: number, trace: ((line: string) => void) | null = null): readonly string[] {
  const world = new World(setupOf(story, seed), trace);
  const { kernel } = world;
  const broken = (): boolean => world.violations.length > 0;
  const lookOn = (): void => {
    world.watchers.lookClosely();
    kernel.after(LOOK_MS, lookOn);
  };
  kernel.after(LOOK_MS, lookOn);
  if (story.warm) kernel.run(WARM_UP_MS, () => broken() || world.record('demo')?.phase === 'protected');
  for (const line of story.lines) {
    const read = /^(\d+) (?:on (.*?) : )?(.*)$/.exec(line);
    if (read === null) throw new Error(`not a line of a story: ${line}`);
    const [, atMs = '0', on, command = ''] = read;
    kernel.after(Number(atMs), () => {
      if (on === undefined) perform(world, command);
      else world.triggers.push({ text: on, run: () => perform(world, command) });
    });
  }
  kernel.run(kernel.now + story.lastsMs, broken);
  if (broken() || !story.rests) return world.violations;
  perform(world, 'heal');
  const healedAt = kernel.now;
  const atRest = (): boolean => broken() || restProblem(world, 'demo', healedAt) === null;
  if (!kernel.run(healedAt + REST_MS, atRest)) {
    const problem = restProblem(world, 'demo', healedAt);
    const held = world.leader()?.loop.decisionOf('demo')?.hold === true;
    if (problem !== null && !held) world.violate(`demo is not at rest ${REST_MS / 1_000} s after the last fault: ${problem}`);
  }
  return world.violations;
}

function run({ trials, violation, trace }: Attempt): Promise<Said> {
  const startedAt = Date.now();
  const uncaught: string[] = [];
  // An error that a mutated copy throws ends a process of the product; it is told, and it is not what is looked for.
  process.on('uncaughtException', (error) => uncaught.push(error.message));
  process.on('unhandledRejection', (error) => uncaught.push(String(error)));
  return new Promise((resolve) => {
    const next = (at: number): void => {
      const trial = trials[at];
      if (trial === undefined) return resolve({ kind: 'nothing', tried: at });
      const story = trial.story === null ? null : STORIES[trial.story];
      if (story === undefined) throw new Error(`there is no story "${trial.story ?? ''}"`);
      const say = trace ? (line: string): void => void process.stdout.write(`${line}\n`) : null;
      const violations =
        story === null ? runScenarios(planOf(trial.seed), say === null ? {} : { trace: say }).violations : runStory(story, trial.seed, say);
      const right = violations.find((each) => each.includes(violation));
      if (right !== undefined)
        return resolve({ kind: 'found', found: { trial, violation: right, tried: at + 1, tookMs: Date.now() - startedAt } });
      setImmediate(() => next(at + 1));
    };
    setImmediate(() => next(0));
  });
}

if (parentPort !== null) parentPort.postMessage(await run(workerData as Attempt));
