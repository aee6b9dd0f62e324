// A short search with fixed seeds, and the stories that people wrote: the real loops of coordinators and agents in a simulated world with
// faults, with the invariants checked after every event. `npm test` does all stories and 20,000 scenarios in a step of its own, `npm run sim -- --seconds N` more.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SCENARIOS = 100;
const BOUND_MS = 540_000;

function run(...args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const runner = fileURLToPath(new URL('run.mjs', import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [runner, ...args], { timeout: BOUND_MS }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, output: `${stdout}${stderr}` }),
    );
  });
}

// skipped: in `npm test`, which does much more of both
describe.skipIf(process.env['COLO_SIM'] === 'all')('the simulator', () => {
  it(
    `${SCENARIOS} scenarios of random faults -> no invariant is broken`,
    async () => {
      const { code, output } = await run('--scenarios', String(SCENARIOS), '--from', '1');
      expect(Number(/^(\d+) scenarios in/m.exec(output)?.[1])).toBeGreaterThanOrEqual(SCENARIOS);
      expect(output).toContain('\n0 violations');
      expect(code).toBe(0);
    },
    BOUND_MS + 30_000,
  );

  it.each(['bugs.txt', 'failures.txt', 'rows.txt'])(
    'the stories of %s -> end as they are written',
    async (file) => {
      const { code, output } = await run('--stories', file);
      expect(output).toMatch(/\d+ stories in [\d.]+ s, 0 failed/);
      expect(code).toBe(0);
    },
    BOUND_MS + 30_000,
  );
});
