// The command line of the mutation proof: `npm run sim -- --mutations`.

import { parseArgs } from 'node:util';
import { proveMutations, type Build } from './main.js';
import { runStory } from './trial.js';
import { STORIES } from './stories.js';
import { inOwnTurn } from '../world/drain.js';

const HELP = `npm run sim -- --mutations            takes out each safety rule once and looks whether the simulator finds what follows
  --only NAME[,NAME]                  mutations whose names contain one of these
  --seeds N                           seeds of a story that are tried when its pinned one finds nothing (default 40)
  --scenarios N                       scenarios at random after that (default 200)
  --bound S                           seconds for one mutation (default 120)
  --tell STORY --seed S               prints the event log of a story on the sources as they are`;

export async function mutations(build: Build, args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      mutations: { type: 'boolean' },
      only: { type: 'string', default: '' },
      seeds: { type: 'string', default: '40' },
      scenarios: { type: 'string', default: '200' },
      bound: { type: 'string', default: '120' },
      trace: { type: 'boolean', default: false },
      tell: { type: 'string' },
      seed: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  if (values.help) return say(HELP);
  if (values.tell !== undefined) return tell(values.tell, Number(values.seed), say);
  const isProven = await proveMutations(
    build,
    {
      only: values.only === '' ? [] : values.only.split(','),
      seeds: Number(values.seeds),
      scenarios: Number(values.scenarios),
      seconds: Number(values.bound),
      trace: values.trace,
    },
    say,
  );
  process.exitCode = isProven ? 0 : 1;
}

async function tell(name: string, seed: number, say: (line: string) => void): Promise<void> {
  const found = STORIES[name];
  if (found === undefined) throw new Error(`there is no story "${name}"; there are: ${Object.keys(STORIES).join('; ')}`);
  const violations = await inOwnTurn(() => runStory(found, seed, say));
  say(`${violations.length} violations`);
  for (const each of violations) say(`  ${each}`);
}
