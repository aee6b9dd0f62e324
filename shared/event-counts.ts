// Counts what is logged: every event has one stable name, so the log is where everything that happens can be counted without a word more in the
// code. Of some events one field says what kind it was, and they are counted by it.

import { counter, type Metric } from './core/metrics.js';
import type { Log } from './ports.js';

/** Names and kinds are a closed list; should one not be, no memory is lost by it. */
const MOST = 500;
const KIND_FIELDS: Readonly<Record<string, string>> = { edge: 'to', 'pair-judged': 'pair' };

export interface CountedLog {
  readonly log: Log;
  /** Since the start of this program. */
  metric(): Metric;
}

/** Also events that the log's level leaves out are counted, but for those that only a developer wants. */
export function countEvents(log: Log): CountedLog {
  const counts = new Map<string, { readonly event: string; readonly kind: string; count: number }>();
  function note(fields: Readonly<Record<string, unknown>>, event: string): void {
    const field = KIND_FIELDS[event];
    const kind = field === undefined ? '' : String(fields[field]);
    const key = `${event} ${kind}`;
    const known = counts.get(key);
    if (known !== undefined) known.count += 1;
    else if (counts.size < MOST) counts.set(key, { event, kind, count: 1 });
  }
  const counted =
    (level: 'info' | 'warn' | 'error'): Log['info'] =>
    (fields, event) => {
      note(fields, event);
      log[level](fields, event);
    };
  return {
    log: { debug: (fields, event) => log.debug(fields, event), info: counted('info'), warn: counted('warn'), error: counted('error') },
    metric: () =>
      counter(
        'colo_events_total',
        'Events of the log since the start of this daemon; the handbook says what each means. `kind`: where an edge leads, what a pair was judged.',
        [...counts.values()].map(({ event, kind, count }) => ({ labels: kind === '' ? { event } : { event, kind }, value: count })),
      ),
  };
}
