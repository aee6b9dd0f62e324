// Whether what left the hosts' guest ports during a fault was allowed to. The law: a side's IPv4 payload leaves only by a verdict for that side,
// or because both sides had agreed on it. The second cannot be seen from outside, so a byte that leaves without a verdict must be one
// that the guest goes on from: the surviving side sends the same byte at the same place, or its stream goes on behind it. Pure.

import type { Frame, FrameContent } from './pcap.js';

export interface FaultPeriod {
  /** Hosts of the pair before the fault. */
  readonly primary: string;
  readonly secondary: string;
  readonly faultWallMs: number;
  /** Nothing is judged from then on, for example because another verdict has followed; Infinity = to the end of the capture. */
  readonly untilWallMs: number;
  /** False for a fault that leaves the pair at work, so that its answers are agreed on until the verdict (a full disk, a killed agent). */
  readonly pairBroken: boolean;
  /** `atWallMs`: when it was decided. Null: nobody was to move, and nobody did. */
  readonly verdict: { readonly winner: string; readonly atWallMs: number } | null;
  /** What reached the primary from the secondary, each TCP stream whole: its guest's answers are among it, to be compared. */
  readonly toldByTwin: readonly Buffer[];
  /** When the primary was told that the secondary has a whole state of it (COLO's VMSTATE_RECEIVED): then it lets all go that it held back. */
  readonly statesReceivedWallMs: readonly number[];
  /** When each agent began to suspect its pair, from its log. */
  readonly suspicions: readonly { readonly host: string; readonly atWallMs: number }[];
}

export interface Silence {
  readonly host: string;
  /** From the fault to the agent's suspicion. */
  readonly suspectedAfterMs: number;
  /** Frames from the fault to the suspicion: without any, that it was quiet afterwards proves little. */
  readonly heardBefore: number;
  /** From the suspicion to the last frame before the verdict (of a loser: the last one at all); null = there was none. */
  readonly lastHeardAfterMs: number | null;
  /** Of the winner, from the verdict to the first frame; null = none was seen. */
  readonly liftedAfterMs: number | null;
}

export interface CaptureJudgement {
  /** Empty: the law was kept. */
  readonly violations: readonly string[];
  /** IPv4 payload that left after the fault and without a verdict, and was found to be agreed on. */
  readonly unverdicted: {
    readonly frames: number;
    readonly bytes: number;
    readonly sameBytes: number;
    readonly continuedBytes: number;
    readonly twinBytes: number;
    readonly checkpointBytes: number;
  };
  readonly silences: readonly Silence[];
}

/** What both sides had agreed on when the fault struck may still be on its way out of the primary. */
export const IN_FLIGHT_MS = 100;
/** From the secondary's word that it has a whole state to the last frame that the primary lets go because of it. */
export const FLUSHED_WITHIN_MS = 250;
/** From an agent's suspicion to the last ARP, IPv6 or VLAN frame of its side. */
export const QUIET_WITHIN_MS = 100;
/** More lines than this say nothing new. */
const MOST_VIOLATIONS = 12;

/** `frames`: by host, all that its guest sent, oldest first. */
export function judgeCapture(frames: ReadonlyMap<string, readonly Frame[]>, period: FaultPeriod): CaptureJudgement {
  const violations: string[] = [];
  const say = (line: string): unknown => violations.length < MOST_VIOLATIONS && violations.push(line);
  const agreed: Frame[] = [];
  const doubtful: { host: string; frame: Frame }[] = [];
  const inPeriod = (sent: readonly Frame[]): readonly Frame[] => sent.filter((frame) => frame.wallMs < period.untilWallMs);
  for (const [host, sent] of frames) {
    for (const frame of inPeriod(sent)) {
      if (frame.content.kind === 'uncompared') continue;
      if (mayEmit(period, host, frame.wallMs)) agreed.push(frame);
      else if (payloadOf(frame).length > 0) doubtful.push({ host, frame });
    }
  }
  const seen = { frames: 0, bytes: 0, sameBytes: 0, continuedBytes: 0, twinBytes: 0, checkpointBytes: 0 };
  for (const { host, frame } of doubtful) {
    const what = `${host} sent ${describe(frame)} ${ago(frame.wallMs - period.faultWallMs)} without a verdict`;
    const late = frame.wallMs - period.faultWallMs > IN_FLIGHT_MS;
    if (host !== period.primary) say(`${what}: it was never the primary`);
    // A primary that goes on itself sends everything again: of it only what had left before counts.
    const known = period.verdict?.winner === host ? agreed.filter((each) => each.wallMs < frame.wallMs) : agreed;
    const { same, continued, foreign, differs } = compare(frame.content, known);
    if (differs) say(`${what}: the surviving side sent other bytes there`);
    // A late process can still let go what it had compared before: the bytes themselves prove it, where the time does not.
    const twin = foreign > 0 && host === period.primary && period.toldByTwin.some((each) => each.includes(payloadOf(frame)));
    // What the primary had sent is part of the state that the secondary goes on from.
    const flushed = foreign > 0 && !twin && host === period.primary ? sinceState(period, frame.wallMs) : null;
    const agreedOn = twin || (flushed !== null && flushed <= FLUSHED_WITHIN_MS);
    const state = flushed === null ? '' : `, ${Math.round(flushed)} ms after the last checkpoint that reached it`;
    if (late && foreign > 0 && !agreedOn) say(`${what}: ${foreign} bytes that nobody had agreed on${state}`);
    seen.frames += 1;
    seen.bytes += same + continued + foreign;
    seen.sameBytes += same;
    seen.continuedBytes += continued;
    seen.twinBytes += twin ? foreign : 0;
    seen.checkpointBytes += agreedOn && !twin ? foreign : 0;
  }
  const silences = period.suspicions.map(({ host, atWallMs }) => judgeSilence(inPeriod(frames.get(host) ?? []), period, host, atWallMs));
  for (const silence of silences) {
    if (silence.lastHeardAfterMs !== null && silence.lastHeardAfterMs > QUIET_WITHIN_MS)
      say(`${silence.host} sent frames that are not compared until ${Math.round(silence.lastHeardAfterMs)} ms after its own suspicion`);
  }
  return { violations, unverdicted: seen, silences };
}

function mayEmit({ primary, faultWallMs, pairBroken, verdict }: FaultPeriod, host: string, wallMs: number): boolean {
  if (verdict !== null && wallMs >= verdict.atWallMs) return host === verdict.winner;
  return host === primary && (wallMs < faultWallMs || !pairBroken);
}

/** Milliseconds since the last state that the secondary had whole by then; null = there was none. */
function sinceState({ statesReceivedWallMs }: FaultPeriod, wallMs: number): number | null {
  const before = statesReceivedWallMs.filter((at) => at <= wallMs);
  return before.length === 0 ? null : wallMs - Math.max(...before);
}

function judgeSilence(sent: readonly Frame[], period: FaultPeriod, host: string, suspectedAt: number): Silence {
  const { faultWallMs, verdict } = period;
  const uncompared = sent.filter((frame) => frame.content.kind === 'uncompared').map((frame) => frame.wallMs);
  const wins = verdict?.winner === host;
  const until = wins ? verdict.atWallMs : Infinity;
  const last = uncompared.filter((at) => at > suspectedAt && at < until).at(-1);
  const lifted = wins ? uncompared.find((at) => at >= until) : undefined;
  return {
    host,
    suspectedAfterMs: suspectedAt - faultWallMs,
    heardBefore: uncompared.filter((at) => at >= faultWallMs && at <= suspectedAt).length,
    lastHeardAfterMs: last === undefined ? null : last - suspectedAt,
    liftedAfterMs: lifted === undefined ? null : lifted - until,
  };
}

/** Bytes that left alike by right, bytes behind which the stream goes on by right, and the rest; `differs`: others left by right in that place. */
interface Compared {
  readonly same: number;
  readonly continued: number;
  readonly foreign: number;
  readonly differs: boolean;
}

function compare(content: FrameContent, byRight: readonly Frame[]): Compared {
  if (content.kind === 'uncompared') return { same: 0, continued: 0, foreign: 0, differs: false };
  const { length } = content.payload;
  if (content.kind === 'datagram') {
    const same = byRight.some(
      ({ content: each }) => each.kind === 'datagram' && each.stream === content.stream && each.payload.equals(content.payload),
    );
    return { same: same ? length : 0, continued: 0, foreign: same ? 0 : length, differs: false };
  }
  const stream = byRight.flatMap(({ content: each }) => (each.kind === 'tcp' && each.stream === content.stream ? [each] : []));
  const known = new Array<boolean>(length).fill(false);
  let differs = false;
  for (const each of stream) {
    // Sequence numbers go round; the signed distance does not.
    const shift = (each.place - content.place) | 0;
    for (let at = Math.max(0, shift); at < Math.min(length, shift + each.payload.length); at += 1) {
      known[at] = true;
      if (content.payload[at] !== each.payload[at - shift]) differs = true;
    }
  }
  const reached = Math.max(0, ...stream.map((each) => (each.end - content.place) | 0));
  const same = known.filter(Boolean).length;
  const continued = known.filter((each, at) => !each && at < reached).length;
  return { same, continued, foreign: length - same - continued, differs };
}

function payloadOf({ content }: Frame): Buffer {
  return content.kind === 'uncompared' ? Buffer.alloc(0) : content.payload;
}

function describe({ content, type }: Frame): string {
  return content.kind === 'uncompared' ? type : `${content.payload.length} bytes of ${content.stream}`;
}

function ago(ms: number): string {
  return `${Math.round(ms)} ms after the fault`;
}
