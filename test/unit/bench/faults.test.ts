// The pure parts of the bench of faults: what a timeline is made of, when a split is seen, and which classes are chosen.

import { describe, expect, it } from 'vitest';
import { parseEvent, type LogEvent } from '../../bench/faults/logs.js';
import { ALL_CLASSES, chosen, nameOf, PLACES, type Choice } from '../../bench/faults/table.js';
import { releasesOf, splitEpochs, timelineOf } from '../../bench/faults/timeline.js';

const at = (atMs: number, host: string, event: string, fields: Readonly<Record<string, unknown>> = {}): LogEvent => ({
  host,
  daemon: event === 'edge' || event.startsWith('agent-') ? 'coordinator' : 'agent',
  atMs,
  event,
  fields,
});

describe('the timeline of a strike', () => {
  it('a dark primary -> each moment since the fault, and what came before the fault is left out', () => {
    const events = [
      at(900, 'host2', 'pair-judged', { pair: 'silent' }),
      at(1_000 + 280, 'host3', 'agent-unheard', { host: 'host1' }),
      at(1_000 + 285, 'host2', 'agent-unheard', { host: 'host1' }),
      at(1_000 + 290, 'host2', 'pair-judged', { pair: 'silent' }),
      at(1_000 + 310, 'host2', 'edge', { to: 'verdict', epoch: 5, tookMs: 12 }),
      at(1_000 + 315, 'host2', 'order-journalled', { goal: 'release-secondary', epoch: 5 }),
      at(1_000 + 340, 'host2', 'released', { epoch: 5 }),
      at(1_000 + 350, 'host2', 'edge', { to: 'executed', epoch: 6 }),
      // The dark host's own judgement, read when it is there again.
      at(1_000 + 355, 'host1', 'pair-judged', { pair: 'silent' }),
    ];
    expect(timelineOf(events, 1_000, 'host1')).toEqual({
      doubt: 290,
      evidence: 290,
      unheard: 285,
      decided: 298,
      saved: 310,
      journalled: 315,
      released: 340,
      executed: 350,
    });
  });

  it('nobody moved -> only the doubt', () => {
    expect(timelineOf([at(1_050, 'host1', 'pair-judged', { pair: 'unknown' })], 1_000, 'host2')).toEqual({ doubt: 50 });
  });

  it('two hosts released in one epoch -> a split; one host twice, or two epochs -> none', () => {
    const released = (host: string, epoch: number): LogEvent => at(1, host, 'released', { epoch });
    expect(splitEpochs(releasesOf([released('host1', 5), released('host2', 5)]))).toEqual([5]);
    expect(splitEpochs(releasesOf([released('host1', 5), released('host1', 5), released('host2', 8)]))).toEqual([]);
  });

  it('a line that is no event -> left out', () => {
    expect(parseEvent('host1', 'agent', 'Error: something')).toBeNull();
    expect(parseEvent('host1', 'agent', '{"time":"2026-01-31T12:00:00.000Z","event":"x","a":1}')).toMatchObject({
      event: 'x',
      atMs: 1769860800000,
    });
  });
});

describe('the classes of the table', () => {
  const all: Choice = { only: [], roles: ['primary', 'secondary'], places: PLACES, targetsOnly: false };

  it('no two -> have one name', () => {
    expect(new Set(ALL_CLASSES.map(nameOf)).size).toBe(ALL_CLASSES.length);
  });

  it('a choice -> only what it names', () => {
    expect(chosen(all)).toEqual(ALL_CLASSES);
    expect(chosen({ ...all, only: ['dark'], roles: ['primary'], places: ['both'] }).map(nameOf)).toEqual([
      'primary, host dark, carries both leaders',
    ]);
    expect(chosen({ ...all, targetsOnly: true }).every((each) => each.target !== null)).toBe(true);
  });
});
