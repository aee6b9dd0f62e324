// What a mutation is: one safety rule taken out of the product's own source, in a copy of it that only this proof runs. The text that is
// replaced must stand exactly once in its file, so that whoever rewrites the rule hears of it here.

export interface SourceChange {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  readonly name: string;
  /** The rule that is removed, and where it is written down. */
  readonly rule: string;
  /** More than one where two places keep the same rule, each by itself enough: then the rule is gone only when both are. */
  readonly changes: readonly SourceChange[];
  /** Name of the story that shows it (stories.ts), and the seed with which it was last seen to do so. */
  readonly story: string;
  readonly seed: number;
  /** A part of the violation's text, so that it is found for its own reason and not because the copy is merely broken. */
  readonly violation: string;
}

/** A rule that the simulated world cannot be asked about, why, and what shows it instead. */
export interface Unsimulated {
  readonly rule: string;
  readonly why: string;
  readonly shownBy: string;
}
