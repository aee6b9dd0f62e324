// The command line of the exhaustive small world: `npm run sim -- --exhaustive`.

import { parseArgs } from 'node:util';
import { inOwnTurn } from '../world/drain.js';
import { explore } from './explore.js';
import { allHeard } from './moves.js';
import { beginning, BEGINNINGS, type Beginning } from './beginnings.js';

/** Some beginnings lead to many more states than others. Longer histories are for a run by hand. */
const DEPTHS: Readonly<Record<Beginning, number>> = { solo: 9, syncing: 6, protected: 7, verdict: 7, promoted: 7, late: 6 };

const HELP = `npm run sim -- --exhaustive         explores two hosts, two coordinators and one VM breadth-first
  --depth D                         moves of a history (default: as many as a minute of one processor is enough for)
  --faults F                        things that may go wrong in one history (default 2)
  --from NAME                       where it begins: solo, syncing, protected, verdict, promoted, late (default: each)
  --states N                        ends after so many states (default 20000000)
  --seconds S                       ends after so long (default: no bound)
  --without MUTATION[,MUTATION]     explores a copy of the sources with this rule taken out, see --mutations`;

export async function exhaustive(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      exhaustive: { type: 'boolean' },
      depth: { type: 'string' },
      faults: { type: 'string', default: '2' },
      from: { type: 'string' },
      states: { type: 'string', default: '20000000' },
      seconds: { type: 'string', default: 'Infinity' },
      without: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  if (values.help) return say(HELP);
  const starts = BEGINNINGS.filter((each) => values.from === undefined || values.from === each);
  for (const from of starts) {
    const startedAt = Date.now();
    const bounds = {
      depth: values.depth === undefined ? DEPTHS[from] : Number(values.depth),
      faults: Number(values.faults),
      states: Number(values.states),
      untilMs: startedAt + Number(values.seconds) * 1_000,
    };
    const told = (depth: number, states: number, edges: number): void =>
      say(`  depth ${depth}: ${states} states, ${edges} edges, ${((Date.now() - startedAt) / 1_000).toFixed(0)} s`);
    const found = await inOwnTurn(() => explore(allHeard(beginning(from)), bounds, told));
    const tookS = (Date.now() - startedAt) / 1_000;
    const how = found.complete ? 'all there are' : `all histories of up to ${found.depth} moves`;
    say(
      `from ${from}, ${values.faults} faults: ${found.states} states, ${found.edges} edges, ${how}, ${tookS.toFixed(1)} s; ${found.violation === null ? '0' : '1'} violations`,
    );
    if (found.violation === null) continue;
    say(`VIOLATION ${found.violation}`);
    for (const [at, move] of found.history.entries()) say(`  ${at + 1}. ${move}`);
    process.exitCode = 1;
  }
}
