// Each row of the transition table crossed with the death of each process: a story that makes the row decide is told again, and in that very
// moment the process dies, once; all invariants must hold and the world must come to rest. The stories are made here from those that people
// wrote, and are not kept: what counts of them is that nothing breaks. A cell is full when the process died there, and else says why it cannot.
// Where the row does not decide in a world with a third host, the next story is tried.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inOwnTurn } from '../world/drain.js';
import { parseStories, tellStory, type Story } from './story.js';

export const VICTIMS = ['leader', 'agent-primary', 'agent-secondary', 'agent-spare', 'qemu-primary', 'qemu-secondary'] as const;
type Victim = (typeof VICTIMS)[number];

export type Cell =
  | { readonly kind: 'full' }
  /** Nobody could die there: what the world said. */
  | { readonly kind: 'nobody'; readonly why: string }
  | { readonly kind: 'empty'; readonly why: string };

export interface Crossed {
  readonly row: string;
  readonly victim: Victim;
  readonly story: string | null;
  readonly cell: Cell;
  readonly problems: readonly string[];
}

/** Files of stories that people wrote. */
const FILES = /^(rows|failures|bugs|store)\.txt$/;

/** Of those in which a row decides, so many are tried. */
const MOST_STORIES = 8;

/** Row -> the stories in which it decides, the shortest first. */
export async function storiesByRow(folder: string, rows: readonly string[]): Promise<ReadonlyMap<string, readonly Story[]>> {
  const files = readdirSync(folder).filter((each) => FILES.test(each));
  const stories = files.flatMap((each) => parseStories(readFileSync(join(folder, each), 'utf8')));
  const found = new Map<string, { readonly story: Story; readonly events: number }[]>(rows.map((row) => [row, []]));
  for (const story of stories) {
    const fired = new Set<string>();
    let events = 0;
    await inOwnTurn(() =>
      tellStory(story, (world, { event, fields }) => {
        events = world.kernel.events;
        if (event === 'row') fired.add(String(fields['row']));
      }),
    );
    for (const row of fired) found.get(row)?.push({ story, events });
  }
  return new Map([...found].map(([row, each]) => [row, each.sort((one, other) => one.events - other.events).map(({ story }) => story)]));
}

export async function cross(row: string, victim: Victim, stories: readonly Story[], uncaught: () => readonly string[]): Promise<Crossed> {
  let last: Crossed = { row, victim, story: null, cell: { kind: 'empty', why: 'no story makes this row decide' }, problems: [] };
  for (const story of stories.slice(0, MOST_STORIES)) {
    last = await crossIn(story, row, victim, uncaught);
    if (last.cell.kind !== 'empty' || last.problems.length > 0) break;
  }
  return last;
}

async function crossIn(story: Story, row: string, victim: Victim, uncaught: () => readonly string[]): Promise<Crossed> {
  // Two hosts leave no spare; a third one changes nothing else but who the next secondary is.
  const setup = victim === 'agent-spare' ? [...story.setup, 'hosts=3'] : story.setup;
  const crossed: Story = { ...story, setup, commands: [`on row ${row} of => strike ${victim}`, ...story.commands] };
  const told = await inOwnTurn(() => tellStory(crossed, undefined, true));
  const problems = [...told.problems, ...uncaught().map((each) => `a process ended by a broken invariant: ${each}`)];
  return { row, victim, story: story.name, cell: cellOf(told.log), problems };
}

function cellOf(log: readonly string[]): Cell {
  if (log.some((line) => line.startsWith('struck '))) return { kind: 'full' };
  const nobody = log.find((line) => line.startsWith('nobody '));
  return nobody === undefined
    ? { kind: 'empty', why: 'the row does not come about there' }
    : { kind: 'nobody', why: nobody.slice('nobody '.length) };
}

export function crossTable(rows: readonly string[], cells: readonly Crossed[]): readonly string[] {
  const width = Math.max(...rows.map((row) => row.length));
  const mark = (row: string, victim: Victim): string => {
    const found = cells.find((each) => each.row === row && each.victim === victim);
    if (found === undefined) return '?';
    return found.cell.kind === 'full' ? 'died' : found.cell.kind === 'nobody' ? '-' : 'EMPTY';
  };
  const lines = rows.map((row) => `${row.padEnd(width)} ${VICTIMS.map((victim) => mark(row, victim).padStart(15)).join('')}`);
  const why = new Map<string, number>();
  for (const { cell } of cells) if (cell.kind === 'nobody') why.set(cell.why, (why.get(cell.why) ?? 0) + 1);
  const empty = cells.flatMap(({ row, victim, cell }) => (cell.kind === 'empty' ? [`EMPTY ${row} x ${victim}: ${cell.why}`] : []));
  const count = (kind: Cell['kind']): number => cells.filter(({ cell }) => cell.kind === kind).length;
  return [
    `${'row'.padEnd(width)} ${VICTIMS.map((victim) => victim.padStart(15)).join('')}`,
    ...lines,
    ...[...why].sort(([, one], [, other]) => other - one).map(([text, times]) => `nobody to die, ${times} times: ${text}`),
    ...empty,
    `${cells.length} cells of row and process: ${count('full')} full, ${count('nobody')} where nobody can die, ${count('empty')} empty`,
  ];
}
