// What is made of a prober's lines, on logs made by hand: gaps, counters, boots, latencies.

import { describe, expect, it } from 'vitest';
import {
  checkCounters,
  gapAround,
  gapOfFault,
  gapOfPairing,
  maxGap,
  quantile,
  summarise,
  untoldCounters,
} from '../../../deploy/lab/probe-analysis.js';
import { parseProbeLog, type ProbeLine } from '../../../deploy/lab/probe-log.js';

type Answer = Extract<ProbeLine, { kind: 'answer' }>;

function answer(monoMs: number, counter: number, change: Partial<Answer> = {}): Answer {
  return { kind: 'answer', sentMonoMs: monoMs - 5, monoMs, wallMs: monoMs, counter, boot: '0000000a', diskErrno: 0, ...change };
}
const begin: ProbeLine = { kind: 'begin', probe: 'closed-loop', monoMs: 0, wallMs: 0 };
const connected = (monoMs: number): ProbeLine => ({ kind: 'connected', monoMs, wallMs: monoMs });
const broken = (monoMs: number): ProbeLine => ({ kind: 'broken', monoMs, wallMs: monoMs, detail: 'read ECONNRESET' });
const transfer = (monoMs: number): ProbeLine => ({ kind: 'transfer', sentMonoMs: monoMs - 50, monoMs, wallMs: monoMs, bytes: 1000 });

describe('counters of a closed loop', () => {
  const cases: readonly {
    readonly what: string;
    readonly answers: readonly Answer[];
    readonly missing: number;
    readonly backward: number;
  }[] = [
    { what: 'one after the other', answers: [answer(1, 1), answer(2, 2), answer(3, 3)], missing: 0, backward: 0 },
    { what: 'two left out', answers: [answer(1, 1), answer(2, 4)], missing: 2, backward: 0 },
    { what: 'one told twice', answers: [answer(1, 1), answer(2, 2), answer(3, 2)], missing: 0, backward: 1 },
    { what: 'a step back and on from there', answers: [answer(1, 8), answer(2, 5), answer(3, 6)], missing: 0, backward: 1 },
    { what: 'from the beginning after a boot', answers: [answer(1, 8), answer(2, 1, { boot: '0000000b' })], missing: 0, backward: 0 },
    { what: 'none at all', answers: [], missing: 0, backward: 0 },
  ];
  it.each(cases)('$what -> $missing missing, $backward backward', ({ answers, missing, backward }) => {
    expect(checkCounters(answers)).toMatchObject({
      missing,
      backward,
      first: answers[0]?.counter ?? null,
      last: answers.at(-1)?.counter ?? null,
    });
  });

  it('that several clients share -> are untold only where no client was told of them', () => {
    const one = [answer(1, 3), answer(2, 5), answer(3, 9)];
    const other = [answer(1, 4), answer(2, 7), answer(9, 30, { boot: '0000000b' })];
    expect(untoldCounters([one, other], '0000000a')).toEqual([6, 8]);
    expect(untoldCounters([one, other], '0000000b')).toEqual([]);
    expect(untoldCounters([], '0000000a')).toEqual([]);
  });
});

describe('gaps', () => {
  it('between two answers, with a break and a new connection in between -> is one gap', () => {
    const lines = [begin, connected(1), answer(10, 1), broken(50), connected(300), answer(310, 2), answer(330, 3)];
    expect(maxGap(lines)).toEqual({ ms: 300, fromMonoMs: 10, toMonoMs: 310 });
  });

  it('of a download -> counts its progress as a sign of life', () => {
    const lines: readonly ProbeLine[] = [
      { kind: 'progress', monoMs: 10, bytes: 1 },
      { kind: 'progress', monoMs: 30, bytes: 2 },
      transfer(35),
    ];
    expect(maxGap(lines)?.ms).toBe(20);
  });

  it('before the fault -> is not taken for that of the fault', () => {
    const lines = [answer(0, 1), answer(500, 2), answer(520, 3), answer(620, 4), answer(640, 5)];
    expect(gapAround(lines, 530, 1_000)).toEqual({ ms: 100, fromMonoMs: 520, toMonoMs: 620 });
  });

  it('into which the fault falls -> is counted from its own beginning', () => {
    expect(gapAround([answer(0, 1), answer(500, 2)], 400, 1_000)?.fromMonoMs).toBe(0);
  });

  it('long after the fault -> is outside the window', () => {
    const lines = [answer(0, 1), answer(40, 2), answer(5_000, 3)];
    expect(gapAround(lines, 10, 1_000)?.ms).toBe(40);
  });

  it('of a fault, before a longer one of the next pair -> each is told by itself', () => {
    const lines = [answer(0, 1), answer(250, 2), answer(280, 3), answer(700, 4), answer(730, 5)];
    expect(gapOfFault(lines, 20, 60)).toEqual({ ms: 250, fromMonoMs: 0, toMonoMs: 250 });
    expect(gapOfPairing(lines, 60, 690)).toEqual({ ms: 420, fromMonoMs: 280, toMonoMs: 700 });
  });

  it('of a client that was answered once more before the guest ran alone -> still counts as that of the fault', () => {
    expect(gapOfFault([answer(0, 1), answer(40, 2), answer(400, 3)], 20, 60)?.ms).toBe(360);
  });

  it('of a guest that was heard once -> is unknown', () => {
    expect(maxGap([begin, answer(5, 1)])).toBeNull();
    expect(gapAround([answer(0, 1)], 10, 1_000)).toBeNull();
  });
});

describe('a summary', () => {
  it('of a log with everything in it -> counts each thing once', () => {
    const lines: readonly ProbeLine[] = [
      begin,
      connected(1),
      answer(10, 1),
      answer(20, 2, { diskErrno: 5 }),
      broken(25),
      connected(30),
      { kind: 'wrong', monoMs: 35, wallMs: 35, detail: 'asked q3, was told "x"' },
      answer(40, 1, { boot: '0000000b' }),
      transfer(90),
      { kind: 'guest-query', sentMonoMs: 90, monoMs: 95, wallMs: 95, elapsedMs: 4, tries: 1 },
      { kind: 'guest-query', sentMonoMs: 95, monoMs: 99, wallMs: 99, elapsedMs: null, tries: 3 },
    ];
    expect(summarise(lines)).toMatchObject({
      answers: 3,
      transfers: 1,
      transferredBytes: 1000,
      connections: 2,
      broken: ['read ECONNRESET'],
      wrong: ['asked q3, was told "x"'],
      boots: ['0000000a', '0000000b'],
      diskErrors: 1,
      latency: { medianMs: 5, maxMs: 50 },
      guestQueries: { answered: 1, failed: 1, maxMs: 4 },
    });
  });

  it('of a log without an answer -> has no latency and no gap', () => {
    expect(summarise([begin])).toMatchObject({ answers: 0, latency: null, maxGap: null, guestQueries: null, boots: [] });
  });

  it.each([
    [0.5, 2],
    [0.99, 4],
    [0, 1],
    [1, 4],
  ])('quantile %d of 4, 1, 3, 2 -> is %d, a value that was seen', (part, expected) => {
    expect(quantile([4, 1, 3, 2], part)).toBe(expected);
  });

  it('of a file whose last line is cut off -> is made without that line', () => {
    const text = `${JSON.stringify(begin)}\n${JSON.stringify(answer(1, 1))}\n{"kind":"answ`;
    expect(parseProbeLog(text)).toEqual([begin, answer(1, 1)]);
    expect(parseProbeLog('')).toEqual([]);
  });
});
