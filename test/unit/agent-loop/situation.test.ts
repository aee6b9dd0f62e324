// What a QEMU is, from its answers and events; what is planned then; and what is said about its pair.

import { describe, expect, it } from 'vitest';
import { ACTIONS, givesWay, plan, PLANS, SITUATIONS } from '../../../agent/core/plan.js';
import { proofFailures } from '../../../agent/core/proof.js';
import { lastWords, saysColoLeft, saysUnpromotable } from '../../../agent/core/qemu-log.js';
import { judgePair } from '../../../agent/core/report.js';
import { contactProvenAt, forgetPair, seeEvent, type Seen } from '../../../agent/core/seen.js';
import { hasMergeFailed, isMerging, situationOf, type Looked } from '../../../agent/core/situation.js';
import { vmNames } from '../../../agent/core/names.js';
import type { JsonObject } from '../../../agent/core/procedures/port.js';
import { instant } from '../../../shared/core/ids.js';
import { aSpec } from '../../support/spec.js';
import { aJournal, aQemu, primaryFacts, secondaryFacts, someFacts, someSeen } from './builders.js';

const names = vmNames(1, 1);
const event = (name: string, data: JsonObject = {}, at = 10) => ({ name, data, at: instant(at) });
const looked = (change: Partial<Looked> = {}): Looked => ({
  qemu: aQemu(),
  connected: true,
  hung: false,
  facts: someFacts(),
  seen: someSeen(),
  ...change,
});
const left = (lastMode: string) => ({ mode: 'none' as const, lastMode, reason: 'request' });

describe('a QEMU', () => {
  it.each([
    ['that was never started', 'absent', { qemu: null }, 'absent'],
    ['that ended', 'dead', { qemu: aQemu({ death: { why: 'x' } }) }, 'dead'],
    ['that does not answer out of band', 'hung', { hung: true }, 'hung'],
    ['that was not looked at yet', 'unseen', { facts: null }, 'unseen'],
    ['whose monitor is gone for the moment', 'unseen', { connected: false }, 'unseen'],
    ['that runs its guest and has no part of a pair', 'alone', {}, 'alone'],
    ['that only kept a rewriter', 'alone', { facts: someFacts({ rewriters: ['rew0'], objects: ['rew0'] }) }, 'alone'],
    [
      'that waits for its stream',
      'incoming',
      { facts: secondaryFacts({ runstate: 'inmigrate', colo: { mode: 'none', lastMode: 'none', reason: 'none' } }) },
      'incoming',
    ],
    ['in COLO as secondary', 'secondary', { facts: secondaryFacts() }, 'secondary'],
    ['whose secondary failover was cut off', 'still secondary', { facts: secondaryFacts({ colo: left('secondary') }) }, 'secondary'],
    ['in COLO as primary', 'primary', { facts: primaryFacts() }, 'primary'],
    [
      'whose primary failover was cut off',
      'still primary',
      {
        facts: primaryFacts({ colo: left('primary') }),
        seen: someSeen({ coloExit: { at: instant(5), mode: 'primary', reason: 'request' } }),
      },
      'primary',
    ],
    [
      'with the filters of a new attempt after an earlier failover',
      'attempt',
      { facts: primaryFacts({ colo: left('primary') }) },
      'attempt',
    ],
    [
      'with filters and no COLO',
      'attempt',
      { facts: primaryFacts({ colo: { mode: 'none', lastMode: 'none', reason: 'none' } }) },
      'attempt',
    ],
    [
      'with a copy under way',
      'attempt',
      { facts: someFacts({ jobs: [{ id: 'resync', type: 'mirror', ready: false, doneBytes: 0, totalBytes: 1 }] }) },
      'attempt',
    ],
    ['that was stopped for a copy that never came', 'attempt', { facts: someFacts({ running: false, runstate: 'paused' }) }, 'attempt'],
    [
      'that waits with -S',
      'prelaunch',
      { facts: primaryFacts({ runstate: 'prelaunch', colo: { mode: 'none', lastMode: 'none', reason: 'none' } }) },
      'prelaunch',
    ],
    ['whose guest powered off', 'shutdown', { facts: someFacts({ runstate: 'shutdown', running: false }) }, 'shutdown'],
    [
      'that has just reached COLO by an event',
      'primary before the next look',
      { facts: primaryFacts({ colo: { mode: 'none', lastMode: 'none', reason: 'none' } }), seen: someSeen({ coloSince: instant(5) }) },
      'primary',
    ],
  ] as const)('%s -> %s', (_situation, _outcome, change, expected) => {
    expect(situationOf(looked(change as Partial<Looked>))).toBe(expected);
  });

  it('with a chain of images -> is merging; with one -> not', () => {
    expect(isMerging(secondaryFacts())).toBe(true);
    expect(isMerging(someFacts())).toBe(false);
  });

  it('with a chain that no job works on, and an error of its driver -> its merge has failed; with the job -> not yet', () => {
    const [disk] = secondaryFacts().disks;
    const promoted = (innerJob: boolean) => someFacts({ replication: 'error', disks: disk === undefined ? [] : [{ ...disk, innerJob }] });
    expect(hasMergeFailed(promoted(false))).toBe(true);
    expect(hasMergeFailed(promoted(true))).toBe(false);
    expect(hasMergeFailed({ ...promoted(false), replication: 'clean' })).toBe(false);
    expect(hasMergeFailed({ ...promoted(false), role: 'secondary' })).toBe(false);
  });
});

describe('the plan', () => {
  it('-> names every action somewhere, and none that does not exist', () => {
    const used = new Set(
      Object.values(PLANS).flatMap((row) => Object.values(row).flatMap((cell) => (cell.kind === 'do' ? [cell.action] : []))),
    );
    expect([...used].sort()).toEqual([...ACTIONS].sort());
  });

  it('-> a secondary that never reached COLO is never promoted', () => {
    expect(plan('release-secondary', 'incoming')).toMatchObject({ kind: 'fail' });
    for (const situation of SITUATIONS) {
      if (situation === 'secondary' || situation === 'hung') continue;
      expect(plan('release-secondary', situation)).not.toEqual({ kind: 'do', action: 'secondary-failover' });
    }
  });

  it('-> only an order to destroy kills', () => {
    for (const [goal, row] of Object.entries(PLANS)) {
      if (goal === 'destroy') continue;
      for (const cell of Object.values(row)) expect(cell).not.toEqual({ kind: 'do', action: 'kill' });
    }
  });

  it('-> a release is not cut off but by what takes its QEMU out of the game', () => {
    expect(givesWay('release-secondary', 'protect')).toBe(false);
    expect(givesWay('release-secondary', 'hold')).toBe(true);
    expect(givesWay('protect', 'release-primary')).toBe(true);
  });
});

describe('the events of a QEMU', () => {
  it('COLO_EXIT with an error -> breaks the pair, with a line of evidence', () => {
    const seen = seeEvent(someSeen({ coloSince: instant(1) }), event('COLO_EXIT', { mode: 'secondary', reason: 'error' }), names);
    expect(seen).toMatchObject({ coloSince: null, coloExit: { mode: 'secondary' }, breaks: [{ what: 'COLO_EXIT secondary error' }] });
  });

  it('COLO_EXIT by our own failover -> breaks nothing', () => {
    const seen = seeEvent(someSeen(), event('COLO_EXIT', { mode: 'primary', reason: 'request' }), names);
    expect(seen.breaks).toEqual([]);
  });

  it('RESUME -> counts as a checkpoint in COLO only', () => {
    const before = seeEvent(someSeen(), event('RESUME'), names);
    const colo = seeEvent(before, event('MIGRATION', { status: 'colo' }), names);
    const after = seeEvent(seeEvent(colo, event('RESUME'), names), event('RESUME', {}, 20), names);
    expect(after).toMatchObject({ checkpoints: 2, lastResumeAt: 20 });
  });

  it('checkpoints -> on a primary the begin of one that ended is proof of contact, on a secondary the end before the last begin', () => {
    const colo = seeEvent(someSeen(), event('MIGRATION', { status: 'colo' }), names);
    const at = (from: Seen, ...events: readonly (readonly [string, number])[]): Seen =>
      events.reduce((seen, [name, ms]) => seeEvent(seen, event(name, {}, ms), names), from);
    const first = at(colo, ['STOP', 10], ['RESUME', 20]);
    expect(first).toMatchObject({ endedBeganAt: 10, answeredEndAt: null });
    const begun = at(first, ['STOP', 30]);
    expect(begun).toMatchObject({ endedBeganAt: 10, answeredEndAt: 20 });
    const ended = at(begun, ['RESUME', 40]);
    expect(ended).toMatchObject({ endedBeganAt: 30, answeredEndAt: 20 });
    const proven = (seen: Seen): unknown => [contactProvenAt(seen, 'primary'), contactProvenAt(seen, 'secondary')];
    expect([first, begun, ended, forgetPair(ended, true)].map(proven)).toEqual([
      [10, null],
      [10, 20],
      [30, 20],
      [null, null],
    ]);
  });

  it("QUORUM_REPORT_BAD -> of the peer's copy breaks the pair, of another node is this host's disk", () => {
    const peer = seeEvent(someSeen(), event('QUORUM_REPORT_BAD', { 'node-name': 'replication0', type: 'flush', error: 'EIO' }), names);
    expect(peer).toMatchObject({
      peerDiskError: true,
      localDiskError: false,
      breaks: [{ what: 'QUORUM_REPORT_BAD replication0 flush: EIO' }],
    });
    const local = seeEvent(someSeen(), event('QUORUM_REPORT_BAD', { 'node-name': '#block1', type: 'write' }), names);
    expect(local).toMatchObject({ peerDiskError: false, localDiskError: true, breaks: [] });
  });

  it('SHUTDOWN -> is the guest’s own only when the guest did it', () => {
    expect(seeEvent(someSeen(), event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' }), names).guestShutdown).toBe(true);
    expect(seeEvent(someSeen(), event('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' }), names).guestShutdown).toBe(false);
    expect(seeEvent(someSeen(), event('SHUTDOWN', { guest: true, reason: 'guest-reset' }), names).guestShutdown).toBe(false);
  });
});

describe('the state of a pair', () => {
  const journal = aJournal({ spec: aSpec({ checkpointDelayMs: 1_000 }) });
  const judged = (seen: Parameters<typeof someSeen>[0], now: number, change: Partial<Parameters<typeof judgePair>[0]> = {}) =>
    judgePair(
      { situation: 'primary', seen: someSeen(seen), replication: 'clean', journal, mainLoopSilentSince: null, ...change },
      instant(now),
    );

  it.each([
    ['with a fresh checkpoint', 'ok', { checkpoints: 3, lastResumeAt: instant(1_000) }, 4_000, 'ok'],
    ['whose checkpoints stopped', 'silent', { checkpoints: 3, lastResumeAt: instant(1_000) }, 6_000, 'silent'],
    ['without a checkpoint yet', 'unknown', { coloSince: instant(1_000) }, 2_000, 'unknown'],
    ['that never shows a checkpoint', 'silent', { coloSince: instant(1_000) }, 9_000, 'silent'],
    [
      'with a break',
      'hard, however fresh',
      { checkpoints: 3, lastResumeAt: instant(1_000), breaks: [{ at: instant(900), what: 'x' }] },
      1_001,
      'hard',
    ],
  ] as const)('%s -> %s', (_situation, _outcome, seen, now, expected) => {
    expect(judged(seen as Parameters<typeof someSeen>[0], now).state).toBe(expected);
  });

  it('with a swallowed disk error -> hard', () => {
    expect(judged({ checkpoints: 3, lastResumeAt: instant(0) }, 1, { replication: 'error' }).state).toBe('hard');
  });

  it('of a QEMU that is alone -> none', () => {
    expect(judged({}, 1, { situation: 'alone' }).state).toBe('none');
  });

  it('-> tells how old its evidence is', () => {
    expect(judged({ breaks: [{ at: instant(900), what: 'COLO_EXIT primary error' }] }, 1_000).evidence).toEqual([
      'COLO_EXIT primary error 100 ms ago',
    ]);
  });
});

describe('the proof of protection', () => {
  const seen = someSeen({ checkpoints: 2 });

  it('with all in place -> holds on both sides', () => {
    expect(proofFailures('primary', primaryFacts(), seen, names)).toEqual([]);
    expect(proofFailures('secondary', secondaryFacts(), seen, names)).toEqual([]);
  });

  it.each([
    ['a filter is missing', primaryFacts({ filters: primaryFacts().filters.slice(1) }), 'm0 is missing'],
    [
      'a filter is off',
      primaryFacts({ filters: primaryFacts().filters.map((each) => ({ ...each, on: each.id !== 'redire1' })) }),
      'redire1 is off',
    ],
    [
      'vnet_hdr_support is missing',
      primaryFacts({ filters: primaryFacts().filters.map((each) => ({ ...each, vnetHdr: each.id !== 'comp0' })) }),
      'comp0 has no vnet_hdr_support',
    ],
    [
      'the secondary is not on mirror0',
      primaryFacts({ chardevs: primaryFacts().chardevs.map((each) => ({ ...each, connected: each.id !== 'mirror0' })) }),
      'chardev mirror0 is not connected',
    ],
    [
      'the disk has no second child',
      primaryFacts({ disks: [{ present: true, images: ['/raw'], peer: 'none', innerJob: false }] }),
      'colo-disk0 has no second child',
    ],
    ['a write was swallowed', primaryFacts({ replication: 'error' }), 'query-xen-replication-status says error'],
    ['COLO is not on', primaryFacts({ colo: { mode: 'none', lastMode: 'none', reason: 'none' } }), 'COLO mode is none'],
  ])('when %s -> fails, and says so', (_name, facts, expected) => {
    expect(proofFailures('primary', facts, seen, names)).toContain(expected);
  });

  it('without the forced checkpoint -> fails', () => {
    expect(proofFailures('primary', primaryFacts(), someSeen({ checkpoints: 1 }), names)).toEqual(['1 of 2 checkpoints seen']);
  });

  it('of a secondary whose disk is not exported -> fails', () => {
    expect(proofFailures('secondary', secondaryFacts({ exports: [] }), seen, names)).toEqual(['parent0 is not exported']);
  });
});

describe("QEMU's standard error", () => {
  it('that says a device state did not load -> makes the side unpromotable', () => {
    expect(saysUnpromotable("x\nqemu: error while loading state for instance 0x0 of device 'virtio-net': -22\ny")).toContain('virtio-net');
  });

  it('that says the stream was cut in the middle of RAM -> does not', () => {
    expect(saysUnpromotable("qemu: error while loading state for instance 0x0 of device 'ram': -5")).toBeNull();
    expect(saysUnpromotable("qemu: Can't receive COLO message: Input/output error")).toBeNull();
  });

  it('of a secondary whose primary was killed, as QEMU 11.1 wrote it -> says that COLO was left', () => {
    const before =
      "2026-11-26T18:10:02.162880Z qemu-system-x86_64: Unable to connect character device red1: Failed to connect to '10.99.0.1:29183': Connection refused\n";
    expect(saysColoLeft(before)).toBe(false);
    expect(saysColoLeft(`${before}2026-11-26T18:10:11.552528Z qemu-system-x86_64: Can't receive COLO message: Input/output error\n`)).toBe(
      true,
    );
  });

  it('-> gives its last line as last words', () => {
    expect(lastWords('one\ntwo\n\n')).toBe('two');
    expect(lastWords('')).toBeNull();
  });
});
