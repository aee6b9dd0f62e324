// One TCP connection to the guest, a request every 30 ms, closed loop: the next request waits for the answer. An answer is
// `<counter> <boot-id> <disk-errno> <echo>`, given after the counter is on disk.

import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { GUEST_ADDRESS, GUEST_PORT } from './stage.js';

export interface Answer {
  readonly counter: number;
  readonly boot: string;
  readonly diskError: number;
  readonly at: number;
}

export class Client {
  readonly answers: Answer[] = [];
  error: string | null = null;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | null = null;
  #running = true;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('error', (error) => {
      this.error = error.message;
    });
    socket.on('close', () => {
      if (this.#running) this.error ??= 'closed';
    });
    createInterface({ input: socket })
      .on('line', (line) => this.#answered(line))
      .on('error', () => undefined);
    this.#ask();
  }

  /** Tries until the guest answers. */
  static async connect(timeoutMs: number): Promise<Client> {
    const until = performance.now() + timeoutMs;
    while (performance.now() < until) {
      const socket = await new Promise<Socket | null>((resolve) => {
        const attempt = createConnection({ host: GUEST_ADDRESS, port: GUEST_PORT });
        attempt.setTimeout(1_000, () => attempt.destroy());
        attempt.once('connect', () => {
          attempt.setTimeout(0);
          resolve(attempt);
        });
        attempt.once('error', () => resolve(null));
        attempt.once('close', () => resolve(null));
      });
      if (socket !== null) return new Client(socket);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('the guest does not answer');
  }

  /** Waits until so many more answers have come. */
  async more(count: number, timeoutMs: number): Promise<void> {
    const wanted = this.answers.length + count;
    const until = performance.now() + timeoutMs;
    while (this.answers.length < wanted) {
      if (this.error !== null) throw new Error(`connection broke: ${this.error}`);
      if (performance.now() > until)
        throw new Error(`only ${count - (wanted - this.answers.length)} of ${count} answers within ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Longest time between two answers since an instant, in milliseconds. */
  longestGapMs(since: number): number {
    const times = this.answers.map((answer) => answer.at).filter((at) => at >= since - 100);
    return Math.max(0, ...times.slice(1).map((at, k) => at - (times[k] ?? at)));
  }

  stop(): void {
    this.#running = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #ask(): void {
    if (this.#running) this.#socket.write('q\n');
  }

  #answered(line: string): void {
    const [counter, boot, diskError] = line.split(' ');
    this.answers.push({ counter: Number(counter), boot: boot ?? '', diskError: Number(diskError), at: performance.now() });
    this.#timer = setTimeout(() => this.#ask(), 30);
  }
}
