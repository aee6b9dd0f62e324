// What the daemons' logs say of doubts, counted, and what they say of decisions, of which there may be none. Pure.

import type { LogEvent } from '../faults/logs.js';

/** Doubts and takeovers that are right to have in bad times, by the name that they have in the log. */
const DOUBTS: ReadonlySet<string> = new Set([
  'agent-unheard',
  'checkpoint-forced-to-see',
  'late-tick',
  'leader-suspected',
  'leadership-won',
  'lease-gone',
  'lease-lost',
  'main-loop-silent',
  'mirror-lost',
  'qemu-hung',
  'save-failed',
  'taps-silenced',
]);

/** How often each doubt was said, a pair's judgement by what it was; most often first. */
export function suspicionsIn(events: readonly LogEvent[]): readonly (readonly [string, number])[] {
  const counts = new Map<string, number>();
  const note = (name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const { event, fields } of events) {
    if (DOUBTS.has(event)) note(event);
    if (event === 'pair-judged' && fields['pair'] !== 'ok') note(`pair-judged ${String(fields['pair'])}`);
  }
  return [...counts].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
}

/** Edges of a VM, orders beyond a forced checkpoint, sides that were let go: none of them in calm times. */
export function decisionsIn(events: readonly LogEvent[]): readonly string[] {
  return events.flatMap(({ host, event, fields }) => {
    if (event === 'edge') return [`${String(fields['row'])}: ${String(fields['from'])} -> ${String(fields['to'])} by ${host}`];
    if (event === 'released' || event === 'destroying-predecessor' || event === 'qemu-launched' || event === 'qemu-dead')
      return [`${event} on ${host}`];
    if (event === 'order-begun' && fields['goal'] !== 'checkpoint') return [`order ${String(fields['goal'])} on ${host}`];
    return [];
  });
}
