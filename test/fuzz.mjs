// `npm run fuzz -- --seconds N [--seed S] [FILE...]`: the fuzz tests, each property for N seconds instead of its few cases in `npm test`.

import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '30' }, seed: { type: 'string' } },
  allowPositionals: true,
});
const seconds = Number(values.seconds);
if (!Number.isFinite(seconds) || seconds <= 0) {
  console.error('usage: npm run fuzz -- --seconds N [--seed S] [FILE...]');
  process.exit(2);
}
const files = positionals.length > 0 ? positionals : ['test/unit/fuzz'];
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vitest.unit.config.ts', ...files];
const seed = values.seed === undefined ? {} : { COLO_FUZZ_SEED: values.seed };
const ran = spawnSync(process.execPath, vitest, { stdio: 'inherit', env: { ...process.env, COLO_FUZZ_SECONDS: String(seconds), ...seed } });
process.exit(ran.status ?? 1);
