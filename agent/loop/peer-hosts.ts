// The other hosts that this one shares VMs with: beats to each, asks the kernels of those that fall silent, and remembers what came back.
// It judges nothing; what follows for a pair is in core/pair-judgement.ts.

import { ageMs, type Attention } from '../core/attention.js';
import {
  composeHeartbeat,
  decodeHeartbeat,
  encodeHeartbeat,
  hearHeartbeat,
  hearProbeAnswer,
  hearRefusal,
  newContact,
  noteProbe,
  unansweredProbes,
  type Ourselves,
  type PeerContact,
} from '../core/heartbeat.js';
import type { PeerSignals } from '../core/pair-judgement.js';
import type { HeartbeatWire, PeerPorts } from '../peer-ports.js';
import type { Instant, VmUid } from '../../shared/core/ids.js';

/** While all is well a kernel is asked so often, only to know that it does answer. */
const PROBE_WHEN_WELL_MS = 1_000;
/** A host whose agent is heard for so long and whose kernel has answered no probe is behind a filter. */
const PROBES_DROPPED_MS = 5_000;
/** Contact that is not proven for so many beats makes us ask the kernel at every beat. */
const SUSPICIOUS_BEATS = 2;

export class PeerHosts {
  readonly #ports: PeerPorts;
  readonly #us: Ourselves;
  readonly #intervalMs: number;
  readonly #peers = new Map<string, PeerContact>();
  readonly #wire: HeartbeatWire;
  /** Sessions of peers whose kernels were complained about. */
  readonly #complained = new Set<string>();
  #sequence = 0;
  #problem: string | null = null;

  readonly #hungChanged: () => void;

  /** `hungChanged`: a peer has just said that a QEMU hangs, or does not any more. */
  constructor(ports: PeerPorts, us: Ourselves, intervalMs: number, hungChanged: () => void) {
    this.#ports = ports;
    this.#us = us;
    this.#intervalMs = intervalMs;
    this.#hungChanged = hungChanged;
    this.#wire = ports.openWire({
      heard: (address, text) => this.#heard(address, text),
      refused: (address) => this.#update(address, (peer) => hearRefusal(peer, ports.clock.now())),
    });
  }

  /** From now on these hosts are the peers. `hung`: uids of VMs whose QEMU does not answer here. */
  beat(addresses: ReadonlySet<string>, hung: readonly string[], attention: Attention): void {
    const now = this.#ports.clock.now();
    for (const address of this.#peers.keys()) {
      if (addresses.has(address)) continue;
      this.#peers.delete(address);
      this.#wire.forget(address);
    }
    for (const address of addresses) {
      const peer = this.#peers.get(address) ?? newContact;
      this.#peers.set(address, peer);
      this.#sequence += 1;
      this.#wire.send(address, encodeHeartbeat(composeHeartbeat(this.#us, this.#sequence, peer, hung, attention, now)));
      if (this.#mustAsk(peer, attention, now)) this.#ask(address, now);
      this.#complain(address, peer, now);
    }
    this.#tellProblem();
  }

  /** Contact that is younger than this is no reason to look closer. */
  isSuspicious(address: string, attention: Attention): boolean {
    const peer = this.#peers.get(address);
    if (peer === undefined) return false;
    const now = this.#ports.clock.now();
    const beats = SUSPICIOUS_BEATS * this.#intervalMs;
    return peer.contactAt === null || ageMs(attention, peer.contactAt, now) > beats;
  }

  signals(address: string, uid: VmUid, attention: Attention): PeerSignals | null {
    const peer = this.#peers.get(address);
    if (peer === undefined) return null;
    const now = this.#ports.clock.now();
    const age = (at: Instant | null | undefined): number | null => (at === null || at === undefined ? null : ageMs(attention, at, now));
    const heardAgoMs = age(peer.heardAt);
    return {
      address,
      heardAgoMs,
      heardUsAgoMs: heardAgoMs === null || peer.heardUsMs === null ? null : heardAgoMs + peer.heardUsMs,
      contactAgoMs: age(peer.contactAt),
      kernelAnswers: peer.kernelAnswers,
      unansweredProbes: unansweredProbes(peer, attention, now),
      refusedAgoMs: age(peer.refusedAt),
      hungAgoMs: age(peer.hungSince.get(uid)),
    };
  }

  /** Peers that were never heard count from their first beat on as not known, and are left out. */
  silentMs(attention: Attention): Readonly<Record<string, number>> {
    const now = this.#ports.clock.now();
    const heard = [...this.#peers].flatMap(([address, peer]) =>
      peer.heardAt === null ? [] : [[address, Math.round(ageMs(attention, peer.heardAt, now))] as const],
    );
    return Object.fromEntries(heard);
  }

  close(): void {
    this.#wire.close();
    this.#peers.clear();
  }

  #heard(address: string, text: string): void {
    const heartbeat = decodeHeartbeat(text, this.#us.cluster);
    if (heartbeat === null) return;
    const { clock, log } = this.#ports;
    const hungBefore = this.#peers.get(address)?.hung;
    this.#update(address, (peer) => {
      const next = hearHeartbeat(peer, heartbeat, this.#us.session, clock.now());
      if (next.session !== peer.session) log.info({ peer: heartbeat.host, address, session: heartbeat.session }, 'peer-heard');
      return next;
    });
    if (hungBefore?.join() !== this.#peers.get(address)?.hung.join()) this.#hungChanged();
  }

  #mustAsk(peer: PeerContact, attention: Attention, now: Instant): boolean {
    const contactMs = peer.contactAt === null ? Infinity : ageMs(attention, peer.contactAt, now);
    if (contactMs > SUSPICIOUS_BEATS * this.#intervalMs) return true;
    return peer.probedAt === null || now - peer.probedAt >= PROBE_WHEN_WELL_MS;
  }

  #ask(address: string, now: Instant): void {
    this.#update(address, (peer) => noteProbe(peer, now));
    this.#ports.probe.ask(address, () => this.#update(address, (peer) => hearProbeAnswer(peer, now)));
  }

  #update(address: string, next: (peer: PeerContact) => PeerContact): void {
    const peer = this.#peers.get(address);
    if (peer !== undefined) this.#peers.set(address, next(peer));
  }

  /** Without probes a dark host is told from a dead agent only seconds later, by QEMU's own sockets. */
  #complain(address: string, peer: PeerContact, now: Instant): void {
    const [first] = peer.unanswered;
    if (peer.session === null || peer.kernelAnswers || first === undefined || now - first < PROBES_DROPPED_MS) return;
    if (this.#complained.has(peer.session)) return;
    this.#complained.add(peer.session);
    this.#ports.log.warn({ address, remedy: "let TCP to the heartbeats' port pass, closed as it is" }, 'probes-dropped');
  }

  #tellProblem(): void {
    const problem = this.#wire.problem();
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem === null) this.#ports.log.info({}, 'heartbeats-listening');
    else this.#ports.log.error({ problem }, 'heartbeats-not-listening');
  }
}
