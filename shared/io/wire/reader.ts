// Reads messages from the wire with suspicion: an unknown word, a missing part or a number out of range is noted with the field's name, and
// the message as a whole is refused. Where a newer program's word has a meaning that is safe whatever it says, that meaning is read instead,
// and the word is told of as strange. Nothing here throws on what another program sent.

import { fail, ok, type Result } from '../../core/result.js';

/** Each entry is `field: what is wrong`. */
export type WireProblems = readonly string[];

/** All words of a union; the type makes sure that none is forgotten. */
export type Words<W extends string> = Readonly<Record<W, true>>;

export class Reader {
  readonly #problems: string[];
  readonly #strange: string[];
  readonly #path: string;

  constructor(path = '', problems: string[] = [], strange: string[] = []) {
    this.#path = path;
    this.#problems = problems;
    this.#strange = strange;
  }

  /** A reader of a part, that notes into the same list. */
  at(part: string): Reader {
    return new Reader(this.#path === '' ? part : `${this.#path}.${part}`, this.#problems, this.#strange);
  }

  problem(field: string, what: string): void {
    this.#problems.push(`${this.#pathOf(field)}: ${what}`);
  }

  #pathOf(field: string): string {
    return [this.#path, field].filter((each) => each !== '').join('.');
  }

  /** One of the words; a wrong one is noted, and some valid word given so that reading can go on. */
  word<W extends string>(field: string, value: string, words: Words<W>): W {
    if (Object.hasOwn(words, value)) return value as W;
    const known = Object.keys(words) as W[];
    this.problem(field, value === '' ? 'is missing' : `${unknownWord(value)}, must be one of ${known.join(', ')}`);
    return known[0] as W;
  }

  /** The same where a word that this version does not know may be read as `otherwise`; a missing one is still a problem. */
  wordOr<W extends string, O extends string>(field: string, value: string, words: Words<W>, otherwise: O): W | O {
    if (value === '' || Object.hasOwn(words, value)) return this.word(field, value, words);
    this.#strange.push(`${this.#pathOf(field)}: ${unknownWord(value)}, read as ${otherwise}`);
    return otherwise;
  }

  filled(field: string, value: string): string {
    if (value === '') this.problem(field, 'is missing');
    return value;
  }

  /** The part's reading, or undefined after noting that it is missing. */
  part<M, T>(field: string, message: M | undefined, read: (part: M, reader: Reader) => T): T | undefined {
    if (message !== undefined) return read(message, this.at(field));
    this.problem(field, 'is missing');
    return undefined;
  }

  list<M, T>(field: string, messages: readonly M[], read: (part: M, reader: Reader) => T): T[] {
    return messages.map((each, index) => read(each, this.at(`${field}[${index}]`)));
  }

  problems(): WireProblems {
    return this.#problems;
  }

  /** Words that were read as something safe; each `field: what it says, and as what it was read`. */
  strange(): readonly string[] {
    return this.#strange;
  }
}

const unknownWord = (value: string): string => `unknown word ${JSON.stringify(value.slice(0, 60))}`;

/** The value if nothing was noted. `undefined` parts are always noted, so a value without problems is whole. */
export function whole<T>(reader: Reader, value: T | undefined): Result<T, WireProblems> {
  if (reader.problems().length > 0) return fail(reader.problems());
  return value === undefined ? fail(['message: is missing']) : ok(value);
}

const UINT32_MAX = 0xffff_ffff;

/** Milliseconds and the like are whole on the wire; a float or a negative from a clock must not make the encoder throw. */
export function uint32(value: number): number {
  return Number.isFinite(value) ? Math.min(UINT32_MAX, Math.max(0, Math.round(value))) : UINT32_MAX;
}

export function uint64(value: number): number {
  return Number.isFinite(value) ? Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.round(value))) : Number.MAX_SAFE_INTEGER;
}

export const emptyToNull = (value: string): string | null => (value === '' ? null : value);
