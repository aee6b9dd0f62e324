// What a chaos judges by, each rule with evidence that breaks it: a judge that cannot say no proves nothing.

import { describe, expect, it } from 'vitest';
import type { DiskRecord } from '../../../deploy/lab/disk-records.js';
import type { Frame } from '../../../deploy/lab/capture/pcap.js';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import type { HistoryEntry } from '../../../shared/gen/colo/v1/coordinator.js';
import { BREAKS, mayEndGuest, violationsIn, type Blown, type Evidence } from '../../chaos/judge.js';
import { emissionViolations } from '../../chaos/emissions.js';
import { historyViolations, lostWrites, type ClientLog } from '../../chaos/operations.js';
import { planOf } from '../../chaos/plan.js';
import { crashesIn } from '../../chaos/qemu-deaths.js';
import { isEdge, paperViolations } from '../../chaos/verdicts.js';

const OLD = '0000000a';
const NEW = '0000000b';

function exchange(monoMs: number, counter: number, boot = OLD): readonly ProbeLine[] {
  const answer = { kind: 'answer', sentMonoMs: monoMs, monoMs: monoMs + 5, wallMs: 0, counter, boot, diskErrno: 0 } as const;
  return [{ kind: 'asked', monoMs, question: 'q' }, answer];
}
const broken = (monoMs: number): ProbeLine => ({ kind: 'broken', monoMs, wallMs: 0, detail: 'read ECONNRESET' });
const log = (...lines: readonly (readonly ProbeLine[] | ProbeLine)[]): ClientLog => ({
  client: 'counter 1',
  lines: lines.flat() as ProbeLine[],
});

const entry = (epoch: number, from: string, to: string, primary: string, row = 'x'): HistoryEntry => ({
  atMs: 0,
  vm: 'demo',
  epoch,
  row,
  from,
  to,
  primary,
  secondary: '',
  evidence: [],
  by: '',
  durationsMs: {},
});
const blow = (change: Partial<Blown> = {}): Blown => ({
  round: 0,
  kind: 'qemu-kill',
  target: 'primary',
  host: 'host1',
  atMs: 10,
  phase: 'protected',
  side: 'primary',
  ...change,
});
const evidence = (change: Partial<Evidence> = {}): Evidence => ({
  blown: [],
  wholeMs: [0],
  logs: [],
  initial: 0,
  history: [],
  releases: [],
  splits: [],
  emissions: { frames: new Map(), hole: null },
  ownDeaths: [],
  ...change,
});

describe('clients', () => {
  it('whose connection lasted and whose counter went on -> nothing is found', () => {
    expect(violationsIn(evidence({ logs: [log(exchange(1, 1), exchange(10, 2))] }))).toEqual([]);
  });
  it('whose connection broke although the guest ran on -> is found', () => {
    expect(violationsIn(evidence({ logs: [log(exchange(1, 1), broken(8), exchange(10, 2))] }))).toEqual([
      expect.stringMatching(/the connection broke at 8 ms/),
    ]);
  });
  it('whose guest began anew after one death in a protected pair -> is found', () => {
    const logs = [log(exchange(1, 1), broken(15), exchange(20, 1, NEW))];
    expect(violationsIn(evidence({ logs, blown: [blow()] }))).toEqual([
      expect.stringMatching(/began anew.*qemu-kill of primary host1 in round 1/),
    ]);
  });
  it('whose guest began anew after both sides died -> nothing is found', () => {
    const logs = [log(exchange(1, 1), broken(15), exchange(20, 1, NEW))];
    expect(violationsIn(evidence({ logs, blown: [blow(), blow({ side: 'secondary', host: 'host2' })] }))).toEqual([]);
  });
  it('who were answered by an older boot after a newer one -> is found', () => {
    const logs = [log(exchange(1, 1), exchange(20, 1, NEW), exchange(30, 2))];
    expect(historyViolations(logs, 0)).toEqual([expect.stringMatching(/answered by boot 0000000a .*after boot 0000000b/)]);
  });
  it('who were told nonsense or of a disk error -> is found', () => {
    const told: ProbeLine = { kind: 'answer', sentMonoMs: 1, monoMs: 2, wallMs: 0, counter: 1, boot: OLD, diskErrno: 5 };
    const lines: ProbeLine[] = [
      { kind: 'asked', monoMs: 1, question: 'q1' },
      told,
      { kind: 'wrong', monoMs: 3, wallMs: 0, detail: 'byte 7' },
    ];
    expect(historyViolations([log(lines)], 0)).toEqual([expect.stringMatching(/disk error 5/), expect.stringMatching(/byte 7/)]);
  });
});

describe('a guest may have ended', () => {
  const cases: readonly { readonly what: string; readonly blows: readonly Blown[]; readonly own?: number; readonly may: boolean }[] = [
    { what: 'one side killed while protected', blows: [blow()], may: false },
    { what: 'a link cut', blows: [blow({ kind: 'cut-replication' })], may: false },
    {
      what: 'an agent and a coordinator killed besides',
      blows: [blow(), blow({ kind: 'agent-kill' }), blow({ kind: 'coordinator-kill' })],
      may: false,
    },
    { what: 'the spare dark besides', blows: [blow(), blow({ kind: 'host-dark', side: null })], may: false },
    { what: 'one side killed while alone', blows: [blow({ phase: 'solo' })], may: true },
    { what: 'a link cut while alone', blows: [blow({ phase: 'solo', kind: 'cut-replication' })], may: false },
    { what: 'one side killed when nobody told the phase', blows: [blow({ phase: null })], may: true },
    { what: 'both sides struck', blows: [blow(), blow({ side: 'secondary', kind: 'host-dark' })], may: true },
    { what: 'a link cut, and the survivor killed', blows: [blow({ kind: 'cut-both' }), blow()], may: true },
    { what: 'one side killed, and the other crashed by itself', blows: [blow()], own: 1, may: true },
  ];
  it.each(cases)('after $what -> $may', ({ blows, own, may }) => {
    expect(mayEndGuest(blows, own ?? 0)).toBe(may);
  });
});

describe('what leaves the hosts', () => {
  const frame = (wallMs: number, place: number, text: string): Frame => {
    const payload = Buffer.from(text);
    return { wallMs, type: 'IPv4', content: { kind: 'tcp', stream: 's', place, end: place + payload.length, payload } };
  };
  const moved = [
    { epoch: 4, atMs: 0, primary: 'a' },
    { epoch: 5, atMs: 1_000, primary: 'b' },
  ];
  const judged = (a: readonly Frame[], b: readonly Frame[]): readonly string[] =>
    emissionViolations(
      new Map([
        ['a', a],
        ['b', b],
      ]),
      moved,
    );
  it('of the one that runs the guest, before and after it moved -> nothing is found', () => {
    expect(judged([frame(500, 1, 'x')], [frame(1_500, 2, 'y')])).toEqual([]);
  });
  it('of the old one long after the verdict -> is found', () => {
    expect(judged([frame(500, 1, 'x'), frame(1_500, 2, 'z')], [])).toEqual([
      expect.stringMatching(/after epoch 5 \(a -> b\): a sent 1 bytes/),
    ]);
  });
  it('of a host that never had it -> is found', () => {
    const found = emissionViolations(new Map([['c', [frame(1_200, 1, 'x')]]]), moved);
    expect(found.join()).toMatch(/c sent 1 bytes of s .*never the primary/);
  });
});

describe('the papers', () => {
  const line = [entry(3, 'syncing', 'protected', 'a'), entry(4, 'protected', 'verdict', 'b'), entry(5, 'verdict', 'executed', 'b')];
  it('of an ordinary failover -> nothing is found', () => {
    expect(paperViolations(line, [{ host: 'b', born: 2, epoch: 4 }])).toEqual([]);
  });
  it('with two sides released in one epoch -> is found', () => {
    const both = [
      { host: 'b', born: 2, epoch: 4 },
      { host: 'a', born: 1, epoch: 4 },
    ];
    expect(paperViolations(line, both)).toEqual([
      expect.stringMatching(/TWO SIDES in epoch 4/),
      expect.stringMatching(/a was released in epoch 4/),
    ]);
  });
  it('with a release of a side that the verdict did not name -> is found', () => {
    expect(paperViolations(line, [{ host: 'a', born: 1, epoch: 4 }])).toEqual([
      expect.stringMatching(/a was released in epoch 4.* names b/),
    ]);
  });
  it('on which a coordinator suspected a split -> is found', () => {
    expect(violationsIn(evidence({ splits: ['epoch 7: it runs alone on a and b'] }))).toEqual([
      expect.stringMatching(/SPLIT SUSPECTED in epoch 7/),
    ]);
  });
  it('with what somebody asked for beside the edge of the same epoch -> only the edge is one', () => {
    expect([entry(4, 'protected', 'verdict', 'b', 'link-cut'), entry(4, 'verdict', 'verdict', 'b', 'asked-stop')].map(isEdge)).toEqual([
      true,
      false,
    ]);
  });
  it('with a hole in the history -> is found', () => {
    expect(
      paperViolations(
        [line[0], line[2]].filter((each) => each !== undefined),
        [],
      ),
    ).toEqual(['the history goes from epoch 3 to 5']);
  });
  it('with an edge that does not begin where the last one ended -> is found', () => {
    expect(paperViolations([entry(3, 'syncing', 'protected', 'a'), entry(4, 'solo', 'verdict', 'b')], [])).toEqual([
      expect.stringMatching(/goes from solo/),
    ]);
  });
});

describe('the disk', () => {
  const records = (...found: readonly DiskRecord[]): (DiskRecord | null)[] => {
    const slots: (DiskRecord | null)[] = Array.from({ length: 10 }, () => null);
    for (const each of found) slots[each.counter % 10] = each;
    return slots;
  };
  it('with every acknowledged record -> nothing is lost', () => {
    expect(lostWrites(records({ counter: 1, boot: OLD }), [log(exchange(1, 1))])).toEqual([]);
  });
  it('without one -> it is named', () => {
    expect(lostWrites(records(), [log(exchange(1, 1))])).toEqual([expect.stringMatching(/^1 of boot 0000000a/)]);
  });
  it('with a record of an older round in the slot -> is lost', () => {
    expect(lostWrites(records({ counter: 1, boot: OLD }), [log(exchange(1, 11))])).toHaveLength(1);
  });
  it('whose slot a later boot wrote over -> nothing is lost', () => {
    expect(lostWrites(records({ counter: 1, boot: NEW }), [log(exchange(1, 1), exchange(9, 1, NEW))])).toEqual([]);
  });
  it('whose slot an earlier boot has -> is lost', () => {
    expect(lostWrites(records({ counter: 1, boot: OLD }), [log(exchange(1, 1), exchange(9, 1, NEW))])).toHaveLength(1);
  });
});

describe('the plan', () => {
  it('of one seed -> is the same each time, and a longer one begins with it', () => {
    expect(planOf(4, 30).slice(0, 10)).toEqual(planOf(4, 10));
    expect(planOf(4, 10)).not.toEqual(planOf(5, 10));
  });
  it('of the minute in `npm test` -> breaks a pair at most once a round, so that no guest may begin anew', () => {
    const rounds = planOf(1529, 11);
    for (const { faults } of rounds) expect(faults.filter((each) => BREAKS.includes(each.kind)).length).toBeLessThanOrEqual(1);
    expect(rounds.every((each) => each.recovers)).toBe(true);
    expect(new Set(rounds.flatMap((each) => each.faults.map((fault) => fault.kind))).size).toBe(15);
  });
  it('of many rounds -> has every kind of fault, and faults that overlap', () => {
    const rounds = planOf(1, 400);
    expect(new Set(rounds.flatMap((each) => each.faults.map((fault) => fault.kind))).size).toBe(19);
    expect(rounds.some((each) => each.faults.length === 3)).toBe(true);
  });
});

it('a QEMU log with an assertion -> counts as a crash of its own', () => {
  expect(crashesIn("qemu: Assertion `data' failed.\nordinary words")).toHaveLength(1);
});
