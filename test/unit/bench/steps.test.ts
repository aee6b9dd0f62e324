// The table of steps at which agents are killed: its parts are the whole, and the few that are tests are still steps of the procedures.

import { describe, expect, it } from 'vitest';
import { COURSES } from '../../bench/steps/rounds.js';
import { FEW, isOfTheFew, piece, PROCEDURES, trapsOf } from '../../bench/steps/table.js';
import { nameOf } from '../../bench/traps/trap.js';

const everyProcedure = Object.values(PROCEDURES);

describe('the table of steps', () => {
  it.each([1, 2, 3, 7, 50])('in %i parts -> together they are the whole, and nothing is done twice', (of) => {
    const all = trapsOf(PROCEDURES.primaryResume);
    const parts = Array.from({ length: of }, (_, index) => piece(all, { number: index + 1, of }));
    expect(parts.flat()).toEqual(all);
  });

  it.each(FEW)('%s, of the few -> is a step of a procedure', (few) => {
    const names = trapsOf(...everyProcedure)
      .flat()
      .map(nameOf);
    expect(names.filter((name) => few.test(name)).length).toBeGreaterThan(0);
  });

  it.each(everyProcedure)('$name -> has some of the few', (procedure) => {
    expect(trapsOf(procedure).some(isOfTheFew)).toBe(true);
  });

  it('-> is dealt out to the courses as a whole, but for the cold start, which has a course of its own', () => {
    const dealt = COURSES.flatMap((course) => [...course.failover, ...course.attempt, ...course.rollback].flat()).map(nameOf);
    const all = trapsOf(...everyProcedure.filter((each) => each !== PROCEDURES.primaryStart)).flat();
    expect(new Set(dealt)).toEqual(new Set(all.map(nameOf)));
  });
});
