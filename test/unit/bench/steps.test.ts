// The table of steps at which agents are killed: its parts are the whole, and the few that are tests are still steps of the procedures.

import { describe, expect, it } from 'vitest';
import { COURSES } from '../../bench/steps/rounds.js';
import { fewOf, named, piece, PROCEDURES, trapsOf } from '../../bench/steps/table.js';
import { nameOf } from '../../bench/traps/trap.js';

const keys = Object.keys(PROCEDURES) as readonly (keyof typeof PROCEDURES)[];
const everyProcedure = Object.values(PROCEDURES);

describe('the table of steps', () => {
  it.each([1, 2, 3, 7, 50])('in %i parts -> together they are the whole, and nothing is done twice', (of) => {
    const all = trapsOf(PROCEDURES.primaryResume);
    const parts = Array.from({ length: of }, (_, index) => piece(all, { number: index + 1, of }));
    expect(parts.flat()).toEqual(all);
  });

  it.each(keys.filter((key) => key !== 'liveResume'))('%s -> its first and its worst step are among the few', (key) => {
    const all = trapsOf(PROCEDURES[key]).flat().map(nameOf);
    const few = fewOf(key).map(nameOf);
    expect(few).toHaveLength(2);
    expect(all).toEqual(expect.arrayContaining(few));
  });

  it('of which some are named -> those, without the steps that are empty then', () => {
    const all = trapsOf(PROCEDURES.rollback);
    expect(named(all, [])).toEqual(all);
    expect(named(all, ['sent "cont"', 'before "migrate_cancel"']).map((pair) => pair.map(nameOf))).toEqual([
      ['rollback-protection, before "migrate_cancel"'],
      ['rollback-protection, sent "cont"'],
    ]);
  });

  it('-> is dealt out to the courses as a whole, but for the cold start, which has a course of its own', () => {
    const dealt = COURSES.flatMap((course) => [...course.failover, ...course.attempt, ...course.rollback].flat()).map(nameOf);
    const all = trapsOf(...everyProcedure.filter((each) => each !== PROCEDURES.primaryStart)).flat();
    expect(new Set(dealt)).toEqual(new Set(all.map(nameOf)));
  });
});
