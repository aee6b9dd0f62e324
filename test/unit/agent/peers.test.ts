// The watch over pairs on virtual time: two hosts whose datagrams, kernels and filters are a few lines, so that pauses, deaths and losses
// fall at exact instants.

import { describe, expect, it } from 'vitest';
import type { TcpSocket } from '../../../agent/core/kernel-evidence.js';
import { Peers } from '../../../agent/loop/peers.js';
import type { HeartbeatHandlers, PairFacts } from '../../../agent/peer-ports.js';
import { epoch, instant, vmUid, type Instant } from '../../../shared/core/ids.js';
import { ok } from '../../../shared/core/result.js';
import { fakeClock, fakeLog, fakeRandom, type FakeClock } from '../../fakes/clock.js';

const random = fakeRandom(7);

/** One way through the network, and what is at its end. */
interface Network {
  readonly cut: { aToB: boolean; bToA: boolean };
  lossPercent: number;
  readonly kernel: { a: boolean; b: boolean };
}

class Host {
  readonly states: { readonly atMs: number; readonly state: string }[] = [];
  readonly forced: number[] = [];
  silenced: readonly string[] = [];
  sockets: TcpSocket[] = [];
  handlers: HeartbeatHandlers | null = null;
  facts: PairFacts;
  peers: Peers | null = null;
  /** Its agent is stopped: nothing is read and nothing fires. */
  frozen = false;
  readonly #unread: (() => void)[] = [];

  constructor(
    readonly name: 'a' | 'b',
    readonly clock: FakeClock,
    readonly inherited: readonly string[] = [],
  ) {
    this.facts = {
      uid: vmUid('u'),
      role: name === 'a' ? 'primary' : 'secondary',
      born: epoch(1),
      peerAddress: name === 'a' ? 'B' : 'A',
      ports: { migration: 1, nbd: 2, mirror: [3], compare: [4] },
      pid: 1,
      taps: [`tap-${name}`],
      released: false,
      isKnown: true,
      breaks: [],
      replicationError: false,
      hungSince: null,
      mainLoopSilentSince: null,
      // No checkpoint comes by itself, so that nothing but the hosts' contact is judged.
      checkpointDelayMs: 3_600_000,
      coloSince: instant(0),
      connectedAt: instant(0),
      checkpoints: 3,
      lastStopAt: null,
      lastResumeAt: instant(0),
      provenAt: null,
    };
  }

  start(network: Network, peer: () => Host): void {
    const { clock } = this;
    const out = this.name === 'a' ? 'aToB' : 'bToA';
    const back = this.name === 'a' ? 'bToA' : 'aToB';
    const passes = (way: 'aToB' | 'bToA'): boolean => !network.cut[way] && random.fraction() * 100 >= network.lossPercent;
    // A frozen agent's own timers wait as well, and fire late when it goes on.
    const after = (ms: number, callback: () => void): (() => void) =>
      clock.after(ms, () => (this.frozen ? this.#unread.unshift(callback) : callback()));
    this.peers = new Peers(
      {
        clock: { ...clock, after },
        log: fakeLog(),
        probe: {
          ask: (_address, answered) => {
            if (passes(out) && network.kernel[peer().name] && passes(back)) clock.after(1, () => this.take(answered));
          },
          close: () => undefined,
        },
        sockets: { read: () => ok(this.sockets) },
        silence: {
          open: () => Promise.resolve(new Set(this.inherited)),
          want: (taps) => {
            this.silenced = [...taps];
          },
          problem: () => null,
        },
        openWire: (handlers) => {
          this.handlers = handlers;
          return {
            problem: () => null,
            send: (_address, text) => {
              const { handlers: other } = peer();
              if (!passes(out) || !network.kernel[peer().name]) return;
              if (other === null) clock.after(1, () => this.take(() => handlers.refused(this.name === 'a' ? 'B' : 'A')));
              else clock.after(1, () => peer().take(() => other.heard(this.name === 'a' ? 'A' : 'B', text)));
            },
            forget: () => undefined,
            close: () => {
              this.handlers = null;
            },
          };
        },
        canonical: (address) => address,
      },
      { cluster: '/c', host: this.name, session: `s-${this.name}`, intervalMs: 50, suspectAfterMs: 300 },
    );
    this.peers.add('vm', {
      facts: () => this.facts,
      changed: () => this.states.push({ atMs: clock.now(), state: this.peers?.judge('vm').state ?? 'none' }),
      forceCheckpoint: () => {
        this.forced.push(clock.now());
        const began = clock.now();
        if (network.kernel[peer().name] && !network.cut.aToB && !network.cut.bToA)
          clock.after(60, () => [this, peer()].forEach((each) => each.resumed(began)));
      },
    });
    this.peers.start();
  }

  take(callback: () => void): void {
    if (this.frozen) this.#unread.push(callback);
    else callback();
  }

  /** Goes on: what is due fires first, and then what waited in its sockets is read. */
  thaw(): void {
    this.frozen = false;
    for (const callback of this.#unread.splice(0)) callback();
  }

  get state(): string {
    return this.states.at(-1)?.state ?? 'none';
  }

  resumed(began: Instant): void {
    const { checkpoints, lastResumeAt } = this.facts;
    const provenAt = this.name === 'a' ? began : lastResumeAt;
    this.facts = { ...this.facts, lastResumeAt: this.clock.now(), provenAt, checkpoints: checkpoints + 1 };
  }
}

async function pair(): Promise<{ clock: FakeClock; network: Network; a: Host; b: Host }> {
  const clock = fakeClock(0);
  const network: Network = { cut: { aToB: false, bToA: false }, lossPercent: 0, kernel: { a: true, b: true } };
  const a = new Host('a', clock);
  const b = new Host('b', clock);
  a.start(network, () => b);
  await clock.advance(17);
  b.start(network, () => a);
  await clock.advance(3_000);
  expect([a.state, b.state]).toEqual(['ok', 'ok']);
  return { clock, network, a, b };
}

const said = (host: Host, state: string): boolean => host.states.some((each) => each.state === state);

describe('the watch over a pair', () => {
  it.each([
    ['host b dark', (network: Network) => Object.assign(network.kernel, { b: false })],
    ['link cut', (network: Network) => Object.assign(network.cut, { aToB: true, bToA: true })],
    ['one way cut, a to b', (network: Network) => Object.assign(network.cut, { aToB: true })],
    ['one way cut, b to a', (network: Network) => Object.assign(network.cut, { bToA: true })],
  ])(
    '%s, idle guest -> silent when the suspect time is over and not a beat later, taps silenced in the same tick',
    async (_what, strike) => {
      for (const offsetMs of [0, 7, 19, 33, 46]) {
        const { clock, network, a } = await pair();
        await clock.advance(offsetMs);
        const struckAt = clock.now();
        strike(network);
        // Contact was proven when the last heartbeat was answered, which is before the strike, but for one that was on its way.
        await clock.until('silent', 303, () => a.state === 'silent');
        expect(clock.now() - struckAt).toBeGreaterThan(150);
        expect(a.silenced).toEqual(['tap-a']);
      }
    },
  );

  it('one way cut -> both sides say silent; when it has healed the secondary is heard again, and the primary after a checkpoint', async () => {
    const { clock, network, a, b } = await pair();
    network.cut.aToB = true;
    await clock.until('both silent', 400, () => a.state === 'silent' && b.state === 'silent');
    network.cut.aToB = false;
    await clock.until('both ok', 300, () => a.state === 'ok' && b.state === 'ok');
    // Both hosts are heard, which says nothing of the pair to a primary.
    expect([a.silenced, b.silenced, a.forced.length]).toEqual([['tap-a'], [], 1]);
    await clock.until('the primary is heard', 200, () => a.silenced.length === 0);
  });

  it('link cut while the secondary loads a checkpoint -> its end is no sign of the primary', async () => {
    const { clock, network, a, b } = await pair();
    b.facts = { ...b.facts, lastStopAt: clock.now() };
    network.cut.aToB = true;
    network.cut.bToA = true;
    await clock.advance(200);
    b.resumed(instant(clock.now() - 200));
    await clock.until('both silent', 200, () => a.state === 'silent' && b.state === 'silent');
  });

  it('agent of b killed -> never silent; a checkpoint is forced, and its end makes the pair ok', async () => {
    const { clock, a, b } = await pair();
    b.peers?.stop();
    await clock.until('a doubt', 400, () => a.state === 'unknown');
    expect([a.forced.length, a.silenced]).toEqual([1, []]);
    await clock.until('ok', 150, () => a.state === 'ok');
    await clock.advance(10_000);
    expect([said(a, 'silent'), a.state]).toEqual([false, 'ok']);
  });

  it('agent of b dead for long and then its host dark -> silent within 600 ms', async () => {
    const { clock, network, a, b } = await pair();
    b.peers?.stop();
    await clock.advance(5_000);
    network.kernel.b = false;
    await clock.until('silent', 600, () => a.state === 'silent');
  });

  it('agent of b stopped for 5 s -> never silent, neither there when it wakes nor here', async () => {
    const { clock, a, b } = await pair();
    b.frozen = true;
    await clock.advance(5_000);
    b.thaw();
    await clock.advance(2_000);
    expect([said(a, 'silent'), said(b, 'silent'), a.state, b.state]).toEqual([false, false, 'ok', 'ok']);
  });

  it('both agents stopped for 5 s -> never silent', async () => {
    const { clock, a, b } = await pair();
    a.frozen = b.frozen = true;
    await clock.advance(5_000);
    a.thaw();
    await clock.advance(70);
    b.thaw();
    await clock.advance(2_000);
    expect([said(a, 'silent'), said(b, 'silent')]).toEqual([false, false]);
  });

  it('every beat 200 ms late on both hosts -> never silent, and a dark host still is', async () => {
    const { clock, network, a, b } = await pair();
    for (let turn = 0; turn < 40; turn += 1) {
      a.frozen = b.frozen = true;
      await clock.advance(250);
      a.thaw();
      b.thaw();
      await clock.advance(1);
    }
    expect([said(a, 'silent'), said(b, 'silent')]).toEqual([false, false]);
    network.kernel.b = false;
    for (let turn = 0; turn < 12 && a.state !== 'silent'; turn += 1) {
      a.frozen = true;
      await clock.advance(250);
      a.thaw();
      await clock.advance(1);
    }
    expect(a.state).toBe('silent');
  });

  it.each([
    [5, 600],
    [10, 60],
  ])('of 100 packets %i lost, for %i s -> never silent', async (percent, seconds) => {
    const { clock, network, a, b } = await pair();
    network.lossPercent = percent;
    await clock.advance(1_000 * seconds);
    expect([said(a, 'silent'), said(b, 'silent')]).toEqual([false, false]);
  });

  it('hard evidence -> taps silenced at once; an order to run alone -> heard again at once', async () => {
    const { clock, a } = await pair();
    a.facts = { ...a.facts, breaks: [{ what: 'COLO_EXIT primary error', at: clock.now() }] };
    expect(a.peers?.judge('vm').state).toBe('hard');
    expect(a.silenced).toEqual(['tap-a']);
    a.facts = { ...a.facts, released: true };
    expect(a.peers?.judge('vm').state).toBe('none');
    expect(a.silenced).toEqual([]);
  });

  it.each([
    ['at its next beat', 60, false],
    ['at once, when it is told to', 3, true],
  ])('QEMU of b hangs -> a doubt on a, %s', async (_when, boundMs, tell) => {
    const { clock, a, b } = await pair();
    b.facts = { ...b.facts, hungSince: clock.now() };
    if (tell) b.peers?.tell();
    await clock.until('a doubt', boundMs, () => a.state === 'unknown');
    expect(a.peers?.judge('vm').evidence.join()).toContain('says that its QEMU hangs');
  });

  it('an agent that takes over finds a silenced tap -> it stays so until the pair is judged well', async () => {
    const clock = fakeClock(0);
    const network: Network = { cut: { aToB: true, bToA: true }, lossPercent: 0, kernel: { a: true, b: true } };
    const a = new Host('a', clock, ['tap-a', 'tap-old']);
    const b = new Host('b', clock);
    a.facts = { ...a.facts, checkpoints: 0 };
    a.start(network, () => b);
    b.start(network, () => a);
    await clock.advance(1_000);
    expect([...a.silenced].sort()).toEqual(['tap-a', 'tap-old']);
    await clock.advance(5_000);
    expect(a.silenced).toEqual(['tap-a']);
    network.cut.aToB = network.cut.bToA = false;
    a.resumed(clock.now());
    await clock.advance(200);
    expect([a.state, a.silenced]).toEqual(['ok', []]);
  });

  it('the VM is gone -> its taps are not silenced any more', async () => {
    const { clock, network, a } = await pair();
    network.kernel.b = false;
    await clock.until('silent', 400, () => a.state === 'silent');
    a.facts = { ...a.facts, role: 'none' };
    await clock.advance(60);
    expect(a.silenced).toEqual([]);
  });

  it('a peer that falls silent -> shown in milliseconds for the report', async () => {
    const { clock, network, a } = await pair();
    network.cut.bToA = true;
    await clock.advance(1_000);
    expect(a.peers?.peersSilentMs()['B']).toBeGreaterThan(900);
  });
});
