// What a guest knows and what its disk holds, as chains of answers: the guest counts requests, writes each answer to its disk and then
// says it. Two states are of one history when one's chain contains the other's; a state that lacks an answer that a client was given, or
// gives another one, has lost data.

export interface Answer {
  /** Number of the request, from 1. */
  readonly k: number;
  /** What was answered: mostly the same on both sides, but a guest also reads clocks and dice. */
  readonly v: number;
  readonly before: Answer | null;
}

/** All that a disk, or a chain of images, holds. `torn`: it is a mixture of two moments, and says which. */
export interface Content {
  readonly last: Answer | null;
  readonly torn: string | null;
}

export const EMPTY: Content = { last: null, torn: null };

export function answerTo(last: Answer | null, k: number): Answer | null {
  let here = last;
  while (here !== null && here.k > k) here = here.before;
  return here?.k === k ? here : null;
}

/** A write that reaches a disk; on one that missed an earlier write it leaves a hole, and that is found later. */
export function written(content: Content, answer: Answer): Content {
  const { k, v } = answer;
  return { last: { k, v, before: content.last }, torn: content.torn };
}

/** The first answer of `given` that is missing or different in `held`; null = all are there. */
export function missingFrom(held: Answer | null, given: readonly { readonly k: number; readonly v: number }[]): string | null {
  for (let at = given.length - 1; at >= 0; at -= 1) {
    const told = given[at];
    if (told === undefined) continue;
    const here = answerTo(held, told.k);
    if (here === null) return `answer ${told.k} is missing (the last is ${held?.k ?? 0})`;
    if (here.v !== told.v) return `answer ${told.k} was ${told.v} and is ${here.v}`;
    // Chains share their beginnings: from here on both are the same.
    held = here;
  }
  return null;
}
