// `npm run sim -- --mutations`: takes each safety rule out of a copy of the sources, looks whether the simulator then finds what the rule
// is there to prevent, and that the same run of the sources as they are finds nothing. First the seed that found it last, then the story
// with other seeds, then scenarios at random, all within bounds.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { AGENT_MUTATIONS } from './agent.js';
import { COORDINATOR_MUTATIONS } from './coordinator.js';
import { DETECTION_MUTATIONS } from './detection.js';
import { OTHER_MUTATIONS } from './others.js';
import { PROCEDURE_MUTATIONS } from './procedures.js';
import { UNSIMULATED } from './unsimulated.js';
import type { Mutation, SourceChange } from './mutation.js';
import type { Attempt, Found, Said, Trial } from './trial.js';

/** Makes a runnable copy of the sources and says where it is. Throws where a text to be changed is not there exactly once. */
export type Build = (name: string, changes: readonly SourceChange[]) => string;

export interface MutationOptions {
  /** Parts of names; empty = all. */
  readonly only: readonly string[];
  /** Seeds of the story that are tried, and scenarios at random after them. */
  readonly seeds: number;
  readonly scenarios: number;
  /** Bound for one mutation. */
  readonly seconds: number;
  readonly trace: boolean;
}

const ALL: readonly Mutation[] = [
  ...COORDINATOR_MUTATIONS,
  ...AGENT_MUTATIONS,
  ...PROCEDURE_MUTATIONS,
  ...DETECTION_MUTATIONS,
  ...OTHER_MUTATIONS,
];

/** What is changed where these rules, by their names, are taken out. */
export function changesOf(names: readonly string[]): readonly SourceChange[] {
  return names.flatMap((name) => {
    const found = ALL.find((each) => each.name === name);
    if (found === undefined) throw new Error(`there is no mutation "${name}"; there are: ${ALL.map((each) => each.name).join(', ')}`);
    return found.changes;
  });
}

type Verdict =
  | { readonly kind: 'found'; readonly found: Found; readonly how: 'pinned' | 'anew' | 'at random' }
  | { readonly kind: 'missed'; readonly why: string };

/** The seeds that may show it although the product does not differ: none, if the story is right. */
const SOUND = '';

export async function proveMutations(build: Build, options: MutationOptions, say: (line: string) => void): Promise<boolean> {
  const chosen = ALL.filter(({ name }) => options.only.length === 0 || options.only.some((part) => name.includes(part)));
  const controls = new Map<string, Promise<boolean>>();
  const plain = build('main', []);
  const isSound = (trial: Trial): Promise<boolean> => {
    const key = `${trial.story ?? 'random'} ${trial.seed}`;
    const known =
      controls.get(key) ??
      attempt(plain, { trials: [trial], violation: SOUND, trace: false }, 600).then((said) => said?.kind === 'nothing');
    controls.set(key, known);
    return known;
  };
  const verdicts: [Mutation, Verdict][] = [];
  for (const mutation of chosen) {
    const folder = build(`without ${mutation.name}`, mutation.changes);
    const verdict = await judge(mutation, folder, options, isSound);
    rmSync(folder, { recursive: true, force: true });
    verdicts.push([mutation, verdict]);
    say(lineOf(mutation, verdict));
  }
  for (const { rule, why, shownBy } of options.only.length === 0 ? UNSIMULATED : []) say(`outside  ${rule}: ${why}; shown by ${shownBy}`);
  const found = verdicts.filter(([, verdict]) => verdict.kind === 'found').length;
  say(`${found} of ${chosen.length} mutations found, ${chosen.length - found} not found`);
  return found === chosen.length;
}

async function judge(
  mutation: Mutation,
  folder: string,
  options: MutationOptions,
  isSound: (trial: Trial) => Promise<boolean>,
): Promise<Verdict> {
  const { story, seed, violation } = mutation;
  const endAt = Date.now() + options.seconds * 1_000;
  const seeds = Array.from({ length: options.seeds }, (_, k) => k + 1).filter((each) => each !== seed);
  const rounds: readonly (readonly ['pinned' | 'anew' | 'at random', readonly Trial[]])[] = [
    ['pinned', [{ story, seed }]],
    ['anew', seeds.map((each) => ({ story, seed: each }))],
    ['at random', Array.from({ length: options.scenarios }, (_, k) => ({ story: null, seed: k + 1 }))],
  ];
  let tried = 0;
  for (const [how, trials] of rounds) {
    let rest = trials;
    while (rest.length > 0) {
      const leftS = (endAt - Date.now()) / 1_000;
      if (leftS <= 0) return { kind: 'missed', why: `not within ${options.seconds} s, ${tried} scenarios` };
      const said = await attempt(folder, { trials: rest, violation, trace: options.trace }, leftS);
      if (said === null) return { kind: 'missed', why: `not within ${options.seconds} s, ${tried} scenarios or more` };
      if (said.kind === 'nothing') {
        tried += said.tried;
        break;
      }
      const { found } = said;
      tried += found.tried;
      if (await isSound(found.trial)) return { kind: 'found', found: { ...found, tried }, how };
      // The product as it is breaks there as well: that is a bug to be mended, and no proof of this rule.
      rest = rest.slice(found.tried);
    }
  }
  return { kind: 'missed', why: `not in ${tried} scenarios` };
}

/** Null = it took too long. */
function attempt(folder: string, data: Attempt, seconds: number): Promise<Said | null> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(join(folder, 'test/sim/mutations/trial.js'), { workerData: data });
    const end = (said: Said | null): void => {
      clearTimeout(timer);
      void worker.terminate();
      resolve(said);
    };
    const timer = setTimeout(() => end(null), Math.ceil(seconds * 1_000));
    worker.once('message', end);
    worker.once('error', reject);
  });
}

function lineOf({ name, rule, changes, story }: Mutation, verdict: Verdict): string {
  const files = [...new Set(changes.map((each) => each.file))].join(' + ');
  if (verdict.kind === 'missed') return `MISSED   ${name} (${rule}) in ${files}: "${story}": ${verdict.why}`;
  const { trial, violation, tried, tookMs } = verdict.found;
  const where = trial.story === null ? `scenario ${trial.seed}` : `"${trial.story}" ${trial.seed}`;
  const how = verdict.how === 'pinned' ? '' : ` (${verdict.how}, after ${tried})`;
  return `found    ${name} (${rule}) in ${files}: ${where}${how}, ${(tookMs / 1_000).toFixed(1)} s: ${violation.slice(0, 160)}`;
}
