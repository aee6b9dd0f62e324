// The agent's monitor of a simulated QEMU: the Monitor port with its two connections. Ordinary commands wait for the main loop, one after
// another; out-of-band ones pass it. An answer that comes after its deadline is a stray, and the command was carried out all the same.

import type {
  CommandOptions,
  Json,
  JsonObject,
  Monitor,
  MonitorClosed,
  MonitorHandlers,
  QmpError,
  QmpEvent,
} from '../../../agent/core/procedures/port.js';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import { never, type Life } from '../world/life.js';
import { runCommand, yank, type Reply } from './commands.js';
import type { EventSink, Qemu } from './shapes.js';

interface Pending {
  readonly command: string;
  readonly args: JsonObject;
  readonly oob: boolean;
  readonly dueAt: number;
  open: boolean;
  settle(answer: Result<Json, QmpError>): void;
}

/** Of the questions that meet an idle main loop, so many are answered before anything else happens in the world. */
const ANSWERED_AT_ONCE = 0.75;

const CLOSED: QmpError = { kind: 'lost', cause: 'closed', description: 'the monitor has ended' };

export class SimMonitor implements Monitor, EventSink {
  readonly version: Monitor['version'];
  #resolveClosed: (closed: MonitorClosed) => void = () => undefined;
  readonly closed: Promise<MonitorClosed>;
  readonly #qemu: Qemu;
  readonly #life: Life;
  readonly #handlers: MonitorHandlers;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  /** Sent to the main loop and not carried out yet. */
  #queue: Pending[] = [];
  readonly #waiting = new Set<Pending>();
  #pumping = false;
  #sweepAt = Infinity;
  #ended = false;

  constructor(qemu: Qemu, life: Life, handlers: MonitorHandlers) {
    this.#qemu = qemu;
    this.#life = life;
    this.#handlers = handlers;
    this.version = qemu.world.version;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    qemu.sinks.add(this);
    life.onDeath.add(() => this.#end());
  }

  now(): ReturnType<Monitor['now']> {
    return this.#life.clock.now();
  }

  execute(command: string, args: JsonObject, { deadlineMs, oob, signal }: CommandOptions): Promise<Result<Json, QmpError>> {
    if (this.#ended) return Promise.resolve(fail(CLOSED));
    if (signal?.aborted === true)
      return Promise.resolve(fail({ kind: 'refused', errorClass: 'Client', description: 'given up before it was sent' }));
    const asks = isQuestion(command);
    if (!asks && !oob) {
      this.#qemu.world.note(`${this.#life.name} -> ${this.#qemu.name} ${command}${brief(args)}`);
      this.#qemu.world.told(this.#qemu, command);
    }
    if (asks && command !== 'qom-set' && this.#isIdle() && this.#qemu.world.rng.chance(ANSWERED_AT_ONCE)) {
      const reply = runCommand(this.#qemu, command, args);
      if (reply !== 'held') return Promise.resolve(answerOf(reply));
    }
    const send = (): Promise<Result<Json, QmpError>> =>
      new Promise((resolve) => {
        const onAbort = (): void => pending.settle(fail({ kind: 'lost', cause: 'aborted', description: `${command}: given up` }));
        const pending: Pending = {
          command,
          args,
          oob,
          dueAt: this.#life.clock.now() + deadlineMs,
          open: true,
          settle: (answer) => {
            if (!pending.open) return;
            pending.open = false;
            this.#waiting.delete(pending);
            signal?.removeEventListener('abort', onAbort);
            resolve(answer);
          },
        };
        this.#waiting.add(pending);
        signal?.addEventListener('abort', onAbort, { once: true });
        this.#sweepBy(pending.dueAt);
        if (oob) this.#outOfBand(pending);
        else {
          this.#queue.push(pending);
          this.#pump();
        }
      });
    return asks ? send() : this.#life.act(`qmp ${command} ${JSON.stringify(args)}`, send, never());
  }

  subscribe(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = (): void => {
        cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.#life.clock.after(ms, done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  close(): void {
    if (this.#ended) return;
    this.#end();
    this.#resolveClosed({ at: this.#life.clock.now(), error: CLOSED });
  }

  event(name: string, data: JsonObject): void {
    this.#life.deliver(() => {
      if (this.#ended) return;
      const event: QmpEvent = { name, data, at: this.#life.clock.now() };
      this.#handlers.onEvent(event);
      for (const listener of [...this.#listeners]) listener(event);
    });
  }

  /** QEMU has ended, and its kernel closes the sockets. */
  ended(): void {
    this.#life.deliver(() => {
      if (this.#ended) return;
      this.#end();
      const closed: MonitorClosed = { at: this.#life.clock.now(), error: CLOSED };
      for (const pending of [...this.#waiting]) pending.settle(fail(CLOSED));
      this.#resolveClosed(closed);
      this.#handlers.onClosed(closed);
    });
  }

  #end(): void {
    this.#ended = true;
    this.#qemu.sinks.delete(this);
    for (const pending of [...this.#waiting]) pending.settle(fail(CLOSED));
  }

  #isIdle(): boolean {
    const qemu = this.#qemu;
    return qemu.alive && !qemu.stopped && qemu.hang === null && this.#queue.length === 0;
  }

  #outOfBand(pending: Pending): void {
    const { rng } = this.#qemu.world;
    this.#qemu.after(rng.between(0.2, 1.5), () => this.#answer([pending, yank(this.#qemu, pending.args)]));
  }

  /** Carries out in one go what lies there, up to whatever holds the main loop. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    const qemu = this.#qemu;
    qemu.after(qemu.world.rng.between(0.3, 1.5), () => {
      this.#pumping = false;
      const replies: (readonly [Pending, Reply])[] = [];
      for (;;) {
        const next = this.#queue[0];
        if (next === undefined) break;
        const reply = qemu.hang !== null ? 'held' : runCommand(qemu, next.command, next.args);
        if (reply === 'held') {
          qemu.onHangEnd(() => this.#pump());
          break;
        }
        this.#queue.shift();
        replies.push([next, reply]);
        // What changes QEMU takes its time; a round of questions is answered at once.
        if (!next.command.startsWith('q') && !next.command.startsWith('x-debug')) {
          if (this.#queue.length > 0) this.#pump();
          break;
        }
      }
      if (replies.length > 0) this.#answer(...replies);
    });
  }

  #answer(...replies: (readonly [Pending, Reply])[]): void {
    this.#qemu.world.kernel.after(0.1, () =>
      this.#life.deliver(() => {
        for (const [pending, reply] of replies) {
          if (reply === 'held') continue;
          const answer = answerOf(reply);
          if (pending.open) pending.settle(answer);
          else if (!this.#ended)
            this.#handlers.onStray({ kind: 'late-answer', command: pending.command, afterMs: 0, answer, at: this.now() });
        }
      }),
    );
  }

  #sweepBy(dueAt: number): void {
    if (dueAt >= this.#sweepAt) return;
    this.#sweepAt = dueAt;
    this.#life.clock.after(dueAt - this.#life.clock.now(), () => {
      if (this.#sweepAt !== dueAt) return;
      this.#sweepAt = Infinity;
      const now = this.#life.clock.now();
      for (const each of [...this.#waiting]) {
        if (each.dueAt <= now + 0.001)
          each.settle(fail({ kind: 'lost', cause: 'deadline', description: `${each.command}: no answer in time` }));
        else this.#sweepBy(each.dueAt);
      }
    });
  }
}

/** Judged once for each command: rounds of questions are most of what is sent. */
function isQuestion(command: string): boolean {
  const known = QUESTIONS.get(command);
  if (known !== undefined) return known;
  const asks = command.startsWith('query-') || command.startsWith('qom-') || command.startsWith('x-debug');
  QUESTIONS.set(command, asks);
  return asks;
}

const QUESTIONS = new Map<string, boolean>();

function answerOf(reply: Exclude<Reply, 'held'>): Result<Json, QmpError> {
  return reply.ok ? ok(reply.value) : fail({ kind: 'refused', ...reply.error });
}

function brief(args: JsonObject): string {
  const text = JSON.stringify(args);
  return text === '{}' ? '' : ` ${text.length > 120 ? `${text.slice(0, 120)}...` : text}`;
}
