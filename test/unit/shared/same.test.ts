// Comparison of plain data, by examples, both ways round.

import { expect, it } from 'vitest';
import { isSame } from '../../../shared/core/same.js';

it.each<readonly [unknown, unknown, boolean]>([
  [1, 1, true],
  [1, '1', false],
  [null, {}, false],
  [[], {}, false],
  [[1, 2], [1, 2], true],
  [[1, 2], [1], false],
  [{ a: 1, b: [null] }, { b: [null], a: 1 }, true],
  [{ a: 1 }, { a: 1, b: 2 }, false],
  [{ a: undefined }, { b: undefined }, false],
  [{ a: { b: { c: 'x' } } }, { a: { b: { c: 'y' } } }, false],
])('%j and %j -> the same: %s', (one, other, same) => {
  expect(isSame(one, other)).toBe(same);
  expect(isSame(other, one)).toBe(same);
});
