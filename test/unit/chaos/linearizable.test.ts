// The check of a history must be able to say no: every way in which a counter can betray its clients, and the honest histories beside it.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { violationsOf, type Operation } from '../../chaos/linearizable.js';

const add = (invokedMs: number, atMs: number, value: number, client = 'a'): Operation => ({
  kind: 'add',
  client,
  invokedMs,
  returned: { atMs, value },
});
const lost = (invokedMs: number): Operation => ({ kind: 'add', client: 'u', invokedMs, returned: null });
const read = (invokedMs: number, atMs: number, value: number): Operation => ({
  kind: 'read',
  client: 'r',
  invokedMs,
  returned: { atMs, value },
});

describe('a history of the counter', () => {
  const good: readonly { readonly what: string; readonly operations: readonly Operation[] }[] = [
    { what: 'nothing at all', operations: [] },
    { what: 'one after the other', operations: [add(0, 1, 1), add(2, 3, 2), add(4, 5, 3)] },
    { what: 'two at once, the later question told the lower value', operations: [add(0, 10, 2), add(1, 9, 1, 'b')] },
    { what: 'a request without an answer that happened', operations: [add(0, 1, 1), lost(2), add(3, 4, 3)] },
    { what: 'a request without an answer that never happened', operations: [add(0, 1, 1), lost(2), add(3, 4, 2)] },
    { what: 'a request without an answer that happened much later', operations: [lost(0), add(1, 2, 1), add(3, 4, 2), add(5, 6, 4)] },
    { what: 'a read beside an addition, before or after it', operations: [add(0, 10, 1), read(1, 2, 0), read(3, 4, 1)] },
    { what: 'a read of what a request without an answer made', operations: [lost(0), read(1, 2, 1)] },
    { what: 'reads of one value in any order', operations: [add(0, 1, 1), read(8, 9, 1), read(2, 20, 1), read(3, 4, 1)] },
  ];
  it.each(good)('$what -> holds', ({ operations }) => {
    expect(violationsOf(operations, 0)).toEqual([]);
  });

  const bad: readonly { readonly what: string; readonly operations: readonly Operation[]; readonly why: RegExp }[] = [
    { what: 'one value told twice', operations: [add(0, 1, 1), add(2, 3, 1, 'b')], why: /told 1 .*and so was/ },
    { what: 'a value from before the beginning', operations: [add(0, 1, 0)], why: /the counter was 0/ },
    { what: 'a step back', operations: [add(0, 1, 2), add(2, 3, 1)], why: /told 2 .*not after/ },
    { what: 'a hole that nobody asked for', operations: [add(0, 1, 1), add(2, 3, 3)], why: /nobody asked for 2/ },
    { what: 'two holes and one request without an answer', operations: [lost(0), add(1, 2, 3)], why: /nobody asked for 2/ },
    {
      what: 'a hole that could only be filled by a request of later',
      operations: [add(0, 1, 1), add(2, 3, 3), lost(4)],
      why: /told 3 .*not after a request of 4 ms/,
    },
    { what: 'a read of an old value', operations: [add(0, 1, 1), add(2, 3, 2), read(4, 5, 1)], why: /told 2 .*not after r was told 1/ },
    { what: 'a read of a value that nobody has made yet', operations: [read(0, 1, 1), add(2, 3, 1)], why: /told 1 by reading.*not after/ },
    { what: 'an old value between two reads of a new one', operations: [add(0, 9, 1), read(1, 2, 1), read(3, 4, 0)], why: /not after/ },
  ];
  it.each(bad)('$what -> is found', ({ operations, why }) => {
    expect(violationsOf(operations, 0).join('\n')).toMatch(why);
  });

  /** Orders so few operations in every way: slow, and too simple to be wrong. */
  function bySearch(operations: readonly Operation[], value: number): boolean {
    if (operations.every((each) => each.returned === null)) return true;
    const firstEnd = Math.min(...operations.map((each) => each.returned?.atMs ?? Infinity));
    return operations.some((each, index) => {
      if (each.invokedMs > firstEnd) return false;
      const rest = operations.filter((_, other) => other !== index);
      if (each.returned === null) return bySearch(rest, value + 1);
      const next = each.kind === 'add' ? value + 1 : value;
      return each.returned.value === next && bySearch(rest, next);
    });
  }

  it('any small history -> judged as by trying all orders', () => {
    const operation = fc
      .record({ kind: fc.constantFrom('add', 'read', 'lost'), from: fc.nat(12), lasts: fc.nat(6), value: fc.nat(3) })
      .map(({ kind, from, lasts, value }): Operation => {
        // Instants that are all different, so that "at the same time" needs no rule.
        if (kind === 'lost') return lost(from);
        return kind === 'add' ? add(from, from + lasts + 0.5, value) : read(from, from + lasts + 0.5, value);
      });
    const found = { good: 0, bad: 0 };
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
        const holds = bySearch(operations, 0);
        found[holds ? 'good' : 'bad'] += 1;
        expect(violationsOf(operations, 0).length === 0).toBe(holds);
      }),
      { numRuns: 2_000, seed: 7 },
    );
    expect(Math.min(found.good, found.bad)).toBeGreaterThan(100);
  });
});
