// A port over a QEMU that answers from a table, in virtual time: a command takes no time, sleeping moves the clock. For tests of the
// runner; the simulator has a QEMU with a mind of its own.

import { instant, type Instant } from '../../shared/core/ids.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type {
  CommandOptions,
  Json,
  JsonObject,
  MonitorClosed,
  ProcedurePort,
  QmpError,
  QmpEvent,
} from '../../agent/core/procedures/port.js';

export type Reply = Result<Json, QmpError> | ((port: FakeQemuPort, args: JsonObject) => Result<Json, QmpError>);

export const refused = (description: string): Result<Json, QmpError> => fail({ kind: 'refused', errorClass: 'GenericError', description });
export const lost = (cause: 'closed' | 'deadline'): Result<Json, QmpError> => fail({ kind: 'lost', cause, description: cause });

export class FakeQemuPort implements ProcedurePort {
  readonly sent: { readonly command: string; readonly args: JsonObject; readonly oob: boolean; readonly at: number }[] = [];
  readonly closed: Promise<MonitorClosed>;
  /** What happens at an instant: an event, or the end of the monitor. */
  readonly later: { readonly at: number; readonly happen: () => void }[] = [];
  #now = 0;
  #listeners = new Set<(event: QmpEvent) => void>();
  #close: (closed: MonitorClosed) => void = () => undefined;
  readonly #replies: Readonly<Record<string, Reply | readonly Reply[]>>;
  readonly #asked = new Map<string, number>();

  /** By command; a list gives one reply after the other, the last for ever. A command without reply answers `{}`. */
  constructor(replies: Readonly<Record<string, Reply | readonly Reply[]>> = {}) {
    this.#replies = replies;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  now(): Instant {
    return instant(this.#now);
  }

  emit(name: string, data: JsonObject = {}): void {
    for (const listener of [...this.#listeners]) listener({ name, data, at: this.now() });
  }

  end(): void {
    this.#close({ at: this.now(), error: { kind: 'lost', cause: 'closed', description: 'gone' } });
  }

  execute(command: string, args: JsonObject, options: CommandOptions): Promise<Result<Json, QmpError>> {
    this.sent.push({ command, args, oob: options.oob, at: this.#now });
    if (options.signal?.aborted === true) return Promise.resolve(fail({ kind: 'lost', cause: 'aborted', description: 'aborted' }));
    const listed = this.#replies[command];
    const count = this.#asked.get(command) ?? 0;
    this.#asked.set(command, count + 1);
    const reply: Reply | undefined = isList(listed) ? listed[Math.min(count, listed.length - 1)] : listed;
    if (reply === undefined) return Promise.resolve(ok({}));
    const answer = typeof reply === 'function' ? reply(this, args) : reply;
    if (!answer.ok && answer.error.kind === 'lost' && answer.error.cause === 'deadline') this.#now += options.deadlineMs;
    return Promise.resolve(answer);
  }

  subscribe(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Moves the clock to whatever comes first: the end of the sleep or the next thing in `later`. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const until = this.#now + ms;
    await Promise.resolve();
    while (!signal.aborted && this.#now < until) {
      const next = this.later.filter((each) => each.at > this.#now).sort((one, other) => one.at - other.at)[0];
      this.#now = next === undefined || next.at > until ? until : next.at;
      if (next !== undefined && next.at === this.#now) next.happen();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function isList(reply: Reply | readonly Reply[] | undefined): reply is readonly Reply[] {
  return Array.isArray(reply);
}
