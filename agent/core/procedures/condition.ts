// Questions about a JSON value, as data: a step says what it waits for without holding code, so that a plan can be printed,
// compared with QEMU's manual, and run by a simulator.

import { unreachable } from '../../../shared/core/assert.js';
import type { Json } from './port.js';

export type Path = readonly (string | number)[];

export type Condition =
  | { readonly kind: 'always' }
  | { readonly kind: 'equals'; readonly path: Path; readonly value: Json }
  | { readonly kind: 'one-of'; readonly path: Path; readonly values: readonly Json[] }
  | { readonly kind: 'starts-with'; readonly path: Path; readonly text: string }
  /** The value at the path is a list with an item that fulfils `where`. */
  | { readonly kind: 'has-item'; readonly path: Path; readonly where: Condition }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'all'; readonly of: readonly Condition[] };

export function holds(condition: Condition, value: Json): boolean {
  switch (condition.kind) {
    case 'always':
      return true;
    case 'equals':
      return at(value, condition.path) === condition.value;
    case 'one-of':
      return condition.values.some((wanted) => at(value, condition.path) === wanted);
    case 'starts-with': {
      const found = at(value, condition.path);
      return typeof found === 'string' && found.startsWith(condition.text);
    }
    case 'has-item': {
      const found = at(value, condition.path);
      return Array.isArray(found) && found.some((item: Json) => holds(condition.where, item));
    }
    case 'not':
      return !holds(condition.of, value);
    case 'all':
      return condition.of.every((part) => holds(part, value));
    default:
      return unreachable(condition);
  }
}

/** The value at a path; undefined where the path leads nowhere. */
export function at(value: Json, path: Path): Json | undefined {
  let here: Json | undefined = value;
  for (const key of path) {
    if (here === null || typeof here !== 'object') return undefined;
    here = (here as Readonly<Record<string, Json | undefined>>)[key];
  }
  return here;
}
