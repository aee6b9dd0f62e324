// Builds the simulator and starts it (`npm run sim`). What it can do is said by test/sim/run/main.ts.

import { join } from 'node:path';
import { build } from './build.mjs';

await import(join(build('main'), 'test/sim/run/main.js'));
