// The monitor of one QEMU: two QMP connections made one port. The first carries out-of-band commands and events and nothing else, and
// is held open from the start; the second carries everything that may have to wait for QEMU's main loop. The end of either is the end
// of the monitor: QEMU's death closes both, and its kernel says so within a millisecond.

import { randomUUID } from 'node:crypto';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock } from '../../shared/ports.js';
import type { Monitor, MonitorClosed, MonitorHandlers, QmpError, QmpEvent } from '../core/procedures/port.js';
import { QmpConnection } from './qmp-client.js';

export interface MonitorOptions {
  readonly clock: Clock;
  /** For connecting and negotiating, each of the two connections. */
  readonly deadlineMs: number;
  /** Gives up the attempt, not the monitor that came of it. */
  readonly signal?: AbortSignal;
}

/**
 * One attempt. `socketPaths`: one or two; with one it carries both duties, and out-of-band commands pass those that hang there too.
 * Errors as in QmpConnection.open. `onEvent` may be called before this resolves, `onClosed` only afterwards.
 */
export async function connectMonitor(
  socketPaths: readonly string[],
  handlers: MonitorHandlers,
  { clock, deadlineMs, signal = new AbortController().signal }: MonitorOptions,
): Promise<Result<Monitor, QmpError>> {
  const [oobPath, mainPath] = socketPaths;
  if (oobPath === undefined) return fail({ kind: 'refused', errorClass: 'Client', description: 'no socket was named' });
  const shared = new SharedEnds(handlers);
  const options = { clock, deadlineMs, signal };
  const idPrefix = randomUUID();
  const oob = await QmpConnection.open(oobPath, { ...options, idPrefix: `oob-${idPrefix}`, handlers: shared.withEvents });
  if (!oob.ok) return oob;
  const main =
    mainPath === undefined
      ? oob
      : await QmpConnection.open(mainPath, { ...options, idPrefix: `main-${idPrefix}`, handlers: shared.withoutEvents });
  if (!main.ok) {
    oob.value.close();
    return main;
  }
  shared.closeBoth = () => {
    oob.value.close();
    main.value.close();
  };
  const endedMeanwhile = shared.arm();
  if (endedMeanwhile !== null) return fail(endedMeanwhile.error);
  return ok(new TwoConnections(oob.value, main.value, shared, clock));
}

/** Makes two connections' events and ends one stream: events come over both, and are taken from the out-of-band one. */
class SharedEnds {
  readonly #handlers: MonitorHandlers;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly closed: Promise<MonitorClosed>;
  #resolveClosed: (closed: MonitorClosed) => void = () => undefined;
  #armed = false;
  #ended: MonitorClosed | null = null;
  closeBoth: () => void = () => undefined;

  constructor(handlers: MonitorHandlers) {
    this.#handlers = handlers;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  readonly withEvents: MonitorHandlers = {
    onEvent: (event) => {
      this.#handlers.onEvent(event);
      for (const listener of [...this.#listeners]) listener(event);
    },
    onClosed: (closed) => this.#end(closed),
    onStray: (stray) => this.#handlers.onStray(stray),
  };

  readonly withoutEvents: MonitorHandlers = { ...this.withEvents, onEvent: () => undefined };

  subscribe(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** From here on an end is told. The answer is one that came before, while the second connection was still being made. */
  arm(): MonitorClosed | null {
    this.#armed = true;
    if (this.#ended !== null) this.closeBoth();
    return this.#ended;
  }

  #end(closed: MonitorClosed): void {
    if (this.#ended !== null) return;
    this.#ended = closed;
    this.#resolveClosed(closed);
    if (!this.#armed) return;
    this.#handlers.onClosed(closed);
    this.closeBoth();
  }
}

class TwoConnections implements Monitor {
  readonly version: Monitor['version'];
  readonly closed: Promise<MonitorClosed>;
  readonly now: Monitor['now'];
  readonly #oob: QmpConnection;
  readonly #main: QmpConnection;
  readonly #ends: SharedEnds;
  readonly #clock: Clock;

  constructor(oob: QmpConnection, main: QmpConnection, ends: SharedEnds, clock: Clock) {
    this.version = oob.version;
    this.closed = ends.closed;
    this.now = () => clock.now();
    this.#oob = oob;
    this.#main = main;
    this.#ends = ends;
    this.#clock = clock;
  }

  execute: Monitor['execute'] = (command, args, options) => (options.oob ? this.#oob : this.#main).execute(command, args, options);

  subscribe: Monitor['subscribe'] = (listener) => this.#ends.subscribe(listener);

  sleep: Monitor['sleep'] = (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = (): void => {
        cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.#clock.after(ms, done);
      signal.addEventListener('abort', done, { once: true });
    });

  close(): void {
    this.#oob.close();
  }
}
