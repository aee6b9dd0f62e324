// The example configurations against the daemons' own readers: an example that is refused, or that keeps a key to itself, helps nobody.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { describeProblems, loadAgentConfig, loadCoordinatorConfig } from '../../../shared/io/config.js';

const examples = fileURLToPath(new URL('../../../deploy/examples', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'colo-examples-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Takes the comment sign from lines that are keys: what an operator does who sets everything. */
const withAllKeys = (text: string): string => text.replaceAll(/^# ( *[a-zA-Z]+:( .*)?)$/gm, '$1');

function keysOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...keysOf(inner)]);
}

describe.each([
  ['agent.yaml', loadAgentConfig],
  ['coordinator.yaml', loadCoordinatorConfig],
])('the example %s', (name, load) => {
  const text = readFileSync(join(examples, name), 'utf8');

  function read(content: string): object {
    const file = join(folder, name);
    writeFileSync(file, content);
    const loaded = load(file);
    if (!loaded.ok) throw new Error(describeProblems(loaded.error));
    return loaded.value;
  }

  it('as it is -> is accepted', () => {
    expect(read(text)).toMatchObject({ cluster: 'blue' });
  });

  it('with every key set -> is accepted, and each default that it shows is the default', () => {
    const full = read(withAllKeys(text));
    expect(full).toMatchObject({ ...read(text) });
  });

  it('-> shows every key that has a default', () => {
    const missing = keysOf(read(text)).filter((key) => !new RegExp(`\\b${key}:`).test(text));
    expect(missing).toEqual([]);
  });
});
