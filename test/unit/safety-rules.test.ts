// Each rule of safety has a test on real QEMU that is there, and what would make it fail can still be found in the product.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { RULES } from '../e2e/safety/rules.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
/** Names are made from parts, also of tables. */
const words = (text: string): readonly string[] => text.split(/[^\p{L}\p{N}]+/u).filter((word) => word.length > 3);

describe('the rules of safety', () => {
  it('-> are eleven', () => {
    expect(RULES.map((each) => each.number)).toEqual(Array.from({ length: 11 }, (_, k) => k + 1));
  });

  it.each(RULES)('rule $number -> has a test on real QEMU', ({ test }) => {
    const present = new Set(words(read(test.file)));
    expect(words(test.name).filter((word) => !present.has(word))).toEqual([]);
  });

  it.each(RULES)('rule $number -> can be taken out of the product', ({ without }) => {
    expect(without.length).toBeGreaterThan(0);
    for (const { file, find } of without) expect(read(file).split(find), `${file}: ${find}`).toHaveLength(2);
  });
});
