// The judgement of a pair, situation by situation. The builder describes a healthy idle pair; a case says only what differs.

import { describe, expect, it } from 'vitest';
import { judge, type PairSignals, type PeerSignals } from '../../../agent/core/pair-judgement.js';

type Change = Partial<Omit<PairSignals, 'peer' | 'checkpoints' | 'tcp'>> & {
  readonly peer?: Partial<PeerSignals> | null;
  readonly checkpoints?: Partial<PairSignals['checkpoints']>;
  readonly tcp?: Partial<PairSignals['tcp']>;
};

function signals(change: Change = {}): PairSignals {
  const peer: PeerSignals = {
    address: '10.0.0.2',
    heardAgoMs: 30,
    heardUsAgoMs: 60,
    contactAgoMs: 60,
    kernelAnswers: true,
    unansweredProbes: 0,
    refusedAgoMs: null,
    hungAgoMs: null,
  };
  return {
    role: 'primary',
    breaks: [],
    replicationError: false,
    ownQemu: { kind: 'answers' },
    silenceProblem: null,
    suspectAfterMs: 300,
    ...change,
    peer: change.peer === null ? null : { ...peer, ...change.peer },
    checkpoints: {
      delayMs: 1_000,
      pairAgeMs: 60_000,
      resumedAgoMs: 800,
      provenAgoMs: change.checkpoints?.resumedAgoMs ?? 800,
      waitedMs: null,
      ...change.checkpoints,
    },
    tcp: { retransmits: 0, stuckMs: 0, zeroWindow: false, ...change.tcp },
  };
}

/** Neither agent nor kernel of the peer is heard. */
const dark = (ms: number, probes: number): Partial<PeerSignals> => ({
  heardAgoMs: ms - 20,
  heardUsAgoMs: ms,
  contactAgoMs: ms,
  unansweredProbes: probes,
});

describe('the judgement of a pair', () => {
  it.each<[situation: string, change: Change, state: string]>([
    ['healthy and idle', {}, 'ok'],
    ['no half of a pair', { role: 'none', peer: dark(5_000, 32) }, 'none'],
    ['COLO_EXIT while all else is well', { breaks: [{ what: 'COLO_EXIT primary error', agoMs: 12 }] }, 'hard'],
    ['a disk error that QEMU swallowed', { replicationError: true }, 'hard'],
    ['a break and a dark host', { breaks: [{ what: 'x', agoMs: 1 }], peer: dark(900, 10) }, 'hard'],

    ['host dark for 310 ms, idle guest, three probes unanswered', { peer: dark(310, 3) }, 'silent'],
    [
      'host dark for 2 s, of many probes only four were sent by a busy agent',
      { peer: dark(2_000, 4), checkpoints: { resumedAgoMs: 2_300 } },
      'silent',
    ],
    ['host dark for 290 ms', { peer: dark(290, 3) }, 'ok'],
    ['host dark for 310 ms and only two probes sent: a doubt', { peer: dark(310, 2) }, 'unknown'],
    ['dark, and a checkpoint ended 100 ms ago', { peer: dark(400, 5), checkpoints: { resumedAgoMs: 100 } }, 'ok'],
    [
      'dark, and the secondary has just loaded what came before that',
      { role: 'secondary', peer: dark(400, 5), checkpoints: { resumedAgoMs: 100, provenAgoMs: 500 } },
      'silent',
    ],
    ['link cut on the secondary', { role: 'secondary', peer: dark(310, 4) }, 'silent'],
    [
      'one way cut: we hear the peer, it does not hear us',
      { peer: { heardUsAgoMs: 310, contactAgoMs: 310, unansweredProbes: 4 } },
      'silent',
    ],
    ['peer does not hear us, but its kernel answers', { peer: { heardUsAgoMs: 900, contactAgoMs: 20 } }, 'ok'],

    ['agent killed: refused at once, no checkpoint since', { peer: { heardAgoMs: 400, contactAgoMs: 10, refusedAgoMs: 10 } }, 'unknown'],
    [
      'agent killed, a checkpoint ended since',
      { peer: { heardAgoMs: 900, contactAgoMs: 10, refusedAgoMs: 10 }, checkpoints: { resumedAgoMs: 200 } },
      'ok',
    ],
    [
      'agent stopped: no refusal, its kernel answers probes',
      { peer: { heardAgoMs: 5_000, contactAgoMs: 10 }, checkpoints: { resumedAgoMs: 900 } },
      'ok',
    ],
    ['agent dead for long, five lost probes', { peer: { heardAgoMs: 60_000, contactAgoMs: 310, unansweredProbes: 5 } }, 'unknown'],
    ['agent dead for long, then its host dark', { peer: { heardAgoMs: 60_000, contactAgoMs: 450, unansweredProbes: 8 } }, 'silent'],

    [
      'firewalled probes, heartbeats stop, QEMU repeats',
      { peer: { ...dark(310, 5), kernelAnswers: false }, tcp: { retransmits: 1, stuckMs: 250 } },
      'silent',
    ],
    ['firewalled probes, heartbeats stop, nothing in flight', { peer: { ...dark(400, 6), kernelAnswers: false } }, 'unknown'],
    [
      'firewalled probes, agent dead for long, one repetition',
      { peer: { ...dark(60_000, 32), kernelAnswers: false }, tcp: { retransmits: 1 } },
      'ok',
    ],
    [
      'firewalled probes, agent dead for long, third repetition',
      { peer: { ...dark(60_000, 32), kernelAnswers: false }, tcp: { retransmits: 3 } },
      'silent',
    ],
    [
      'nothing was ever heard, checkpoints come',
      { peer: { heardAgoMs: null, heardUsAgoMs: null, contactAgoMs: null, unansweredProbes: 32 } },
      'ok',
    ],
    ['heartbeats well, two repetitions', { tcp: { retransmits: 2, stuckMs: 700 } }, 'ok'],
    ['heartbeats well, five repetitions', { tcp: { retransmits: 5, stuckMs: 7_000 } }, 'silent'],

    ['no checkpoint for 4.4 s', { checkpoints: { resumedAgoMs: 4_400 } }, 'ok'],
    ['no checkpoint for 4.6 s', { checkpoints: { resumedAgoMs: 4_600 } }, 'silent'],
    ['no first checkpoint yet', { checkpoints: { resumedAgoMs: null, pairAgeMs: 300 } }, 'unknown'],
    ['a checkpoint under way for 600 ms', { checkpoints: { waitedMs: 600 } }, 'unknown'],
    ['a checkpoint under way for 100 ms', { checkpoints: { waitedMs: 100 } }, 'ok'],
    ['peer says that its QEMU hangs', { peer: { hungAgoMs: 10 } }, 'unknown'],
    ['peer said so, a checkpoint ended since', { peer: { hungAgoMs: 900 }, checkpoints: { resumedAgoMs: 100 } }, 'ok'],
    ['own main loop silent', { ownQemu: { kind: 'main-loop', agoMs: 500 } }, 'unknown'],
    ['own QEMU hung because its host of storage is dark', { ownQemu: { kind: 'hung', agoMs: 200 }, peer: dark(400, 5) }, 'silent'],
    ['no peer known', { peer: null }, 'ok'],
  ])('%s -> as the table says', (_situation, change, state) => {
    expect(judge(signals(change)).state).toBe(state);
  });

  it('primary in doubt about its peer after the first RESUME -> wants a checkpoint', () => {
    const doubt: Change = { peer: { heardAgoMs: 400, contactAgoMs: 10 } };
    expect(judge(signals(doubt)).wantsCheckpoint).toBe(true);
    expect(judge(signals({ ...doubt, role: 'secondary' })).wantsCheckpoint).toBe(false);
    expect(judge(signals({ ...doubt, checkpoints: { resumedAgoMs: null } })).wantsCheckpoint).toBe(false);
    expect(judge(signals({ ...doubt, ownQemu: { kind: 'hung', agoMs: 1 } })).wantsCheckpoint).toBe(false);
  });

  it('silent -> says what was seen, with ages, the deciding line last', () => {
    const { evidence } = judge(signals({ peer: dark(312.4, 4), silenceProblem: 'the program `nft` is not installed' }));
    expect(evidence).toEqual([
      '10.0.0.2 last heard us 312 ms ago',
      'ARP and IPv6 are not silenced: the program `nft` is not installed',
      'host 10.0.0.2 is not heard',
      'its kernel left 4 probes unanswered',
      'two-way contact with 10.0.0.2 last proven 312 ms ago',
    ]);
  });
});
