// A TCP connection to the tiny guest, read by lines or by counted bytes. It buffers nothing beyond what has come, and every way in
// which a connection ends is one thrown error with the kernel's word for it.

import { connect, type Socket } from 'node:net';

export interface LineSocket {
  send(data: string | Uint8Array): Promise<void>;
  /** The next line without its end. */
  line(): Promise<string>;
  /** Whatever has come, at most `most` bytes and at least one. */
  some(most: number): Promise<Buffer>;
  close(): void;
}

export interface ConnectOptions {
  readonly address: string;
  readonly port: number;
  /** Both for making the connection and, if given, for each answer. */
  readonly connectBoundMs: number;
  readonly answerBoundMs?: number;
  readonly signal: AbortSignal;
}

export function openLineSocket(options: ConnectOptions): Promise<LineSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: options.address, port: options.port, noDelay: true });
    const giveUp = setTimeout(() => socket.destroy(new Error(`no connection within ${options.connectBoundMs} ms`)), options.connectBoundMs);
    const abort = (): void => void socket.destroy(new Error('stopped'));
    options.signal.addEventListener('abort', abort, { once: true });
    socket.once('close', () => {
      clearTimeout(giveUp);
      options.signal.removeEventListener('abort', abort);
    });
    socket.once('error', reject);
    socket.once('connect', () => {
      clearTimeout(giveUp);
      resolve(wrap(socket, options.answerBoundMs));
    });
  });
}

function wrap(socket: Socket, answerBoundMs: number | undefined): LineSocket {
  let ended: Error | null = null;
  let wake: (() => void) | null = null;
  const awaken = (): void => {
    wake?.();
    wake = null;
  };
  const end = (error: Error): void => {
    ended ??= error;
    awaken();
  };
  socket.on('error', end);
  socket.on('end', () => end(new Error('closed by the guest')));
  socket.on('close', () => end(new Error('closed')));
  socket.on('readable', awaken);

  /** Asks again whenever something has come. What came before the end is still given out. */
  async function until<T>(take: () => T | null): Promise<T> {
    const timer =
      answerBoundMs === undefined
        ? null
        : setTimeout(() => socket.destroy(new Error(`no answer within ${answerBoundMs} ms`)), answerBoundMs);
    try {
      for (;;) {
        const taken = take();
        if (taken !== null) return taken;
        if (ended !== null) throw ended;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
  }

  let held: Buffer = Buffer.alloc(0);
  const refill = (): boolean => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return false;
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    return true;
  };

  return {
    send: (data) =>
      new Promise((resolve, reject) => {
        if (ended !== null) return reject(ended);
        socket.write(data, (error) => (error ? reject(ended ?? error) : resolve()));
      }),
    line: () =>
      until(() => {
        refill();
        const at = held.indexOf(10);
        if (at < 0) return null;
        const text = held.toString('utf8', 0, at);
        held = held.subarray(at + 1);
        return text;
      }),
    some: (most) =>
      until(() => {
        if (held.length === 0 && !refill()) return null;
        const taken = held.subarray(0, most);
        held = held.subarray(taken.length);
        return taken;
      }),
    close: () => void socket.destroy(),
  };
}
