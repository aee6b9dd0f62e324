// Logs as JSON, one event a line, on standard output, where journald picks them up. Writes are synchronous, so that the last line before
// a crash is not lost.

import { pino } from 'pino';
import type { Log } from '../ports.js';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Put into every line, for example `{program: 'colo-agent', host: 'a'}`. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A line is `{"level":"info","time":"2026-01-31T12:00:00.000Z", ...fields, "event":"verdict"}`. A field `error` shows an Error's type, message and stack. */
export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level,
      base: { ...options.fields },
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: (error: unknown) => (error instanceof Error ? pino.stdSerializers.err(error) : error) },
    },
    pino.destination({ dest: 1, sync: true }),
  );
  return {
    debug: (fields, event) => logger.debug(fields, event),
    info: (fields, event) => logger.info(fields, event),
    warn: (fields, event) => logger.warn(fields, event),
    error: (fields, event) => logger.error(fields, event),
  };
}
