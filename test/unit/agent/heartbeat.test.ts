// Heartbeats, the time that counts, and what a peer's silence is made of.

import { describe, expect, it } from 'vitest';
import { ageMs, attend, startAttention, type Attention } from '../../../agent/core/attention.js';
import {
  composeHeartbeat,
  decodeHeartbeat,
  encodeHeartbeat,
  HEARTBEAT_BYTES,
  hearHeartbeat,
  hearProbeAnswer,
  hearRefusal,
  newContact,
  noteProbe,
  unansweredProbes,
  type Heartbeat,
} from '../../../agent/core/heartbeat.js';
import { instant } from '../../../shared/core/ids.js';

const at = instant;

/** Ticks at the given instants. */
function ticked(...instants: readonly number[]): Attention {
  return instants.reduce((attention, now) => attend(attention, at(now)), startAttention(50, at(0)));
}

function heartbeat(change: Partial<Heartbeat> = {}): Heartbeat {
  return { version: 1, cluster: '/c', host: 'b', session: 's-b', sequence: 1, sentAtMs: 7_000, heard: null, hung: [], ...change };
}

describe('attention', () => {
  it('ticks in time -> every millisecond counts', () => {
    expect(ageMs(ticked(50, 100, 150), at(20), at(170))).toBe(150);
  });

  it('paused for 5 s -> no more than two ticks of it count, before and after the late tick', () => {
    expect(ageMs(ticked(50), at(40), at(5_050))).toBe(110);
    expect(ageMs(ticked(50, 5_050), at(40), at(5_060))).toBe(120);
  });

  it('heard after the pause -> its own age counts whole', () => {
    expect(ageMs(ticked(50, 5_050), at(5_051), at(5_081))).toBe(30);
  });

  it('read first when a paused process wakes, before its tick -> its own age counts, and not the pause before it', () => {
    expect(ageMs(ticked(50, 5_050, 5_100, 5_150), at(5_045), at(5_170))).toBe(120);
  });

  it('late by 200 ms at every tick -> silence is counted at less than half the pace', () => {
    const attention = ticked(250, 500, 750, 1_000);
    expect(ageMs(attention, at(0), at(1_000))).toBe(400);
    expect(attention.latenessMs).toBe(200);
  });
});

describe('a heartbeat', () => {
  it('written and read -> the same', () => {
    const sent = heartbeat({ heard: { session: 's-a', sentAtMs: 12.5, agoMs: 3 }, hung: ['u1'] });
    expect(decodeHeartbeat(encodeHeartbeat(sent), '/c')).toEqual(sent);
  });

  it.each([
    ['of another cluster', encodeHeartbeat(heartbeat({ cluster: '/other' }))],
    ['of another version', encodeHeartbeat(heartbeat()).replace('"version":1', '"version":2')],
    ['with a negative age', encodeHeartbeat(heartbeat({ heard: { session: 's', sentAtMs: 1, agoMs: -5 } }))],
    ['that is no JSON', 'x'],
    ['that is no object', '3'],
  ])('%s -> not heard', (_what, text) => {
    expect(decodeHeartbeat(text, '/c')).toBeNull();
  });

  it('with all that it may hold -> fits into one frame', () => {
    const uid = 'f'.repeat(32);
    const peer = hearHeartbeat(newContact, heartbeat({ session: uid }), 's-a', at(0));
    const us = { cluster: `/colo/${'c'.repeat(63)}`, host: 'h'.repeat(63), session: uid };
    const sent = composeHeartbeat(us, 2 ** 40, peer, Array<string>(99).fill(uid), ticked(50), at(86_400_000.125));
    expect(encodeHeartbeat(sent).length).toBeLessThanOrEqual(HEARTBEAT_BYTES);
  });
});

describe('contact with a peer', () => {
  it('heard, and it has heard us -> proven as of then, and the round trip is known', () => {
    const heard = { session: 's-a', sentAtMs: 950, agoMs: 45 };
    const peer = hearHeartbeat(newContact, heartbeat({ heard }), 's-a', at(1_000));
    expect([peer.contactAt, peer.heardAt, peer.heardUsMs, peer.rttMs]).toEqual([955, 1_000, 45, 5]);
  });

  it('heard, and it tells of an earlier session of ours -> no proof', () => {
    const peer = hearHeartbeat(newContact, heartbeat({ heard: { session: 's-old', sentAtMs: 1, agoMs: 1 } }), 's-a', at(1_000));
    expect([peer.contactAt, peer.heardAt]).toEqual([null, 1_000]);
  });

  it('a datagram that comes twice, late, or is our own -> changes nothing', () => {
    const peer = hearHeartbeat(newContact, heartbeat({ sequence: 5 }), 's-a', at(1_000));
    expect(hearHeartbeat(peer, heartbeat({ sequence: 5 }), 's-a', at(2_000))).toBe(peer);
    expect(hearHeartbeat(peer, heartbeat({ sequence: 4 }), 's-a', at(2_000))).toBe(peer);
    expect(hearHeartbeat(peer, heartbeat({ session: 's-a', sequence: 9 }), 's-a', at(2_000))).toBe(peer);
  });

  it("the peer's agent starts anew -> is heard once it answers our own beats, and its sequence begins anew", () => {
    const peer = hearHeartbeat(newContact, heartbeat({ sequence: 500 }), 's-a', at(1_000));
    const unproven = hearHeartbeat(peer, heartbeat({ session: 's-b2', sequence: 1 }), 's-a', at(2_000));
    expect([unproven.session, unproven.heardAt]).toEqual(['s-b', 1_000]);
    const told = composeHeartbeat({ cluster: '/c', host: 'a', session: 's-a' }, 1, unproven, [], ticked(50), at(2_010));
    expect(told.heard?.session).toBe('s-b2');
    const heard = { session: 's-a', sentAtMs: 2_010, agoMs: 20 };
    const proven = hearHeartbeat(unproven, heartbeat({ session: 's-b2', sequence: 2, heard }), 's-a', at(2_050));
    expect([proven.session, proven.heardAt, proven.contactAt]).toEqual(['s-b2', 2_050, 2_030]);
  });

  it('an old session is played back -> is not heard, proves nothing, and hides the living one from nobody', () => {
    const fresh = (sentAtMs: number) => ({ session: 's-a', sentAtMs, agoMs: 10 });
    const recorded = heartbeat({ session: 's-old', sequence: 77, heard: fresh(900) });
    const before = hearHeartbeat(newContact, recorded, 's-a', at(920));
    const now = hearHeartbeat(before, heartbeat({ session: 's-new', sequence: 1, heard: fresh(1_900) }), 's-a', at(1_920));
    expect(now.session).toBe('s-new');
    // Of a session that we knew.
    expect(hearHeartbeat(now, { ...recorded, sequence: 99 }, 's-a', at(60_000))).toBe(now);
    // Of one that we never knew: recorded before we began, or kept from us until now.
    const unknown = heartbeat({ session: 's-older', sequence: 5, heard: fresh(1_000) });
    const after = hearHeartbeat(now, unknown, 's-a', at(60_000));
    expect([after.session, after.heardAt, after.contactAt]).toEqual([now.session, now.heardAt, now.contactAt]);
    expect(hearHeartbeat(after, heartbeat({ session: 's-new', sequence: 2 }), 's-a', at(60_010)).heardAt).toBe(60_010);
  });

  it('an echo of what we said long ago -> is no proof that the way is there now', () => {
    const heard = { session: 's-a', sentAtMs: 100, agoMs: 5 };
    const peer = hearHeartbeat(newContact, heartbeat({ heard }), 's-a', at(5_000));
    expect([peer.contactAt, peer.heardUsMs]).toEqual([null, null]);
  });

  it('a probe is answered -> proven as of the question, and earlier ones do not count as lost', () => {
    const asked = [100, 150, 200].reduce((peer, now) => noteProbe(peer, at(now)), newContact);
    const peer = hearProbeAnswer(asked, at(150));
    expect([peer.contactAt, peer.kernelAnswers, peer.unanswered]).toEqual([150, true, [200]]);
  });

  it('a probe that was sent a moment ago -> not unanswered yet', () => {
    const peer = [100, 150, 190].reduce((each, now) => noteProbe(each, at(now)), newContact);
    expect(unansweredProbes(peer, ticked(50, 100, 150, 200), at(200))).toBe(2);
  });

  it('the heartbeat port is refused -> the host lives, and the next heartbeat forgets it', () => {
    const peer = hearRefusal(newContact, at(300));
    expect([peer.contactAt, peer.refusedAt]).toEqual([300, 300]);
    expect(hearHeartbeat(peer, heartbeat(), 's-a', at(400)).refusedAt).toBeNull();
  });

  it('a QEMU that is told to hang -> since the first time that it was told', () => {
    const once = hearHeartbeat(newContact, heartbeat({ sequence: 1, hung: ['u'] }), 's-a', at(100));
    const twice = hearHeartbeat(once, heartbeat({ sequence: 2, hung: ['u'] }), 's-a', at(150));
    expect(twice.hungSince.get('u')).toBe(100);
    expect(hearHeartbeat(twice, heartbeat({ sequence: 3 }), 's-a', at(200)).hungSince.size).toBe(0);
  });
});
