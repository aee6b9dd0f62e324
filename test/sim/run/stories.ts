// All stories of test/sim/stories: told anew and held against what is written there, or written there anew.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Seen } from '../invariants/watchers.js';
import { inOwnTurn } from '../world/drain.js';
import type { World } from '../world/world.js';
import { parseStories, tellStory, writeStories, type Story } from './story.js';

export interface StoryOutcome {
  readonly file: string;
  readonly name: string;
  /** Empty = it is as it is written. */
  readonly problems: readonly string[];
}

export interface StoryOptions {
  /** Relative to here; null = all. */
  readonly folder: string;
  /** Only stories or files whose name contains this. */
  readonly only: string | null;
  readonly rewrite: boolean;
  readonly seen: (world: World, seen: Seen) => void;
  /** Errors that no promise of the product caught. */
  readonly uncaught: () => readonly string[];
}

export async function tellStories(options: StoryOptions): Promise<readonly StoryOutcome[]> {
  const { folder, only, rewrite } = options;
  const outcomes: StoryOutcome[] = [];
  const files = readdirSync(folder)
    .filter((each) => each.endsWith('.txt'))
    .sort();
  for (const file of files) {
    const path = join(folder, file);
    const stories = parseStories(readFileSync(path, 'utf8'));
    const told: Story[] = [];
    for (const story of stories) {
      const isMeant = only === null || story.name.includes(only) || file.includes(only);
      if (!isMeant) {
        told.push(story);
        continue;
      }
      const { log, problems } = await inOwnTurn(() => tellStory(story, options.seen));
      const uncaught = options.uncaught().map((each) => `a process ended by a broken invariant: ${each}`);
      told.push({ ...story, log });
      outcomes.push({ file, name: story.name, problems: [...problems, ...uncaught, ...(rewrite ? [] : difference(story.log, log))] });
    }
    if (rewrite) writeFileSync(path, writeStories(told));
  }
  return outcomes;
}

/** The first line that differs, with what stands around it. */
function difference(written: readonly string[], told: readonly string[]): readonly string[] {
  const at = Array.from({ length: Math.max(written.length, told.length) }, (_, k) => k).find((k) => written[k] !== told[k]);
  if (at === undefined) return [];
  return [
    `its log is another one from line ${at + 1} on (if that is right: --stories --rewrite)`,
    ...written.slice(Math.max(0, at - 2), at).map((line) => `    ${line}`),
    ...written.slice(at, at + 3).map((line) => `  - ${line}`),
    ...told.slice(at, at + 3).map((line) => `  + ${line}`),
  ];
}
