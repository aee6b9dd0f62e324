// Whether a pair lives, from everything that this host can see of it (SAFETY 8). Hard evidence is QEMU's own word or the kernel's about
// QEMU. Silence needs evidence from below the agents: no two-way contact with the peer's host although its kernel was asked, QEMU's own
// sockets repeating in vain, or checkpoints that do not come. A peer whose agent is dead while its host answers is no silence.

import type { PairReport } from '../../shared/core/model.js';
import { MISSED_WRITE } from './facts.js';

export interface PairSignals {
  /** `none`: not half of a pair that reached COLO. */
  readonly role: 'primary' | 'secondary' | 'none';
  /** COLO_EXIT error, a chardev's end of file and the like. */
  readonly breaks: readonly { readonly what: string; readonly agoMs: number }[];
  readonly replicationError: boolean;
  readonly ownQemu: OwnQemu;
  readonly checkpoints: Checkpoints;
  /** Null: no peer is known, so only QEMU's word counts. */
  readonly peer: PeerSignals | null;
  readonly tcp: TcpSignals;
  /** The agent's way to silence a suspect side is not there; for people. */
  readonly silenceProblem: string | null;
  readonly suspectAfterMs: number;
}

export type OwnQemu =
  | { readonly kind: 'answers' }
  /** The out-of-band monitor does not answer, or (`main-loop`) only the ordinary one does not. */
  | { readonly kind: 'hung' | 'main-loop'; readonly agoMs: number };

export interface Checkpoints {
  /** x-checkpoint-delay: the longest time between two of a healthy pair. */
  readonly delayMs: number;
  /** Since COLO began, or since this agent first saw it. */
  readonly pairAgeMs: number;
  /** End of the last one: RESUME. Null = none was seen. */
  readonly resumedAgoMs: number | null;
  /**
   * Newest proof by a checkpoint that packets went both ways, and never younger than they were. On the primary, the begin of one that has ended; on the
   * secondary, the end of the one before that which it was asked for last. QEMU says STOP and RESUME when it has got to it, which under
   * load was half a second after the packet that it had waited for, and a cut link is not to be taken for a whole one that long. Null = none.
   */
  readonly provenAgoMs: number | null;
  /** Begin of the one that is under way: STOP without a RESUME after it, or the command that forced it. */
  readonly waitedMs: number | null;
}

export interface PeerSignals {
  readonly address: string;
  /** Last heartbeat from it; null = none ever, which says nothing. */
  readonly heardAgoMs: number | null;
  /** How long the peer has not heard us, by its own word; null = it has not said. */
  readonly heardUsAgoMs: number | null;
  /** Last proof that packets go there and come back; null = none ever. */
  readonly contactAgoMs: number | null;
  /** Its kernel is known to answer probes. */
  readonly kernelAnswers: boolean;
  readonly unansweredProbes: number;
  readonly refusedAgoMs: number | null;
  /** The peer's agent says that its QEMU of this VM hangs. */
  readonly hungAgoMs: number | null;
}

export interface TcpSignals {
  /** In a row, of the worst of QEMU's replication sockets. */
  readonly retransmits: number;
  readonly stuckMs: number;
  readonly zeroWindow: boolean;
}

export interface Judgement extends PairReport {
  /** A forced checkpoint would tell. Only ever true on a primary whose pair has had its first RESUME. */
  readonly wantsCheckpoint: boolean;
}

/** Beside heartbeats that stopped just now: so many probes of the peer's kernel must have been left without an answer. */
const PROBES = 3;
/** When the peer's agent has been silent for long, probes are the only witness and one run of lost packets is no death. */
const PROBES_ALONE = 8;
/** The same of repetitions by QEMU's sockets: the kernel waits at least 200 ms before the first, and twice as long before each next one. */
const RETRANSMITS = 1;
const RETRANSMITS_LATER = 3;
/** With contact: more than six seconds of repetitions, which no lost packets explain. */
const RETRANSMITS_ALONE = 5;
/** A pair without a checkpoint for so many of its periods, and this margin, is silent. */
const MISSED_CHECKPOINTS = 3;
const CHECKPOINT_MARGIN_MS = 1_500;
/** A checkpoint under way for so long is a doubt, not more: much memory takes its time. */
const CHECKPOINT_SLOW_MS = 500;

export function judge(signals: PairSignals): Judgement {
  if (signals.role === 'none') return { state: 'none', evidence: [], wantsCheckpoint: false };
  const hard = hardEvidence(signals);
  if (hard.length > 0) return say(signals, 'hard', hard);
  const silent = silentEvidence(signals);
  if (silent.length > 0) return say(signals, 'silent', silent);
  const doubts = doubtsOf(signals);
  if (doubts.length === 0) return { state: 'ok', evidence: contextOf(signals), wantsCheckpoint: false };
  const askable = signals.role === 'primary' && signals.ownQemu.kind === 'answers' && signals.checkpoints.resumedAgoMs !== null;
  return { ...say(signals, 'unknown', doubts), wantsCheckpoint: askable && peerDoubts(signals).length > 0 };
}

/** In how many milliseconds contact will have been unproven for the suspect time, if nothing comes; null = it is so already, or never will be. */
export function suspectInMs(signals: PairSignals): number | null {
  const contact = signals.peer === null || signals.role === 'none' ? null : contactMs(signals, signals.peer);
  return contact === null || contact >= signals.suspectAfterMs ? null : signals.suspectAfterMs - contact;
}

function say(signals: PairSignals, state: 'hard' | 'silent' | 'unknown', lines: readonly string[]): Judgement {
  const unsilenced =
    signals.silenceProblem === null || state === 'unknown' ? [] : [`ARP and IPv6 are not silenced: ${signals.silenceProblem}`];
  return { state, evidence: [...contextOf(signals), ...unsilenced, ...lines], wantsCheckpoint: false };
}

function hardEvidence(signals: PairSignals): readonly string[] {
  return [...signals.breaks.map((each) => `${each.what} ${ago(each.agoMs)}`), ...(signals.replicationError ? [MISSED_WRITE] : [])];
}

/** Newest proof of both ways: a heartbeat's echo, a probe's answer, or a checkpoint. */
function contactMs(signals: PairSignals, peer: PeerSignals): number | null {
  // Where neither heartbeats nor probes ever came through, their absence says nothing.
  if (peer.contactAgoMs === null) return null;
  return Math.min(peer.contactAgoMs, signals.checkpoints.provenAgoMs ?? peer.contactAgoMs);
}

function isByCheckpoint({ provenAgoMs }: Checkpoints, { contactAgoMs }: PeerSignals): boolean {
  return provenAgoMs !== null && contactAgoMs !== null && provenAgoMs < contactAgoMs;
}

function silentEvidence(signals: PairSignals): readonly string[] {
  const { peer, tcp, checkpoints, suspectAfterMs } = signals;
  const contact = peer === null ? null : contactMs(signals, peer);
  if (peer !== null && contact !== null && contact >= suspectAfterMs) {
    const oneWay = peer.heardAgoMs !== null && peer.heardAgoMs < contact / 2;
    // Its agent was heard until contact was lost, or is heard still. That stays so however long the silence lasts.
    const lately = peer.heardAgoMs !== null && peer.heardAgoMs < contact + suspectAfterMs;
    const asked = peer.kernelAnswers && peer.unansweredProbes >= (lately ? PROBES : PROBES_ALONE);
    const repeats = tcp.retransmits >= (lately ? RETRANSMITS : RETRANSMITS_LATER);
    if (asked || repeats) {
      return [
        oneWay ? `host ${peer.address} is heard and does not hear us` : `host ${peer.address} is not heard`,
        ...(asked ? [`its kernel left ${peer.unansweredProbes} probes unanswered`] : []),
        ...retransmitLines(tcp, RETRANSMITS),
        `two-way contact with ${peer.address} last proven ${ago(contact)}${isByCheckpoint(checkpoints, peer) ? ' by a checkpoint' : ''}`,
      ];
    }
  }
  if (tcp.retransmits >= RETRANSMITS_ALONE) return retransmitLines(tcp, RETRANSMITS_ALONE);
  const waited = checkpoints.resumedAgoMs ?? checkpoints.pairAgeMs;
  return waited > MISSED_CHECKPOINTS * checkpoints.delayMs + CHECKPOINT_MARGIN_MS ? [checkpointLine(checkpoints)] : [];
}

function retransmitLines(tcp: TcpSignals, from: number): readonly string[] {
  if (tcp.retransmits < from) return [];
  return [`QEMU's socket has repeated ${tcp.retransmits} times in vain, first stuck ${ago(tcp.stuckMs)}`];
}

function checkpointLine(checkpoints: Checkpoints): string {
  const { resumedAgoMs, pairAgeMs } = checkpoints;
  return resumedAgoMs === null ? `no checkpoint seen yet, COLO began ${ago(pairAgeMs)}` : `last checkpoint ${ago(resumedAgoMs)}`;
}

function doubtsOf(signals: PairSignals): readonly string[] {
  const { ownQemu, checkpoints } = signals;
  const doubts = [...peerDoubts(signals)];
  if (ownQemu.kind === 'hung') doubts.push(`QEMU does not answer out of band, first seen ${ago(ownQemu.agoMs)}`);
  if (ownQemu.kind === 'main-loop') doubts.push(`the main loop of QEMU does not answer, first seen ${ago(ownQemu.agoMs)}`);
  if (checkpoints.resumedAgoMs === null) doubts.push(checkpointLine(checkpoints));
  if (checkpoints.waitedMs !== null && checkpoints.waitedMs >= CHECKPOINT_SLOW_MS) {
    doubts.push(`a checkpoint is waited for, begun ${ago(checkpoints.waitedMs)}`);
  }
  return doubts;
}

/** Doubts about the other side. A checkpoint that needed it after they began has answered them. */
function peerDoubts(signals: PairSignals): readonly string[] {
  const { peer, suspectAfterMs } = signals;
  if (peer === null) return [];
  const { provenAgoMs } = signals.checkpoints;
  const answered = (sinceMs: number): boolean => provenAgoMs !== null && provenAgoMs < sinceMs;
  const doubts: string[] = [];
  if (peer.heardAgoMs !== null && peer.heardAgoMs >= suspectAfterMs && !answered(peer.heardAgoMs)) {
    const alive = peer.contactAgoMs !== null && peer.contactAgoMs < suspectAfterMs;
    doubts.push(`agent of ${peer.address} last heard ${ago(peer.heardAgoMs)}${alive ? ', its host answers' : ''}`);
  }
  if (peer.contactAgoMs !== null && peer.contactAgoMs >= suspectAfterMs && !answered(peer.contactAgoMs)) {
    doubts.push(`two-way contact with ${peer.address} last proven ${ago(peer.contactAgoMs)}`);
  }
  if (peer.hungAgoMs !== null && !answered(peer.hungAgoMs))
    doubts.push(`${peer.address} says that its QEMU hangs, first ${ago(peer.hungAgoMs)}`);
  return doubts;
}

/** What is strange without being a doubt; shown before the lines that decided. */
function contextOf(signals: PairSignals): readonly string[] {
  const { peer, tcp, suspectAfterMs } = signals;
  const lines: string[] = [];
  if (peer !== null && peer.refusedAgoMs !== null) lines.push(`no agent listens on ${peer.address}, its host answers`);
  if (peer !== null && peer.refusedAgoMs === null && peer.heardUsAgoMs !== null && peer.heardUsAgoMs >= suspectAfterMs)
    lines.push(`${peer.address} last heard us ${ago(peer.heardUsAgoMs)}`);
  if (tcp.zeroWindow) lines.push("the peer's QEMU does not read from its socket");
  return lines;
}

function ago(ms: number): string {
  return `${Math.round(ms)} ms ago`;
}
