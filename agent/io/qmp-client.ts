// One QMP connection over a unix socket. It negotiates out-of-band commands, gives every command an id of its own and a deadline,
// hands on events with the instant of their arrival, and says at once when the connection has ended. It decides nothing, and nothing
// that comes over the socket makes it throw.

import { connect, type Socket } from 'node:net';
import type { Instant } from '../../shared/core/ids.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock } from '../../shared/ports.js';
import { versionFrom } from '../core/capabilities.js';
import type { CommandOptions, Json, JsonObject, MonitorClosed, MonitorHandlers, QemuVersion, QmpError } from '../core/procedures/port.js';
import { commandLine, LineSplitter, MAX_LINE_BYTES, parseMessage } from './qmp-wire.js';

/** More commands under way than this means that QEMU has stopped answering; further ones are refused unsent. */
const MAX_PENDING = 64;
/** How many commands whose deadline passed are remembered, to name their late answers. */
const MAX_ABANDONED = 256;

export interface QmpConnectionOptions {
  readonly clock: Clock;
  readonly handlers: MonitorHandlers;
  /** Prefix of this connection's ids. Must be new for every connection: an answer to a dead predecessor's command may still come. */
  readonly idPrefix: string;
  /** For connecting and negotiating together. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly maxLineBytes?: number;
}

interface Pending {
  readonly command: string;
  readonly sentAt: Instant;
  readonly settle: (answer: Result<Json, QmpError>) => void;
}

/** A connection that has been greeted and negotiated. */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #options: QmpConnectionOptions;
  readonly #splitter: LineSplitter;
  readonly #pending = new Map<string, Pending>();
  readonly #abandoned = new Map<string, Pending>();
  readonly #greeted: Promise<void>;
  #greet: () => void = () => undefined;
  #version: QemuVersion | null = null;
  #nextId = 1;
  /** Before this, an end is told by `open`; afterwards by the handler. */
  #established = false;
  #ended: MonitorClosed | null = null;

  private constructor(socket: Socket, options: QmpConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#splitter = new LineSplitter(options.maxLineBytes ?? MAX_LINE_BYTES);
    this.#greeted = new Promise((resolve) => {
      this.#greet = resolve;
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#end({ kind: 'lost', cause: 'closed', description: error.message }));
    socket.on('close', () => this.#end({ kind: 'lost', cause: 'closed', description: 'QEMU closed the monitor' }));
  }

  /**
   * Connects, waits for the greeting and enables `oob`. Errors: `refused` with class `Client` when nobody listens there, `lost` when
   * the deadline passed or the caller gave up, `not-ours` when what answered is not QMP or offers no out-of-band commands.
   */
  static async open(path: string, options: QmpConnectionOptions): Promise<Result<QmpConnection, QmpError>> {
    const opened = await openSocket(path, options);
    if (!opened.ok) return opened;
    const connection = new QmpConnection(opened.value, options);
    const negotiated = await connection.#negotiate();
    if (negotiated.ok) return ok(connection);
    connection.close();
    return negotiated;
  }

  /** From the greeting. */
  get version(): QemuVersion {
    return this.#version ?? { major: 0, minor: 0, micro: 0 };
  }

  execute(command: string, args: JsonObject, options: CommandOptions): Promise<Result<Json, QmpError>> {
    if (this.#ended !== null) return Promise.resolve(fail(this.#ended.error));
    if (options.signal?.aborted === true) return Promise.resolve(fail(clientRefusal('given up before it was sent')));
    if (this.#pending.size >= MAX_PENDING) return Promise.resolve(fail(clientRefusal(`${MAX_PENDING} commands are without answer`)));
    const id = `${this.#options.idPrefix}-${this.#nextId}`;
    this.#nextId += 1;
    return new Promise((resolve) => {
      const giveUp = (cause: 'deadline' | 'aborted', description: string): void => {
        this.#abandon(id);
        settle(fail({ kind: 'lost', cause, description: `${command}: ${description}` }));
      };
      const onAbort = (): void => giveUp('aborted', 'given up');
      const cancelTimer = this.#options.clock.after(options.deadlineMs, () =>
        giveUp('deadline', `no answer within ${options.deadlineMs} ms`),
      );
      const settle = (answer: Result<Json, QmpError>): void => {
        cancelTimer();
        options.signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
        resolve(answer);
      };
      this.#pending.set(id, { command, sentAt: this.#options.clock.now(), settle });
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#socket.write(commandLine(command, args, id, options.oob));
    });
  }

  /** Ends the connection; QEMU runs on. Commands under way are `lost`. */
  close(): void {
    this.#end({ kind: 'lost', cause: 'closed', description: 'closed by the agent' });
  }

  async #negotiate(): Promise<Result<null, QmpError>> {
    const { deadlineMs, signal } = this.#options;
    const cause = await this.#greetedOr(deadlineMs, signal);
    if (this.#ended !== null) return fail(this.#ended.error);
    if (cause !== 'greeted') return fail({ kind: 'lost', cause, description: 'no greeting' });
    const answer = await this.execute('qmp_capabilities', { enable: ['oob'] }, { deadlineMs, oob: false, signal });
    if (!answer.ok && answer.error.kind === 'refused') {
      return fail({ kind: 'not-ours', description: `no out-of-band monitor: ${answer.error.description}` });
    }
    if (!answer.ok) return answer;
    // What came right behind the answer may have ended the connection already, and nobody else would tell of it.
    const end = this.#endedBy();
    if (end !== null) return fail(end);
    this.#established = true;
    return ok(null);
  }

  #endedBy(): QmpError | null {
    return this.#ended?.error ?? null;
  }

  #greetedOr(deadlineMs: number, signal: AbortSignal): Promise<'greeted' | 'deadline' | 'aborted'> {
    return new Promise((resolve) => {
      const onAbort = (): void => done('aborted');
      const cancel = this.#options.clock.after(deadlineMs, () => done('deadline'));
      const done = (cause: 'greeted' | 'deadline' | 'aborted'): void => {
        cancel();
        signal.removeEventListener('abort', onAbort);
        resolve(cause);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      void this.#greeted.then(() => done('greeted'));
    });
  }

  #read(chunk: Buffer): void {
    if (this.#ended !== null) return;
    const { lines, overflow } = this.#splitter.push(chunk);
    for (const line of lines) {
      if (this.#ended !== null) return;
      if (line !== '') this.#message(line);
    }
    if (overflow) this.#end({ kind: 'protocol', description: 'a line is longer than the bound' });
  }

  #message(line: string): void {
    const message = parseMessage(line);
    const at = this.#options.clock.now();
    if (this.#version === null) {
      const version = message.kind === 'greeting' ? versionFrom(message.version) : null;
      if (version === null) return this.#end({ kind: 'not-ours', description: `no QMP greeting but ${line.slice(0, 80)}` });
      this.#version = version;
      return this.#greet();
    }
    switch (message.kind) {
      case 'event':
        return this.#options.handlers.onEvent({ name: message.name, data: message.data, at });
      case 'return':
        return this.#answered(message.id, ok(message.value), line, at);
      case 'error':
        return this.#answered(
          message.id,
          fail({ kind: 'refused', errorClass: message.errorClass, description: message.description }),
          line,
          at,
        );
      case 'greeting':
        return this.#end({ kind: 'protocol', description: 'a second greeting' });
      case 'garbage':
        return this.#end({ kind: 'protocol', description: `no QMP message: ${line.slice(0, 80)}` });
    }
  }

  #answered(id: Json, answer: Result<Json, QmpError>, line: string, at: Instant): void {
    const key = typeof id === 'string' ? id : '';
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending.settle(answer);
    const late = this.#abandoned.get(key);
    this.#abandoned.delete(key);
    if (late === undefined) return this.#options.handlers.onStray({ kind: 'unknown-id', line: line.slice(0, 200), at });
    this.#options.handlers.onStray({ kind: 'late-answer', command: late.command, afterMs: at - late.sentAt, answer, at });
  }

  #abandon(id: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#abandoned.set(id, pending);
    const oldest = this.#abandoned.keys().next();
    if (this.#abandoned.size > MAX_ABANDONED && oldest.done !== true) this.#abandoned.delete(oldest.value);
  }

  #end(error: QmpError): void {
    if (this.#ended !== null) return;
    this.#ended = { at: this.#options.clock.now(), error };
    this.#socket.destroy();
    for (const pending of [...this.#pending.values()]) pending.settle(fail(error));
    this.#greet();
    if (this.#established) this.#options.handlers.onClosed(this.#ended);
  }
}

function clientRefusal(description: string): QmpError {
  return { kind: 'refused', errorClass: 'Client', description };
}

function openSocket(path: string, options: QmpConnectionOptions): Promise<Result<Socket, QmpError>> {
  if (options.signal.aborted) return Promise.resolve(fail(clientRefusal('given up before connecting')));
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (answer: Result<Socket, QmpError>): void => {
      cancelTimer();
      options.signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      if (!answer.ok) {
        socket.on('error', () => undefined);
        socket.destroy();
      }
      resolve(answer);
    };
    const onAbort = (): void => done(fail({ kind: 'lost', cause: 'aborted', description: `${path}: given up` }));
    const cancelTimer = options.clock.after(options.deadlineMs, () =>
      done(fail({ kind: 'lost', cause: 'deadline', description: `${path}: not connected within ${options.deadlineMs} ms` })),
    );
    options.signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', (error) => done(fail(clientRefusal(error.message))));
    socket.once('connect', () => done(ok(socket)));
  });
}
