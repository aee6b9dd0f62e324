// A bounded search with fixed seeds, so that each run of the tests does the same: the real loops of coordinators and agents in a simulated
// world with faults, with the invariants checked after every event. `npm run sim -- --seconds N` searches further.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const SCENARIOS = 150;
const BOUND_MS = 540_000;

it(
  `${SCENARIOS} scenarios of random faults -> no invariant is broken`,
  async () => {
    const runner = fileURLToPath(new URL('run.mjs', import.meta.url));
    const { code, output } = await new Promise<{ readonly code: number; readonly output: string }>((resolve) => {
      execFile(
        process.execPath,
        [runner, '--scenarios', String(SCENARIOS), '--from', '1'],
        { timeout: BOUND_MS },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, output: `${stdout}${stderr}` }),
      );
    });
    expect(output).toContain(`${SCENARIOS} scenarios from seed 1`);
    expect(output).toContain('\n0 violations');
    expect(code).toBe(0);
  },
  BOUND_MS + 30_000,
);
