// Builds the simulator and starts it (`npm run sim`). What it can do is said by test/sim/run/main.ts; what needs other copies of the sources
// than the true one is given the way to build them.

import { join } from 'node:path';
import { build } from './build.mjs';

const args = process.argv.slice(2);
const folder = build('main');
const load = (file, from = folder) => import(join(from, 'test/sim', file));

if (args.includes('--mutations')) await (await load('mutations/command.js')).mutations(build, args);
else if (args.includes('--exhaustive')) {
  const without = args[args.indexOf('--without') + 1];
  const { changesOf } = await load('mutations/main.js');
  const explored = args.includes('--without') ? build(`exhaustive without ${without}`, changesOf(without.split(','))) : folder;
  await (await load('exhaustive/command.js', explored)).exhaustive(args);
} else await load('run/main.js');
