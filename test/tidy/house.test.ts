// Habits of the house that no compiler keeps: how long a file is, how it opens, and that tests neither sleep nor leave one another out.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readSources, treeFiles, usedNames } from './sources.js';

const LONGEST_SOURCE = 350;
const LONGEST_TEST = 500;

/** Where a test may use timers, and why. */
const MAY_USE_TIMERS: Readonly<Record<string, string>> = {
  'test/support/wait.ts': 'the bounded wait that all others use',
  'test/sim/mutations/main.ts': 'the bound of a search that runs in a thread of its own',
  'test/e2e/procedures/client.ts': 'a client that asks the guest with a period',
};

const sources = readSources().filter(({ path }) => !path.startsWith('shared/gen/'));
const tests = sources.filter(({ path }) => path.startsWith('test/'));
const lines = (text: string): readonly string[] => text.replace(/\n$/, '').split('\n');

describe('a source file', () => {
  it('that is too long to keep in mind -> is named here, to be split', () => {
    const limit = (path: string): number => (path.startsWith('test/') ? LONGEST_TEST : LONGEST_SOURCE);
    // Fixtures are data: nobody has to keep them in mind.
    const long = sources.filter(({ path, text }) => !path.startsWith('test/fixtures/') && lines(text).length > limit(path));
    expect(long.map(({ path, text }) => `${path}: ${lines(text).length} lines`)).toEqual([]);
  });

  it('-> opens by saying what it is', () => {
    const silent = sources.filter(({ text }) => !/^(#!.*\n)?(\/\/ \S|\/\*\*)/.test(text));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it('-> names no path of the machine that it was written on', () => {
    const pattern = new RegExp(['/wo', 'rk/(main|shared)|/ho', 'me/[a-z]+/'].join(''));
    const texts = treeFiles().filter(
      (path) => /\.(ts|mjs|js|json|sh|md|ya?ml|proto|service|c|py)$/.test(path) && path !== 'package-lock.json',
    );
    expect(texts.filter((path) => pattern.test(readFileSync(path, 'utf8')))).toEqual([]);
  });
});

describe('a test', () => {
  it('-> is never the only one', () => {
    const only = tests.filter(({ text }) => /\b(it|test|describe)\.only\b/.test(text));
    expect(only.map(({ path }) => path)).toEqual([]);
  });

  it('that is left out where it cannot run -> says "skipped" and why', () => {
    const isLeftOut = /\b(it|test|describe)\.(skip|skipIf|runIf|todo|fails)\b/;
    const wrong = tests.filter(({ path, text }) => !path.startsWith('test/tidy/') && isLeftOut.test(text) && !/skipped: ?\S/.test(text));
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  it('-> waits for conditions and never sleeps', () => {
    const wrong = tests
      .filter(({ path }) => !(path in MAY_USE_TIMERS))
      .flatMap((source) => [
        ...usedNames(source).flatMap(({ name, line }) =>
          ['setTimeout', 'setInterval', 'sleep'].includes(name) ? [`${source.path}:${line} uses ${name}`] : [],
        ),
        ...source.packages.flatMap((each) => (/^(node:)?timers/.test(each) ? [`${source.path} imports ${each}`] : [])),
      ]);
    expect(wrong).toEqual([]);
  });

  it('-> says in its name what leads to what', () => {
    const nameless = tests
      .filter(({ path }) => path.endsWith('.test.ts'))
      .flatMap(({ path, text }) =>
        [...text.matchAll(/\bit(?:\.each\([^]*?\))?\(\s*(['"`])(.*?)\1/g)].flatMap((match) =>
          match[2]?.includes('->') === true ? [] : [`${path}: ${match[2] ?? ''}`],
        ),
      );
    expect(nameless).toEqual([]);
  });
});
