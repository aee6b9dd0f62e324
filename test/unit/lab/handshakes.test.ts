// Which connections a test of traffic leaves out of its judgement, and which it must not.

import { describe, expect, it } from 'vitest';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import { withoutHandshakes } from '../../e2e/cluster/traffic.js';

const connected = (monoMs: number): ProbeLine => ({ kind: 'connected', monoMs, wallMs: monoMs });
const answer = (monoMs: number): ProbeLine => ({
  kind: 'answer',
  sentMonoMs: monoMs - 5,
  monoMs,
  wallMs: monoMs,
  counter: 1,
  boot: 'b',
  diskErrno: 0,
});
const broken = (monoMs: number, detail = 'no answer within 30000 ms'): ProbeLine => ({ kind: 'broken', monoMs, wallMs: monoMs, detail });

describe('a connection without an answer', () => {
  it('made right before a death of the primary -> is told of, and left out', () => {
    const lines = [connected(100), answer(120), connected(960), broken(31_000)];
    expect(withoutHandshakes(lines, [1_000])).toEqual([lines.slice(0, 3), [40]]);
  });

  it.each([
    ['made long before', [connected(100), broken(31_000)], [1_200]],
    ['made after the death', [connected(1_010), broken(31_000)], [1_000]],
    ['that had an answer', [connected(960), answer(980), broken(31_000)], [1_000]],
    ['that was reset', [connected(960), broken(1_100, 'read ECONNRESET')], [1_000]],
    ['while no primary died', [connected(960), broken(31_000)], []],
  ] as const)('%s -> counts', (_, lines, deaths) => {
    expect(withoutHandshakes(lines, deaths)).toEqual([lines, []]);
  });
});
