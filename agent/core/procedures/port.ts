// What the procedures, the facts and the agent's loop need from a running QEMU: commands with a deadline, events with the
// instant of their arrival, and the end of the connection. The real monitor and the simulated one both implement this,
// so everything above it runs unchanged in either.

import type { Instant } from '../../../shared/core/ids.js';
import type { Result } from '../../../shared/core/result.js';

/** A JSON value as QMP carries it. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/**
 * Why a command has no answer of its own.
 * - `refused`: QEMU answered with an error (or HMP with text); the command did nothing. `errorClass` is QMP's, or `HMP`, or `Client` when it was never sent.
 * - `lost`: the outcome is unknown, because the connection ended, the deadline passed, or the caller gave up. Observe, never guess.
 * - `not-ours`: what answers on this socket is not QMP, or answers ids that nobody gave.
 * - `protocol`: QMP it was, but broken (no JSON, a line past the bound). The connection is closed.
 */
export type QmpError =
  | { readonly kind: 'refused'; readonly errorClass: string; readonly description: string }
  | { readonly kind: 'lost'; readonly cause: 'closed' | 'deadline' | 'aborted'; readonly description: string }
  | { readonly kind: 'not-ours'; readonly description: string }
  | { readonly kind: 'protocol'; readonly description: string };

/** `at` is the monotonic instant at which the line was read, not QEMU's own wall clock. */
export interface QmpEvent {
  readonly name: string;
  readonly data: JsonObject;
  readonly at: Instant;
}

export interface CommandOptions {
  /** Milliseconds after which the answer is no longer waited for (`lost`, cause `deadline`); the connection stays. */
  readonly deadlineMs: number;
  /** Sent as `exec-oob` on the out-of-band connection, so that it passes a main loop that hangs. Only commands that QEMU allows out of band (`yank`, ...). */
  readonly oob: boolean;
  readonly signal?: AbortSignal;
}

/** One QEMU's monitor. Nothing here ever throws or rejects. */
export interface QemuPort {
  /** Resolves with the command's `return` value. */
  execute(command: string, args: JsonObject, options: CommandOptions): Promise<Result<Json, QmpError>>;
  /** Every event from now on; the answer ends the subscription. Listeners are called in the order of arrival and must not throw. */
  subscribe(listener: (event: QmpEvent) => void): () => void;
  /** Resolves when the monitor has ended (the agent's quickest sign of QEMU's death); never rejects. */
  readonly closed: Promise<MonitorClosed>;
}

/** What a procedure needs beside QEMU: time that a simulator can own. */
export interface ProcedurePort extends QemuPort {
  now(): Instant;
  /** Resolves after so many milliseconds, or early when the signal is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Told once, at once, when the monitor is of no more use: QEMU died, or closed it, or spoke nonsense. */
export interface MonitorClosed {
  readonly at: Instant;
  readonly error: QmpError;
}

/**
 * A connected monitor (agent/io/qemu-monitor.ts, or the simulator's). Two connections stand behind it: one with OOB, held open
 * from the start, because a new one gets no greeting once the main loop hangs; and one for everything else.
 */
export interface Monitor extends ProcedurePort {
  /** QEMU's greeting: version as `major.minor.micro`. */
  readonly version: QemuVersion;
  /** Lets go of both connections; QEMU runs on. */
  close(): void;
}

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

/** Called in the order of arrival; must not throw. */
export interface MonitorHandlers {
  readonly onEvent: (event: QmpEvent) => void;
  readonly onClosed: (closed: MonitorClosed) => void;
  readonly onStray: (stray: Stray) => void;
}

/**
 * Answers that nobody waits for; both are dropped.
 * - `late-answer`: it came after its deadline: the command did run, or did fail, in the end.
 * - `unknown-id`: an answer to somebody else's command, as when this agent's predecessor died with one under way.
 */
export type Stray =
  | {
      readonly kind: 'late-answer';
      readonly command: string;
      /** Milliseconds since the command was sent. */
      readonly afterMs: number;
      readonly answer: Result<Json, QmpError>;
      readonly at: Instant;
    }
  | { readonly kind: 'unknown-id'; readonly line: string; readonly at: Instant };
