// The watch over this host's pairs: at every beat it looks at the peers, the kernel and QEMU's own signs, judges each pair, silences the taps
// of those that look broken, and says so when a judgement has changed. It stops no guest, and it moves none.

import { ageMs, attend, lostMs, startAttention, type Attention } from '../core/attention.js';
import type { Ourselves } from '../core/heartbeat.js';
import { nothingWatched, replicationSockets, watchTcp, type TcpSocket, type TcpWatch } from '../core/kernel-evidence.js';
import { judge, suspectInMs, type Checkpoints, type Judgement, type OwnQemu, type PairSignals } from '../core/pair-judgement.js';
import type { PairFacts, PairSource, PairWatch, PeerPorts } from '../peer-ports.js';
import { PeerHosts } from './peer-hosts.js';
import { assert } from '../../shared/core/assert.js';
import { instant, type Epoch, type Instant } from '../../shared/core/ids.js';
import type { PairReport, PairState } from '../../shared/core/model.js';
import type { Result } from '../../shared/core/result.js';

export interface PeersSetup extends Ourselves {
  readonly intervalMs: number;
  readonly suspectAfterMs: number;
}

/** QEMU's sockets are looked at so often while nothing is suspicious, and at every beat otherwise. */
const SOCKETS_WHEN_WELL_MS = 500;
/** A forced checkpoint is not forced again within this time. */
const FORCE_AGAIN_MS = 500;
/** Taps that an earlier agent silenced stay so until their VM is judged, or until nobody has claimed them for so long. */
const CLAIM_MS = 5_000;

interface Watched {
  readonly source: PairSource;
  born: Epoch | null;
  /** Peer and ports that `tcp` is about. */
  tcpOf: string;
  tcp: TcpWatch;
  forcedAt: Instant | null;
  told: PairState;
  silenced: readonly string[];
  silencedAt: Instant;
}

interface Pair {
  readonly vm: string;
  readonly watched: Watched;
  readonly facts: PairFacts;
}

export class Peers implements PairWatch {
  readonly #ports: PeerPorts;
  readonly #setup: PeersSetup;
  readonly #hosts: PeerHosts;
  readonly #vms = new Map<string, Watched>();
  readonly #startedAt: Instant;
  #inherited: ReadonlySet<string> = new Set();
  #attention: Attention;
  #cancel: () => void = () => undefined;
  #cancelInTime: () => void = () => undefined;
  /** Null: nothing was asked of the filter yet. */
  #wanted: string | null = null;
  #opened = false;
  #stopped = false;

  constructor(ports: PeerPorts, setup: PeersSetup) {
    this.#ports = ports;
    this.#setup = setup;
    const us = { cluster: setup.cluster, host: setup.host, session: setup.session };
    this.#hosts = new PeerHosts(ports, us, setup.intervalMs, () => this.#judgeAll(this.#pairs()));
    this.#startedAt = ports.clock.now();
    this.#attention = startAttention(setup.intervalMs, this.#startedAt);
  }

  /** Begins to beat at once; the filter of taps is made ready meanwhile. */
  start(): void {
    this.#cancel = this.#ports.clock.after(this.#setup.intervalMs, () => this.#beat());
    void this.#ports.silence.open().then((inherited) => {
      if (this.#stopped) return;
      this.#inherited = inherited;
      // A doubt that was judged before they were known must keep them, and the first thing asked of the filter would lift them.
      this.#judgeAll(this.#pairs());
      this.#opened = true;
      this.#settleSilence();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    this.#cancelInTime();
    this.#hosts.close();
    this.#ports.probe.close();
  }

  add(vm: string, source: PairSource): () => void {
    assert(!this.#vms.has(vm), `${vm} is watched already`);
    this.#vms.set(vm, {
      source,
      born: null,
      tcpOf: '',
      tcp: nothingWatched,
      forcedAt: null,
      told: 'none',
      silenced: [],
      silencedAt: this.#startedAt,
    });
    return () => {
      this.#vms.delete(vm);
      this.#settleSilence();
    };
  }

  judge(vm: string): PairReport {
    const watched = this.#vms.get(vm);
    const facts = watched?.source.facts() ?? null;
    if (watched === undefined || facts === null) return { state: 'none', evidence: [] };
    const { state, evidence } = this.#judge(vm, watched, facts, this.#signals(watched, facts));
    return { state, evidence };
  }

  /** A QEMU here hangs, or answers again: the peers hear of it now and not at the next beat. */
  tell(): void {
    if (this.#stopped) return;
    this.#cancel();
    this.#beat();
  }

  peersSilentMs(): Readonly<Record<string, number>> {
    return this.#hosts.silentMs(this.#attention);
  }

  latenessMs(): number {
    return this.#attention.latenessMs;
  }

  #beat(): void {
    const { clock } = this.#ports;
    this.#attention = attend(this.#attention, clock.now());
    const pairs = this.#pairs();
    const paired = new Set(pairs.map(({ watched }) => watched));
    for (const watched of this.#vms.values()) if (!paired.has(watched)) this.#setSilenced(watched, []);
    const addresses = pairs.map(({ facts }) => facts.peerAddress).filter((each) => each !== null);
    const hung = pairs.filter(({ facts }) => facts.role !== 'none' && facts.hungSince !== null).map(({ facts }) => facts.uid);
    this.#hosts.beat(new Set(addresses.map((each) => this.#ports.canonical(each))), hung, this.#attention);
    const suspectMs = this.#judgeAll(pairs);
    if (this.#stopped) return;
    this.#cancel = clock.after(this.#setup.intervalMs, () => this.#beat());
    this.#judgeInTime(suspectMs);
  }

  /** Answers in how many milliseconds the first of those that are not suspect will be, if nothing comes. */
  #judgeAll(pairs: readonly Pair[]): number {
    this.#lookAtSockets(pairs);
    let suspectMs = Infinity;
    for (const { vm, watched, facts } of pairs) {
      const signals = this.#signals(watched, facts);
      suspectMs = Math.min(suspectMs, suspectInMs(signals) ?? Infinity);
      const judgement = this.#judge(vm, watched, facts, signals);
      if (judgement.wantsCheckpoint) this.#force(vm, watched);
    }
    this.#settleSilence();
    return suspectMs;
  }

  /** A pair whose suspect time is over before the next beat is judged at that very moment: a failover must not wait for a beat. */
  #judgeInTime(suspectMs: number): void {
    this.#cancelInTime();
    if (suspectMs >= this.#setup.intervalMs) return;
    this.#cancelInTime = this.#ports.clock.after(suspectMs, () => {
      if (!this.#stopped) this.#judgeAll(this.#pairs());
    });
  }

  #pairs(): readonly Pair[] {
    return [...this.#vms].flatMap(([vm, watched]) => {
      const facts = watched.source.facts();
      return facts === null ? [] : [{ vm, watched, facts }];
    });
  }

  #judge(vm: string, watched: Watched, facts: PairFacts, signals: PairSignals): Judgement {
    const judgement = judge(signals);
    const { state, evidence } = judgement;
    const isNews = state !== watched.told;
    if (isNews) {
      const { clock, log } = this.#ports;
      const now = clock.now();
      // What of the time of a suspicion this process has not seen, and so has taken off it: a late judgement on a busy host.
      const lateMs = Math.round(lostMs(this.#attention, instant(now - 2 * signals.suspectAfterMs), now));
      const said = { vm, pair: state, before: watched.told, evidence, ...(lateMs === 0 ? {} : { lateMs }) };
      if (state === 'hard' || state === 'silent') log.warn(said, 'pair-judged');
      else log.info(said, 'pair-judged');
      watched.told = state;
    }
    this.#claim(watched, facts);
    if (facts.released || (state === 'none' && facts.isKnown)) this.#setSilenced(watched, []);
    else if (state === 'hard' || state === 'silent') this.#setSilenced(watched, facts.taps);
    else if (state === 'ok' && watched.silenced.length > 0) this.#hearAgain(vm, watched, signals);
    // A doubt neither silences a guest nor lifts a silence.
    // Also when it was a report to one reader that brought it to light: all others must hear of it now and not at their next report.
    if (isNews) watched.source.changed();
    return judgement;
  }

  #signals(watched: Watched, facts: PairFacts): PairSignals {
    if (watched.born !== facts.born) {
      watched.born = facts.born;
      watched.forcedAt = null;
    }
    const { peerAddress } = facts;
    const address = peerAddress === null ? null : this.#ports.canonical(peerAddress);
    const stuck = watched.tcp.sockets.map((each) => each.stuckSince).filter((each) => each !== null);
    return {
      role: facts.released ? 'none' : facts.role,
      breaks: facts.breaks.map((each) => ({ what: each.what, agoMs: this.#age(each.at) })),
      replicationError: facts.replicationError,
      ownQemu: this.#ownQemu(facts),
      checkpoints: this.#checkpoints(watched, facts),
      peer: address === null ? null : this.#hosts.signals(address, facts.uid, this.#attention),
      tcp: {
        retransmits: watched.tcp.retransmits,
        stuckMs: Math.max(0, ...stuck.map((each) => this.#age(each))),
        zeroWindow: watched.tcp.zeroWindow,
      },
      silenceProblem: this.#ports.silence.problem(),
      suspectAfterMs: this.#setup.suspectAfterMs,
    };
  }

  #ownQemu(facts: PairFacts): OwnQemu {
    if (facts.hungSince !== null) return { kind: 'hung', agoMs: this.#age(facts.hungSince) };
    if (facts.mainLoopSilentSince !== null) return { kind: 'main-loop', agoMs: this.#age(facts.mainLoopSilentSince) };
    return { kind: 'answers' };
  }

  #checkpoints(watched: Watched, facts: PairFacts): Checkpoints {
    const resumedAt = facts.checkpoints > 0 ? facts.lastResumeAt : null;
    // A STOP before the pair's first RESUME is part of its making.
    const begun = [facts.lastStopAt, watched.forcedAt].filter((at) => at !== null && resumedAt !== null && at > resumedAt);
    const waits = begun.map((at) => (at === null ? 0 : this.#age(at)));
    return {
      delayMs: facts.checkpointDelayMs,
      pairAgeMs: this.#age(facts.coloSince ?? facts.connectedAt),
      resumedAgoMs: resumedAt === null ? null : this.#age(resumedAt),
      provenAgoMs: facts.provenAt === null ? null : this.#age(facts.provenAt),
      waitedMs: waits.length === 0 ? null : Math.max(...waits),
    };
  }

  #lookAtSockets(pairs: readonly Pair[]): void {
    const now = this.#ports.clock.now();
    const tables = new Map<number | null, Result<readonly TcpSocket[], string>>();
    for (const { watched, facts } of pairs) {
      const { peerAddress, ports, pid } = facts;
      const of = facts.role === 'none' || peerAddress === null || ports === null ? '' : `${peerAddress} ${ports.migration} ${facts.born}`;
      if (watched.tcpOf !== of) {
        watched.tcpOf = of;
        watched.tcp = nothingWatched;
      }
      if (of === '' || peerAddress === null || ports === null) continue;
      const address = this.#ports.canonical(peerAddress);
      const { lookedAt } = watched.tcp;
      if (lookedAt !== null && now - lookedAt < SOCKETS_WHEN_WELL_MS && !this.#hosts.isSuspicious(address, this.#attention)) continue;
      const table = tables.get(pid) ?? this.#ports.sockets.read(pid);
      tables.set(pid, table);
      if (table.ok) watched.tcp = watchTcp(watched.tcp, replicationSockets(table.value, address, ports), now);
    }
  }

  #force(vm: string, watched: Watched): void {
    const now = this.#ports.clock.now();
    if (watched.forcedAt !== null && now - watched.forcedAt < FORCE_AGAIN_MS) return;
    watched.forcedAt = now;
    this.#ports.log.info({ vm }, 'checkpoint-forced-to-see');
    watched.source.forceCheckpoint();
  }

  /** What an earlier agent has silenced is this one's to lift, by the same rule as its own. */
  #claim(watched: Watched, facts: PairFacts): void {
    const left = facts.taps.filter((tap) => this.#inherited.has(tap));
    if (left.length === 0) return;
    this.#inherited = new Set([...this.#inherited].filter((tap) => !left.includes(tap)));
    this.#setSilenced(watched, [...watched.silenced, ...left]);
  }

  /**
   * A host that is heard again says nothing about the pair: a verdict may have let its other side go meanwhile, whose word has not come yet.
   * Only a checkpoint from then to now needs both. All that a secondary's guest sends goes to its primary, so there nothing is at stake.
   */
  #hearAgain(vm: string, watched: Watched, { role, checkpoints }: PairSignals): void {
    const { provenAgoMs } = checkpoints;
    const isProven = provenAgoMs !== null && provenAgoMs < this.#age(watched.silencedAt);
    if (role === 'secondary' || isProven) this.#setSilenced(watched, []);
    else this.#force(vm, watched);
  }

  #setSilenced(watched: Watched, taps: readonly string[]): void {
    if (taps.length === watched.silenced.length && taps.every((tap) => watched.silenced.includes(tap))) return;
    if (watched.silenced.length === 0) watched.silencedAt = this.#ports.clock.now();
    watched.silenced = taps;
    this.#settleSilence();
  }

  #settleSilence(): void {
    if (!this.#opened || this.#stopped) return;
    const wanted = new Set<string>();
    for (const { silenced } of this.#vms.values()) for (const tap of silenced) wanted.add(tap);
    if (this.#inherited.size > 0) this.#keepInherited(wanted);
    const text = [...wanted].sort().join(' ');
    if (text === this.#wanted) return;
    this.#wanted = text;
    this.#ports.silence.want(wanted);
  }

  #keepInherited(wanted: Set<string>): void {
    if (this.#ports.clock.now() - this.#startedAt >= CLAIM_MS) {
      this.#inherited = new Set();
      return;
    }
    const claimed = new Set([...this.#vms.values()].flatMap((each) => each.source.facts()?.taps ?? []));
    for (const tap of this.#inherited) if (!claimed.has(tap)) wanted.add(tap);
  }

  #age(at: Instant): number {
    return ageMs(this.#attention, at, this.#ports.clock.now());
  }
}
