// The rules of detection: what an agent may call a broken pair, what it does to the taps of one, and what a leader may make of silence. That
// nobody is moved by a wrong word is mostly kept by several rules together; each of these is gone when its changes are made.

import type { Mutation } from './mutation.js';

const ATTENTION = 'agent/core/attention.ts';
const JUDGEMENT = 'agent/core/pair-judgement.ts';
const PEERS = 'agent/loop/peers.ts';
const VERDICT = 'coordinator/core/transitions-verdict.ts';

export const DETECTION_MUTATIONS: readonly Mutation[] = [
  {
    name: 'own-lateness-of-the-watch',
    rule: 'time in which an agent did not look is nobody else\'s silence; SAFETY 8, HOUSE "doubt yourself first"',
    changes: [
      { file: ATTENTION, find: 'return Math.max(0, now - attention.tickedAt - 2 * attention.periodMs);', replace: 'return 0;' },
      // That a kernel must have been asked several times keeps the same, each by itself enough.
      { file: JUDGEMENT, find: 'if (asked || repeats) {', replace: 'if (lately) {' },
    ],
    story: 'the agent of the primary stands still',
    seed: 1,
    violation: 'calls the healthy pair',
  },
  {
    name: 'own-lateness-of-the-probe',
    rule: 'an answer that lies there unread is no missing answer: a QEMU is not called hung for it; SAFETY 8',
    changes: [{ file: 'agent/loop/watch.ts', find: 'if (lateMs > LATE_TICK_MS) {', replace: 'if (lateMs < 0) {' }],
    story: 'the agent of the primary stands still in the middle of a question',
    seed: 1,
    violation: 'hangs, and it answers',
  },
  {
    name: 'own-lateness-of-the-leader',
    rule: 'a leader that stood still believes no silence in that round; SAFETY 9 row "late"',
    changes: [
      {
        file: VERDICT,
        find: 'when: (view) => view.late && !(',
        replace: 'when: (view) => view.late && view.record.epoch < 0 && !(',
      },
    ],
    story: 'all coordinators stand still while the link is cut for a moment',
    seed: 1,
    violation: 'must be protected',
  },
  {
    name: 'whole-suspect-time',
    rule: 'a host is suspect only after the whole suspect time without contact; SAFETY 8',
    changes: [{ file: JUDGEMENT, find: 'contact >= suspectAfterMs) {', replace: 'contact >= suspectAfterMs / 3) {' }],
    story: 'the link blinks for less than the suspect time',
    seed: 2,
    violation: 'the healthy pair',
  },
  {
    name: 'the-kernel-answers-for-its-host',
    rule: "an agent's silence alone is never a broken pair: a kernel that answers proves its host; SAFETY 8",
    changes: [
      {
        file: 'agent/core/heartbeat.ts',
        find: 'contactAt: later(contact.contactAt, sentAt),\n    unanswered: contact.unanswered.filter((each) => each > sentAt),',
        replace: 'contactAt: contact.contactAt,\n    unanswered: contact.unanswered,',
      },
    ],
    story: 'the agent of the secondary stands still for long',
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'silenced-at-once',
    rule: 'a side that looks broken is silenced at its tap within 100 ms; SAFETY 8',
    changes: [
      {
        file: PEERS,
        find: "else if (state === 'hard' || state === 'silent') this.#setSilenced(watched, facts.taps);",
        replace: "else if (state === 'hard' || state === 'silent') this.#setSilenced(watched, []);",
      },
    ],
    story: 'the link is cut while the store is away',
    seed: 1,
    violation: 'is not silenced after',
  },
  {
    name: 'a-doubt-lifts-no-silence',
    rule: 'a silence is lifted by a verdict or by a pair that is well, never by a doubt; SAFETY 8',
    changes: [
      {
        file: PEERS,
        find: "else if (state === 'ok' && watched.silenced.length > 0) this.#hearAgain(vm, watched, signals);",
        replace: 'else this.#setSilenced(watched, []);',
      },
    ],
    story: 'the link is cut, and of the secondary only its host comes back',
    seed: 1,
    violation: 'is not silenced any more',
  },
  {
    name: 'a-host-that-is-heard-lifts-no-silence',
    rule: 'a silence is lifted by a checkpoint since, not by a host that is heard again; SAFETY 8',
    changes: [{ file: PEERS, find: "if (role === 'secondary' || isProven)", replace: 'if (vm !== null)' }],
    story: 'the network is cut, and heals while the secondary is let go',
    seed: 1,
    violation: 'is not silenced any more',
  },
  {
    name: 'a-silence-outlives-its-agent',
    rule: 'an agent that begins anew does not lift what the one before has silenced; SAFETY 8',
    changes: [
      { file: PEERS, find: 'if (left.length === 0) return;', replace: 'if (left.length >= 0) return;' },
      { file: PEERS, find: 'if (!claimed.has(tap)) wanted.add(tap);', replace: 'if (claimed.size < 0) wanted.add(tap);' },
    ],
    story: 'the link is cut while the store is away, and the agent of the primary begins anew',
    seed: 1,
    violation: 'is not silenced any more',
  },
  {
    name: 'a-lease-is-no-life',
    rule: 'a lease that has vanished while the stream lives is no death; SAFETY 8, ARCHITECTURE law 1',
    changes: [
      {
        file: 'coordinator/core/assemble.ts',
        find: '    side === null\n      ? null\n      : judgeSide(',
        replace:
          "    side === null\n      ? null\n      : known.hosts.get(side.host)?.leased === false\n      ? { side, qemu: 'dead' as const, pair: 'none' as const, fresh: true, report: reportOf(side.host) }\n      : judgeSide(",
      },
    ],
    story: "the lease of the primary's host ends too early",
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'own-blindness-first',
    rule: 'who hears nobody is blind, and the others are not dead; SAFETY 9 row 6',
    changes: [
      {
        file: VERDICT,
        find: "act: () => ({ kind: 'hold', reason: 'blind: neither agent is heard' }),",
        replace: "act: (view) => bothDead(view, 'both sides are gone'),",
      },
    ],
    story: 'the leader is cut off from all agents',
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'no-verdict-on-ok',
    rule: 'a fresh `ok` of either side beats every silence; SAFETY 9 row 7',
    changes: [
      { file: VERDICT, find: 'when: (view) => someOk(view) && !someHard(view) && !doubtful(view),', replace: 'when: () => false,' },
      { file: VERDICT, find: 'when: (view) => someOk(view) && !someHard(view),\n', replace: 'when: () => false,\n' },
    ],
    story: 'nobody gets at the monitor of the secondary any more',
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'patience-with-an-agent-that-adopts',
    rule: 'an agent that has just begun has two seconds to look at its QEMU; SAFETY 9 row 17',
    changes: [
      {
        file: 'coordinator/core/view.ts',
        find: 'return unknownMs >= UNKNOWN_COUNTS_AS_HUNG_MS ?',
        replace: 'return unknownMs >= 0 * UNKNOWN_COUNTS_AS_HUNG_MS ?',
      },
    ],
    story: "both agents begin anew, and the primary's monitor is not reached",
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'a-dead-side-beside-an-unheard-one',
    rule: 'with one side dead and the other unheard nobody chooses: the unheard one may be the last live copy; SAFETY 9 row 4 and 4',
    changes: [
      {
        file: VERDICT,
        find: "act: (view) => ({\n      kind: 'hold',\n      reason: `the primary died and",
        replace:
          "act: (view) => view.epochAgeMs >= 0 ? bothDead(view, 'the primary died') : ({\n      kind: 'hold',\n      reason: `the primary died and",
      },
    ],
    story: 'the primary dies while nobody hears the secondary',
    seed: 1,
    violation: 'the last live copy',
  },
];
