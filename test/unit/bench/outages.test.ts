// The pure parts of the benches in which nothing may happen: who is struck, whether a guest stood still, and how the tables are printed.

import { describe, expect, it } from 'vitest';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import { medianAndMax } from '../../bench/markdown.js';
import type { FaultInOutage } from '../../bench/outages/fault.js';
import type { Outage } from '../../bench/outages/outage.js';
import { problemsOf, textOf, type OutagesResult } from '../../bench/outages/result.js';
import { isDark, FAULTS, membersAway, membersStruck, OUTAGE_KINDS } from '../../bench/outages/table.js';
import { stillnessOf } from '../../bench/watch/pair.js';

const ALL = ['host1', 'host2', 'host3'];

describe('the members that an outage takes', () => {
  it.each([
    ['one member', 0, ['host1']],
    ['one member', 1, ['host3']],
    ['one member', 2, ['host1']],
    ['the leader', 0, ['host2']],
    ['the majority', 0, ['host2', 'host1']],
    ['the majority', 1, ['host1', 'host3']],
    ['all', 0, ALL],
  ] as const)('%s in round %i, led by host2 -> %j', (struck, round, expected) => {
    expect(membersStruck(struck, 'host2', ALL, round)).toEqual(expected);
  });

  it('eight kinds -> each member set killed and stopped', () => {
    expect(OUTAGE_KINDS).toHaveLength(8);
  });

  it('while a fault comes -> always two, and the dark host is one of them', () => {
    for (const fault of FAULTS) {
      for (const round of [0, 1, 2, 3]) {
        const away = membersAway(fault, 'host3', ALL, round);
        expect(new Set(away).size).toBe(2);
        if (isDark(fault)) expect(away).toContain('host3');
      }
    }
  });
});

describe("how long a guest stood still, by the guest's own clock", () => {
  const look = (monoMs: number, upMs: number): ProbeLine => ({
    kind: 'value',
    sentMonoMs: monoMs - 5,
    monoMs,
    counter: 1,
    boot: 'a',
    upMs,
  });
  const lines = [look(1_000, 500), look(1_100, 590), look(1_200, 640), look(2_000, 1_440)];

  it('of a clock that falls behind -> by how much in all, and the most between two looks', () => {
    expect(stillnessOf(lines, 0, 3_000)).toEqual({ lastedMs: 1_000, stillMs: 60, longestMs: 50 });
  });

  it('between two instants -> only looks between them count', () => {
    expect(stillnessOf(lines, 1_050, 1_500)).toEqual({ lastedMs: 100, stillMs: 50, longestMs: 50 });
  });

  it('of fewer than two looks -> nothing is known', () => {
    expect(stillnessOf(lines, 1_150, 1_500)).toEqual({ lastedMs: 0, stillMs: 0, longestMs: 0 });
  });
});

describe('the tables of the outages', () => {
  const still = { lastedMs: 10_000, stillMs: 300, longestMs: 40 };
  const outage = (wrong: readonly string[], rightMs: number): Outage => ({
    kind: { struck: 'all', manner: 'SIGSTOP' },
    seconds: 10,
    noticedMs: 900,
    rightMs,
    unreadMs: 10_050,
    gapMs: 80,
    still,
    stillBefore: still,
    wrong,
  });
  const fault: FaultInOutage = {
    fault: 'primary killed',
    manner: 'killed',
    away: ['host1', 'host2'],
    verdictMs: 400,
    aloneMs: 450,
    gapMs: 12_000,
    wrong: [],
  };
  const result = (outages: readonly Outage[]): OutagesResult => ({ outages, faults: [fault], problems: [], answers: 5, records: 5 });

  it('when all held -> one row a kind and duration, with median and max', () => {
    const text = textOf(result([outage([], 500), outage([], 700), outage([], 600)]));
    expect(text).toContain('| all SIGSTOP | 10 | 3 | 10050, 10050 | 900, 900 | 600, 700 | 80, 80 | 30 (30) | kept |');
    expect(text).toContain('| primary killed | 1 | secondary | 400, 400 | 450, 450 | 12000, 12000 | kept |');
    expect(text).toContain('No rule was broken');
  });

  it('when a rule broke once -> the row says so, and the reason is named', () => {
    const broken = result([outage([], 500), outage(['A VERDICT'], 700)]);
    expect(problemsOf(broken)).toEqual(['all SIGSTOP, 10 s: A VERDICT']);
    expect(textOf(broken)).toContain('BROKEN');
  });

  it('of values that were never reached -> a dash', () => {
    expect([medianAndMax([]), medianAndMax([Number.NaN]), medianAndMax([1, 3, 2])]).toEqual(['-', '-', '2, 3']);
  });
});
