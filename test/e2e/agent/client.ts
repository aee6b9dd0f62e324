// A client of the lab's guest: one TCP connection, a request every 30 ms, each answered with the next counter.

import { createConnection, type Socket } from 'node:net';
import { LINE_PORT, parseAnswer } from '../../../deploy/lab/guest-protocol.js';
import { systemClock } from '../../../shared/io/clock.js';
import { waitFor } from '../../support/wait.js';

const PERIOD_MS = 30;
const clock = systemClock();

export class GuestClient {
  readonly #address: string;
  #socket: Socket | null = null;
  #counters: number[] = [];
  #problems: string[] = [];
  #lastAnswerAt = performance.now();
  #longestGapMs = 0;
  #closed = false;

  constructor(address: string) {
    this.#address = address;
    this.#connect();
  }

  #connect(): void {
    if (this.#closed) return;
    const socket = createConnection({ host: this.#address, port: LINE_PORT, noDelay: true });
    this.#socket = socket;
    let buffered = '';
    let request = 0;
    const ask = (): void => {
      if (!socket.destroyed) socket.write(`r${(request += 1)}\n`);
    };
    socket.once('connect', ask);
    socket.on('data', (chunk) => {
      buffered += chunk.toString('utf8');
      for (let end = buffered.indexOf('\n'); end >= 0; end = buffered.indexOf('\n')) {
        this.#take(buffered.slice(0, end));
        buffered = buffered.slice(end + 1);
        clock.after(PERIOD_MS, ask);
      }
    });
    socket.on('error', (error) => {
      // Until the guest has booted nobody answers.
      if (this.#counters.length > 0) this.#problems.push(error.message);
      else clock.after(100, () => this.#connect());
    });
  }

  #take(line: string): void {
    const answer = parseAnswer(line);
    if (answer === null) return;
    const now = performance.now();
    const last = this.#counters.at(-1);
    if (last !== undefined) this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastAnswerAt);
    if (last !== undefined && answer.counter !== last + 1) this.#problems.push(`counter ${answer.counter} after ${last}`);
    if (answer.diskErrno !== 0) this.#problems.push(`disk error ${answer.diskErrno}`);
    this.#counters.push(answer.counter);
    this.#lastAnswerAt = now;
  }

  /** So many further answers. */
  async answers(count: number, ms: number): Promise<void> {
    const wanted = this.#counters.length + count;
    await waitFor(() => this.#counters.length >= wanted, {
      what: `${count} answers of the guest`,
      boundMs: ms,
      everyMs: 5,
      context: () => `${this.#counters.length} of ${wanted}; ${this.#problems.join('; ')}`,
    });
  }

  longestGapMs(): number {
    return Math.round(this.#longestGapMs);
  }

  forgetGaps(): void {
    this.#longestGapMs = 0;
  }

  problems(): readonly string[] {
    return this.#problems;
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }
}
