// Heartbeats between hosts: what they say, and what follows from having heard them. The one thing that counts is when two-way contact
// with the peer's HOST was last proven: by a heartbeat that says when it heard ours, or by the peer's kernel, which answers a probe of a
// closed port whether or not any agent lives there. So a cut in either direction is seen by both sides, and a dead agent is no dark host.

import { instant, type Instant } from '../../shared/core/ids.js';
import { ageMs, type Attention } from './attention.js';

export const HEARTBEAT_VERSION = 1;
/** A heartbeat fits into one Ethernet frame. */
export const HEARTBEAT_BYTES = 1_200;
/** VMs whose QEMU hangs are told up to this number. */
const MAX_HUNG = 16;
/** Probes that are remembered while none is answered. */
const MAX_PROBES = 32;
/** Sessions of a peer that have ended and are remembered, so that nothing of them is heard again. */
const MAX_FORMER = 64;
/** An echo of a beat of ours that is older than this proves nothing: it may have been recorded and played back. */
const ECHO_FRESH_MS = 1_000;

export interface Heartbeat {
  readonly version: typeof HEARTBEAT_VERSION;
  /** The cluster's prefix in etcd: hosts of another cluster are not heard. */
  readonly cluster: string;
  readonly host: string;
  /** Random per agent start; the sequence begins anew with it. */
  readonly session: string;
  readonly sequence: number;
  /** The sender's own monotonic clock, milliseconds. Meaningless to others, who only send it back. */
  readonly sentAtMs: number;
  /** The last heartbeat that the sender heard of the receiver, and how long ago; time in which it was not looking is left out. */
  readonly heard: { readonly session: string; readonly sentAtMs: number; readonly agoMs: number } | null;
  /** Uids of VMs whose QEMU does not answer the sender. */
  readonly hung: readonly string[];
}

/** What is known of one peer. All instants are this host's. */
export interface PeerContact {
  readonly session: string | null;
  readonly sequence: number;
  readonly sentAtMs: number;
  /** Earlier ones. What still comes of them was played back. */
  readonly formerSessions: readonly string[];
  /** Another session that has not yet shown that it hears us, so that it may be an old one played back. It is told that we hear it. */
  readonly candidate: { readonly session: string; readonly sentAtMs: number; readonly at: Instant } | null;
  /** Last heartbeat of any kind: the way from the peer to us works, and its agent runs. */
  readonly heardAt: Instant | null;
  /** How long before `heardAt` the peer had heard us; null = it has not heard this session of ours. */
  readonly heardUsMs: number | null;
  /** Proof of both ways. */
  readonly contactAt: Instant | null;
  /** The peer's kernel has answered a probe of this process at least once, so that its silence means something. */
  readonly kernelAnswers: boolean;
  /** Probes sent since its last answer. */
  readonly unanswered: readonly Instant[];
  readonly probedAt: Instant | null;
  /** The heartbeat port was found closed: the host lives, its agent does not. */
  readonly refusedAt: Instant | null;
  readonly rttMs: number | null;
  readonly hung: readonly string[];
  /** Since when each VM of `hung` has been told. */
  readonly hungSince: ReadonlyMap<string, Instant>;
}

export const newContact: PeerContact = {
  session: null,
  sequence: 0,
  sentAtMs: 0,
  formerSessions: [],
  candidate: null,
  heardAt: null,
  heardUsMs: null,
  contactAt: null,
  kernelAnswers: false,
  unanswered: [],
  probedAt: null,
  refusedAt: null,
  rttMs: null,
  hung: [],
  hungSince: new Map(),
};

export interface Ourselves {
  readonly cluster: string;
  readonly host: string;
  readonly session: string;
}

export function composeHeartbeat(
  us: Ourselves,
  sequence: number,
  peer: PeerContact,
  hung: readonly string[],
  attention: Attention,
  now: Instant,
): Heartbeat {
  const { candidate } = peer;
  const known =
    peer.session === null || peer.heardAt === null ? null : { session: peer.session, sentAtMs: peer.sentAtMs, at: peer.heardAt };
  // A session that has fallen silent, or never was proven, waits no longer for the one that may have taken its place.
  const latest = candidate !== null && (known === null || candidate.at > known.at || peer.heardUsMs === null) ? candidate : known;
  const heard =
    latest === null ? null : { session: latest.session, sentAtMs: latest.sentAtMs, agoMs: round(ageMs(attention, latest.at, now)) };
  return { version: HEARTBEAT_VERSION, ...us, sequence, sentAtMs: round(now), heard, hung: hung.slice(0, MAX_HUNG) };
}

export function encodeHeartbeat(heartbeat: Heartbeat): string {
  return JSON.stringify(heartbeat);
}

/** Null = not a heartbeat of this version and cluster. */
export function decodeHeartbeat(text: string, cluster: string): Heartbeat | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { version, host, session, sequence, sentAtMs, heard, hung } = value;
  if (version !== HEARTBEAT_VERSION || value['cluster'] !== cluster) return null;
  if (!isText(host) || !isText(session) || !isCount(sequence) || !isCount(sentAtMs)) return null;
  if (!Array.isArray(hung) || hung.length > MAX_HUNG || !hung.every(isText)) return null;
  if (heard === null) return { version, cluster, host, session, sequence, sentAtMs, heard, hung };
  if (!isObject(heard) || !isText(heard['session']) || !isCount(heard['sentAtMs']) || !isCount(heard['agoMs'])) return null;
  const echo = { session: heard['session'], sentAtMs: heard['sentAtMs'], agoMs: heard['agoMs'] };
  return { version, cluster, host, session, sequence, sentAtMs, heard: echo, hung };
}

/**
 * The same contact when the datagram is an old one that came late, twice or was played back, or our own that was sent back. Another session
 * takes the place of a known one only by an echo of what we said just now, which nobody can have recorded before.
 */
export function hearHeartbeat(contact: PeerContact, heartbeat: Heartbeat, ourSession: string, now: Instant): PeerContact {
  if (heartbeat.session === ourSession) return contact;
  if (contact.formerSessions.includes(heartbeat.session)) return contact;
  const isKnown = heartbeat.session === contact.session;
  if (isKnown && heartbeat.sequence <= contact.sequence) return contact;
  const told = heartbeat.heard?.session === ourSession ? heartbeat.heard : null;
  const isFresh = told !== null && now - told.sentAtMs - told.agoMs <= ECHO_FRESH_MS;
  const echo = isFresh ? told : null;
  if (!isKnown && contact.session !== null && echo === null)
    return { ...contact, candidate: { session: heartbeat.session, sentAtMs: heartbeat.sentAtMs, at: now } };
  const ended = isKnown || contact.session === null ? [] : [contact.session];
  return {
    ...contact,
    formerSessions: [...contact.formerSessions, ...ended].slice(-MAX_FORMER),
    candidate: isKnown ? contact.candidate : null,
    session: heartbeat.session,
    sequence: heartbeat.sequence,
    sentAtMs: heartbeat.sentAtMs,
    heardAt: now,
    heardUsMs: echo?.agoMs ?? null,
    contactAt: echo === null ? contact.contactAt : later(contact.contactAt, instant(now - echo.agoMs)),
    refusedAt: null,
    // What was sent, went there, waited there and came back; the wait is told by the peer.
    rttMs: echo === null ? contact.rttMs : Math.max(0, round(now - echo.sentAtMs - echo.agoMs)),
    hung: heartbeat.hung,
    hungSince: new Map(heartbeat.hung.map((uid) => [uid, contact.hungSince.get(uid) ?? now])),
  };
}

export function noteProbe(contact: PeerContact, now: Instant): PeerContact {
  return { ...contact, probedAt: now, unanswered: [...contact.unanswered, now].slice(-MAX_PROBES) };
}

/** `sentAt`: the probe that was answered. Its question is what proves the way there, so an answer that comes late proves no more. */
export function hearProbeAnswer(contact: PeerContact, sentAt: Instant): PeerContact {
  return {
    ...contact,
    kernelAnswers: true,
    contactAt: later(contact.contactAt, sentAt),
    unanswered: contact.unanswered.filter((each) => each > sentAt),
  };
}

/** The peer's kernel says that nobody listens on the heartbeat port. */
export function hearRefusal(contact: PeerContact, now: Instant): PeerContact {
  return { ...contact, refusedAt: now, contactAt: later(contact.contactAt, now) };
}

/** Probes that had the time of half a tick to be answered. */
export function unansweredProbes(contact: PeerContact, attention: Attention, now: Instant): number {
  return contact.unanswered.filter((at) => ageMs(attention, at, now) >= attention.periodMs / 2).length;
}

function later(one: Instant | null, other: Instant): Instant {
  return one === null || other > one ? other : one;
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 128;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
