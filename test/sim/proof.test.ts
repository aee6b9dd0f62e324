// What shows that the simulator's silence means something: each safety rule, taken out of a copy of the sources, is missed at once; and a
// small world is explored over all interleavings. Part of `npm test`; each costs more than a quick check should.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const BOUND_MS = 900_000;

function sim(args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const runner = fileURLToPath(new URL('run.mjs', import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [runner, ...args], { timeout: BOUND_MS, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, output: `${stdout}${stderr}` }),
    );
  });
}

// skipped: in a quick check, unless COLO_SIM=all asks for it as `npm test` does
describe.skipIf(process.env['COLO_SIM'] !== 'all')('the proof', () => {
  it(
    'takes out each safety rule -> its pinned seed, or a bounded search, finds what follows',
    async () => {
      const { code, output } = await sim(['--mutations', '--seeds', '30', '--scenarios', '30', '--bound', '120']);
      expect(output).not.toContain('MISSED');
      expect(output).toContain(', 0 not found');
      expect(code).toBe(0);
    },
    BOUND_MS,
  );

  it(
    'explores the small world -> no rule is broken in any interleaving',
    async () => {
      const { code, output } = await sim(['--exhaustive']);
      expect(output.match(/; 0 violations/g)).toHaveLength(6);
      expect(code).toBe(0);
    },
    BOUND_MS,
  );

  it.each([
    ['loser-in-two-steps', 'verdict', 5, 'h2 kills the QEMU that the record of epoch 5 (verdict) names'],
    ['executed-when-seen', 'verdict', 4, 'the verdict of epoch 5 is called executed, and h1 has not said so'],
    ['own-blindness-first', 'protected', 5, 'a healthy pair is taken apart by blind'],
    ['leader-key-guard', 'late', 4, 'c1 saves epoch 8, and c2 leads'],
    ['record-revision-guard', 'late', 4, 'the epoch went from 7 to 5'],
  ] as const)(
    'explores the small world without %s, from %s -> finds the shortest history that breaks it',
    async (rule, from, depth, violation) => {
      const { code, output } = await sim(['--exhaustive', '--from', from, '--depth', String(depth), '--without', rule]);
      expect(output).toContain(`VIOLATION ${violation}`);
      expect(code).toBe(1);
    },
    BOUND_MS,
  );
});
