// The kinds of traffic by which the lab learns what a client of a protected guest sees. Each is a loop over one guest that runs until it
// is stopped, or, without `reconnect`, until its connection breaks. It only measures: what the lines mean is told by probe-analysis.ts.

import { createSocket } from 'node:dgram';
import { setTimeout as pause } from 'node:timers/promises';
import {
  DOWNLOAD_PORT,
  HASH_START,
  LINE_PORT,
  UPLOAD_PORT,
  firstWrongByte,
  hashOn,
  hashText,
  parseAnswer,
  parseState,
} from './guest-protocol.js';
import { openLineSocket, type LineSocket } from './line-socket.js';
import type { ProbeKind, ProbeLine } from './probe-log.js';

export interface ProbeOptions {
  readonly probe: ProbeKind;
  readonly address: string;
  /** Where the guest's own questions are to go; only for `dns`. */
  readonly ownAddress: string;
  /** From the begin of one exchange to the begin of the next; 0 = at once. */
  readonly periodMs: number;
  /** Size of one upload or download. */
  readonly bytes: number;
  readonly reconnect: boolean;
  /** An exchange of a long-lived connection that stands still for so long is given up; null = it waits for ever. */
  readonly answerBoundMs: number | null;
  readonly signal: AbortSignal;
  readonly log: (line: ProbeLine) => void;
}

const CONNECT_MS = 10_000;
const RECONNECT_AFTER_MS = 100;
const PROGRESS_MS = 10;
const CHUNK_BYTES = 64 * 1024;
/** A connection of its own is given up after so long; the long-lived ones wait for ever, to see whether the guest ever goes on. */
const NEW_CONNECTION_MS = 30_000;

export const monoMs = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;
const now = () => ({ monoMs: monoMs(), wallMs: Date.now() });

/** Resolves when it is over; never throws for anything that the guest or the network does. */
export async function runProbe(options: ProbeOptions): Promise<void> {
  const { signal, log } = options;
  log({ kind: 'begin', probe: options.probe, ...now() });
  const exchange = exchangeOf(options);
  let nextMs = monoMs();
  while (!signal.aborted) {
    let socket: LineSocket | null = null;
    try {
      const began = monoMs();
      socket = await openLineSocket({
        address: options.address,
        port: exchange.port,
        connectBoundMs: CONNECT_MS,
        signal,
        ...exchange.bound,
      });
      log({ kind: 'connected', ...now() });
      let first = true;
      do {
        if (!first || !exchange.oneEach) nextMs = await atPeriod(options, nextMs);
        await exchange.once(socket, first && exchange.oneEach ? began : monoMs());
        first = false;
      } while (!exchange.oneEach && !signal.aborted);
    } catch (error) {
      if (signal.aborted) break;
      log({ kind: 'broken', ...now(), detail: error instanceof Error ? error.message : String(error) });
      if (!options.reconnect && !exchange.oneEach) break;
      await pause(RECONNECT_AFTER_MS, undefined, { signal }).catch(() => undefined);
    } finally {
      socket?.close();
    }
    if (exchange.oneEach) nextMs = await atPeriod(options, nextMs);
  }
  exchange.close();
  log({ kind: 'end', ...now() });
}

/** Late exchanges are not made up for, so that a long gap is not followed by a burst. */
async function atPeriod(options: ProbeOptions, dueMs: number): Promise<number> {
  const leftMs = dueMs - monoMs();
  if (leftMs > 0) await pause(leftMs, undefined, { signal: options.signal }).catch(() => undefined);
  return Math.max(dueMs, monoMs()) + options.periodMs;
}

interface Exchange {
  readonly port: number;
  /** A connection for each exchange. */
  readonly oneEach: boolean;
  readonly bound: { readonly answerBoundMs?: number };
  once(socket: LineSocket, beganMs: number): Promise<void>;
  close(): void;
}

function exchangeOf(options: ProbeOptions): Exchange {
  const plain = { oneEach: false, bound: {}, close: () => undefined };
  const bound = options.answerBoundMs === null ? {} : { answerBoundMs: options.answerBoundMs };
  switch (options.probe) {
    case 'closed-loop':
      return { ...plain, port: LINE_PORT, bound, once: ask(options) };
    case 'new-connection':
      return { ...plain, port: LINE_PORT, oneEach: true, bound: { answerBoundMs: NEW_CONNECTION_MS }, once: ask(options) };
    case 'upload':
      return { ...plain, port: UPLOAD_PORT, bound, once: upload(options) };
    case 'download':
      return { ...plain, port: DOWNLOAD_PORT, bound, once: download(options) };
    case 'read':
      return { ...plain, port: LINE_PORT, bound, once: read(options) };
    case 'dns':
      return guestQuery(options);
  }
}

function ask({ log }: ProbeOptions): Exchange['once'] {
  let number = 0;
  return async (socket, sentMonoMs) => {
    number += 1;
    const question = `q${number}`;
    log({ kind: 'asked', monoMs: monoMs(), question });
    await socket.send(`${question}\n`);
    const line = await socket.line();
    const answer = parseAnswer(line);
    if (answer === null || answer.echo !== question)
      return log({ kind: 'wrong', ...now(), detail: `asked ${question}, was told "${line}"` });
    const { counter, boot, diskErrno } = answer;
    log({ kind: 'answer', sentMonoMs, ...now(), counter, boot, diskErrno });
  };
}

function read({ log }: ProbeOptions): Exchange['once'] {
  return async (socket) => {
    const sentMonoMs = monoMs();
    log({ kind: 'asked', monoMs: sentMonoMs, question: 'stat' });
    await socket.send('stat\n');
    const line = await socket.line();
    const state = parseState(line);
    if (state === null) return log({ kind: 'wrong', ...now(), detail: `asked for the state, was told "${line}"` });
    log({ kind: 'value', sentMonoMs, monoMs: monoMs(), ...state });
  };
}

function upload({ log, bytes }: ProbeOptions): Exchange['once'] {
  let number = 0;
  return async (socket, sentMonoMs) => {
    number += 1;
    // Different bytes each time, so that an old answer cannot pass for a new one.
    const body = Buffer.alloc(bytes, `upload ${number} `);
    await socket.send(`put ${bytes}\n`);
    await socket.send(body);
    const line = await socket.line();
    const expected = `got ${bytes} ${hashText(hashOn(HASH_START, body))}`;
    if (line !== expected) return log({ kind: 'wrong', ...now(), detail: `expected "${expected}", was told "${line}"` });
    log({ kind: 'transfer', sentMonoMs, ...now(), bytes });
  };
}

function download({ log, bytes }: ProbeOptions): Exchange['once'] {
  return async (socket, sentMonoMs) => {
    await socket.send(`get ${bytes}\n`);
    let wrongAt = -1;
    let told = 0;
    for (let offset = 0; offset < bytes;) {
      const chunk = await socket.some(Math.min(CHUNK_BYTES, bytes - offset));
      const wrong = firstWrongByte(chunk, offset);
      if (wrong >= 0 && wrongAt < 0) wrongAt = offset + wrong;
      offset += chunk.length;
      if (monoMs() - told < PROGRESS_MS) continue;
      told = monoMs();
      log({ kind: 'progress', monoMs: told, bytes: offset });
    }
    if (wrongAt >= 0) return log({ kind: 'wrong', ...now(), detail: `byte ${wrongAt} of a download was wrong` });
    log({ kind: 'transfer', sentMonoMs, ...now(), bytes });
  };
}

/** Answers the guest's questions itself, and tells the guest to ask. */
function guestQuery(options: ProbeOptions): Exchange {
  const { log, ownAddress } = options;
  const server = createSocket('udp4');
  const bound = new Promise<number>((resolve) => server.bind(0, ownAddress, () => resolve(server.address().port)));
  server.on('message', (question, from) => {
    const reply = Buffer.from(question);
    reply[2] = (reply[2] ?? 0) | 0x80;
    server.send(reply, from.port, from.address);
  });
  return {
    port: LINE_PORT,
    oneEach: false,
    bound: {},
    close: () => server.close(),
    once: async (socket, sentMonoMs) => {
      await socket.send(`dns ${ownAddress} ${await bound}\n`);
      const line = await socket.line();
      const found = /^dns (\d+|timeout) (\d+)$/.exec(line);
      if (found === null) return log({ kind: 'wrong', ...now(), detail: `asked for a query, was told "${line}"` });
      const elapsedMs = found[1] === 'timeout' ? null : Number(found[1]);
      log({ kind: 'guest-query', sentMonoMs, ...now(), elapsedMs, tries: Number(found[2]) });
    },
  };
}
