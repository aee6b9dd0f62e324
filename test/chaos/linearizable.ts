// Is what the clients saw a history that one guest, asked one thing after the other, could have told? The object is a counter: `add` tells the
// value after it, each value once; `read` tells the value and changes nothing. Every `add` whose answer is known has its place by its value,
// so no search is needed: the operations are laid out in the order of their values, each as early as it can be, and none may come out later
// than its answer. An `add` without an answer may have happened at any time after it was asked, or never; it may fill a hole.

export interface Add {
  readonly kind: 'add';
  readonly client: string;
  readonly invokedMs: number;
  /** Null: nobody knows whether it happened. */
  readonly returned: { readonly atMs: number; readonly value: number } | null;
}

export interface Read {
  readonly kind: 'read';
  readonly client: string;
  readonly invokedMs: number;
  readonly returned: { readonly atMs: number; readonly value: number };
}

export type Operation = Add | Read;

interface Placed {
  readonly value: number;
  readonly invokedMs: number;
  readonly returnedMs: number;
  readonly what: string;
}

/** What cannot have happened, in words; empty = linearizable. `initial`: the counter's value before the first operation of the history. */
export function violationsOf(operations: readonly Operation[], initial: number): readonly string[] {
  const found: string[] = [];
  const adds = new Map<number, Placed>();
  for (const add of operations) {
    if (add.kind !== 'add' || add.returned === null) continue;
    const placed = place(add.returned, add);
    const twin = adds.get(placed.value);
    if (placed.value <= initial) found.push(`${placed.what}, and the counter was ${initial} before all of them`);
    else if (twin !== undefined) found.push(`${placed.what}, and so was ${twin.what}`);
    else adds.set(placed.value, placed);
  }
  const reads = new Map<number, Placed[]>();
  for (const read of operations) {
    if (read.kind !== 'read') continue;
    const placed = place(read.returned, read);
    if (placed.value < initial) found.push(`${placed.what}, and the counter was ${initial} before all of them`);
    else reads.set(placed.value, [...(reads.get(placed.value) ?? []), placed]);
  }
  return found.length > 0 ? found : layOut(adds, reads, unknownOf(operations), initial);
}

/** Instants at which the guest was asked something that nobody knows the outcome of, earliest first. */
function unknownOf(operations: readonly Operation[]): number[] {
  return operations.flatMap((each) => (each.kind === 'add' && each.returned === null ? [each.invokedMs] : [])).sort((a, b) => a - b);
}

function layOut(
  adds: ReadonlyMap<number, Placed>,
  reads: ReadonlyMap<number, readonly Placed[]>,
  unknown: number[],
  initial: number,
): readonly string[] {
  const found: string[] = [];
  const last = Math.max(initial, ...adds.keys(), ...reads.keys());
  /** No operation of a value from here on can have happened earlier than this. */
  let fromMs = -Infinity;
  let because = 'the beginning';
  const put = (placed: Placed): void => {
    if (placed.invokedMs > fromMs) {
      fromMs = placed.invokedMs;
      because = placed.what;
    }
    if (placed.returnedMs < fromMs) found.push(`${placed.what}, which is not after ${because}`);
  };
  /** Reads of one value may be in any order among themselves: each only has to find a moment before the next value. */
  const putReads = (value: number): void => {
    const here = reads.get(value) ?? [];
    for (const read of here) if (read.returnedMs < fromMs) found.push(`${read.what}, which is not after ${because}`);
    const latest = here.reduce<Placed | null>((one, other) => (one === null || other.invokedMs > one.invokedMs ? other : one), null);
    if (latest !== null) put(latest);
  };
  putReads(initial);
  for (let value = initial + 1; value <= last; value += 1) {
    const add = adds.get(value);
    // The earliest request is the best one for a hole: every later hole may still be filled by a later one.
    const invokedMs = add === undefined ? unknown.shift() : undefined;
    if (add !== undefined) put(add);
    else if (invokedMs === undefined) found.push(`nobody asked for ${value}, and higher values were told`);
    else
      put({
        value,
        invokedMs,
        returnedMs: Infinity,
        what: `a request of ${invokedMs} ms, whose answer is not known, and that made ${value}`,
      });
    putReads(value);
  }
  return found;
}

function place(returned: { readonly atMs: number; readonly value: number }, { kind, client, invokedMs }: Operation): Placed {
  const { atMs, value } = returned;
  return {
    value,
    invokedMs,
    returnedMs: atMs,
    what: `${client} was told ${value} by ${kind === 'add' ? 'adding' : 'reading'}, ${invokedMs} to ${atMs} ms`,
  };
}
