// How long the fuzz goes on: a modest number of cases in the unit tests, or a time for each property with `npm run fuzz -- --seconds N`, which
// sets COLO_FUZZ_SECONDS and, to repeat a run, COLO_FUZZ_SEED. A failing property tells its seed and its smallest case.

import fc from 'fast-check';

const seconds = Number(process.env['COLO_FUZZ_SECONDS'] ?? 0);
const seed = process.env['COLO_FUZZ_SEED'];

/** `runs`: cases of the unit tests. */
export function cases(runs: number): fc.Parameters<unknown> {
  const repeat = seed === undefined ? {} : { seed: Number(seed) };
  return seconds > 0 ? { ...repeat, numRuns: Infinity, interruptAfterTimeLimit: seconds * 1_000 } : { ...repeat, numRuns: runs };
}

/** For vitest: how long a property may take in all, milliseconds. */
export const patienceMs = 60_000 + seconds * 1_000;

/** A text, cut, doubled, with pieces of others in it or with characters replaced: near enough to a good one to get past the first check. */
export function mutated(of: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const piece = fc.oneof(
    fc.string({ maxLength: 6 }),
    fc.constantFrom(
      'null',
      '-1',
      '1e400',
      '""',
      '{}',
      '[]',
      'true',
      '&a',
      '*a',
      '!!set',
      '\u0000',
      '\n',
      ': ',
      '9007199254740993',
      '"__proto__"',
    ),
  );
  const edit = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), length: fc.nat(12), put: piece });
  return fc.tuple(of, fc.array(edit, { maxLength: 4 })).map(([text, edits]) =>
    edits.reduce((before, { at, length, put }) => {
      const from = Math.floor(at * before.length);
      return before.slice(0, from) + put + before.slice(from + length);
    }, text),
  );
}

/** Any JSON, also with the fields of good values in wrong places. */
export const json: fc.Arbitrary<string> = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value));
