// Breadth-first over all interleavings: every state is reached by one of the shortest histories that lead to it, and that is what is printed
// when one of them breaks a rule. Two states that differ only in how high revisions have counted are one state.

import { movesFrom, violation } from './moves.js';
import type { State } from './state.js';

export interface Explored {
  readonly states: number;
  readonly edges: number;
  /** All states that so many moves lead to have been seen; with `complete`, all there are. */
  readonly depth: number;
  readonly complete: boolean;
  readonly byDepth: readonly number[];
  readonly violation: string | null;
  /** The moves that lead to it. */
  readonly history: readonly string[];
}

export interface Bounds {
  readonly depth: number;
  readonly faults: number;
  readonly states: number;
  readonly untilMs: number;
}

export function explore(start: State, bounds: Bounds, told: (depth: number, states: number, edges: number) => void): Explored {
  const labels: string[] = [];
  const labelIds = new Map<string, number>();
  const labelOf: number[] = [0];
  const parentOf: number[] = [-1];
  const seen = new Set<string>([fingerprint(start)]);
  let frontier: { readonly id: number; readonly state: State }[] = [{ id: 0, state: start }];
  const byDepth = [1];
  let edges = 0;
  const historyOf = (id: number, last: string): readonly string[] => {
    const moves = [last];
    for (let at = id; at > 0; at = parentOf[at] ?? 0) moves.unshift(labels[labelOf[at] ?? 0] ?? '');
    return moves;
  };
  const result = (
    depth: number,
    complete: boolean,
    broken: { readonly what: string; readonly id: number; readonly label: string } | null,
  ): Explored => ({
    states: seen.size,
    edges,
    depth,
    complete,
    byDepth,
    violation: broken?.what ?? null,
    history: broken === null ? [] : historyOf(broken.id, broken.label),
  });
  for (let depth = 0; depth < bounds.depth; depth += 1) {
    const next: typeof frontier = [];
    for (const { id, state } of frontier) {
      for (const { label, next: after } of movesFrom(state, bounds.faults)) {
        edges += 1;
        const what = 'broken' in after ? after.broken : violation(after);
        if (what !== null) return result(depth + 1, false, { what, id, label });
        if ('broken' in after) continue;
        const print = fingerprint(after);
        if (seen.has(print)) continue;
        seen.add(print);
        let labelId = labelIds.get(label);
        if (labelId === undefined) {
          labelId = labels.push(label) - 1;
          labelIds.set(label, labelId);
        }
        next.push({ id: parentOf.push(id) - 1, state: after });
        labelOf.push(labelId);
      }
      if (seen.size >= bounds.states || Date.now() >= bounds.untilMs) return result(depth, false, null);
    }
    byDepth.push(next.length);
    told(depth + 1, seen.size, edges);
    if (next.length === 0) return result(depth + 1, true, null);
    frontier = next;
  }
  return result(bounds.depth, false, null);
}

/** Revisions and terms by their rank: all that counts is which is newer. */
function fingerprint(state: State): string {
  const coordinators = Object.values(state.coordinators);
  const hosts = Object.values(state.hosts);
  const numbers = [
    state.revision,
    state.recordRevision,
    state.leader.revision,
    ...coordinators.flatMap(({ leads, seen, draft, reports }) => [
      leads,
      seen.revision,
      draft?.recordRevision ?? 0,
      draft?.term ?? 0,
      ...Object.values(reports).map((each) => each?.vms[0]?.term ?? 0),
    ]),
    ...hosts.map(({ journal }) => journal?.term ?? 0),
    ...state.orders.map(({ order }) => order.term),
    ...(state.late?.compares.map((each) => each.revision) ?? []),
  ];
  const sorted = [...new Set([0, ...numbers])].sort((one, next) => one - next);
  const ranks = numbers.map((each) => sorted.indexOf(each));
  const { leader, record, pair, linkCut, told, faults, orders, late } = state;
  const parts = [
    ranks.join(),
    `${leader.name} ${pair} ${linkCut} ${told} ${faults}`,
    textOf(record),
    late === null ? '' : `${late.by} ${textOf(late.record)}`,
    ...coordinators.flatMap(({ seen, reports, heard, draft }) => [
      textOf(seen.record),
      ...Object.values(reports).map(textOf),
      textOf(heard),
      textOf(draft),
    ]),
    ...hosts.map(textOf),
    ...orders.flatMap(({ to, order, delivered }) => [`${to} ${delivered}`, textOf(order)]),
  ];
  return hash(parts.join('|'));
}

/** What is ranked, or the same in all states. */
const LEFT_OUT = new Set(['term', 'recordRevision', 'specRevision', 'spec', 'wanted']);
const texts = new WeakMap<object, string>();

/** States share most of their parts, so that each part is put into words once. */
function textOf(part: object | null): string {
  if (part === null) return '';
  const known = texts.get(part);
  if (known !== undefined) return known;
  const text = JSON.stringify(part, (key, value: unknown) => (LEFT_OUT.has(key) ? undefined : value));
  texts.set(part, text);
  return text;
}

/** Two hashes of 32 bits: at ten million states the chance that any two are mixed up is about one in 400,000. */
function hash(text: string): string {
  let one = 0x811c9dc5;
  let two = 0x9747b28c;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 0x01000193);
    two = Math.imul(two ^ code, 0x5bd1e995);
    two ^= two >>> 15;
  }
  return `${(one >>> 0).toString(36)}.${(two >>> 0).toString(36)}`;
}
