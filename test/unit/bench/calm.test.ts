// The pure parts of the bench of calm: which words of the logs are doubts, which are decisions, and how the tables are printed.

import { describe, expect, it } from 'vitest';
import type { LogEvent } from '../../bench/faults/logs.js';
import { actsFor } from '../../bench/calm/acts.js';
import type { Quiet } from '../../bench/calm/quiet.js';
import { problemsOf, textOf, type CalmResult } from '../../bench/calm/result.js';
import { decisionsIn, suspicionsIn } from '../../bench/calm/suspicions.js';

const said = (event: string, fields: Readonly<Record<string, unknown>> = {}): LogEvent => ({
  host: 'host1',
  daemon: 'agent',
  atMs: 1,
  event,
  fields,
});

describe('what the logs say', () => {
  it('of doubts -> each counted by its name, a pair that is judged well is none', () => {
    const events = [
      said('late-tick'),
      said('pair-judged', { pair: 'unknown' }),
      said('pair-judged', { pair: 'ok' }),
      said('late-tick'),
      said('agent-heard'),
    ];
    expect(suspicionsIn(events)).toEqual([
      ['late-tick', 2],
      ['pair-judged unknown', 1],
    ]);
  });

  it('of decisions -> edges, orders and ends; a forced checkpoint is none', () => {
    const events = [
      said('edge', { row: 'link-cut', from: 'protected', to: 'verdict' }),
      said('order-begun', { goal: 'checkpoint' }),
      said('order-begun', { goal: 'release-primary' }),
      said('released'),
      said('late-tick'),
    ];
    expect(decisionsIn(events)).toEqual(['link-cut: protected -> verdict by host1', 'order release-primary on host1', 'released on host1']);
  });
});

describe('the tables of calm', () => {
  const quiet = (wrong: readonly string[]): Quiet => ({
    lastedMs: 60_000,
    suspicions: [['late-tick', 3]],
    decisions: wrong,
    answers: 100,
    gapMs: 250,
    still: { lastedMs: 60_000, stillMs: 3_000, longestMs: 90 },
    wrong,
  });
  const result = (wrong: readonly string[]): CalmResult => ({
    storm: { seed: 7, processors: 2, percent: 5, pauses: [200, 210, 260], frames: { seen: 1_000, dropped: 51 }, quiet: quiet([]) },
    acts: [{ what: 'all agents stopped', seconds: 5, rightMs: 320, quiet: quiet(wrong) }],
    problems: [],
    answers: 200,
    records: 200,
  });

  it('without a false alarm -> counts of pauses, frames and doubts, and no verdict', () => {
    const text = textOf(result([]));
    expect(text).toContain('3; ms as median, max: 210, 260');
    expect(text).toContain('51 of 1000 (5.1 %)');
    expect(text).toContain('| all agents stopped | 5 | 0 | 320 | 250 | late-tick 3 | kept |');
    expect(text).toContain('No false alarm');
  });

  it('with one -> it is named', () => {
    expect(problemsOf(result(['link-cut: protected -> verdict by host1']))).toEqual([
      'all agents stopped: link-cut: protected -> verdict by host1',
    ]);
    expect(textOf(result(['x']))).toContain('BROKEN');
  });

  it('the acts -> each agent of the pair killed, stopped and cut off, and everybody lost at once', () => {
    expect(actsFor(30, 5).map((act) => act.seconds)).toEqual([30, 30, 30, 30, 30, 30, 5, 5, 5, 5]);
  });
});
