// Assertions guard invariants of our own making: when one is broken the process ends, because going on with a wrong
// picture is worse than a restart (an agent that ends leaves QEMU running). Operating errors are values, never assertions.

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Ends the caller's work with an AssertionError unless the fact holds. */
export function assert(fact: boolean, message: string): asserts fact {
  if (!fact) throw new AssertionError(message);
}

/** Closes every switch: the compiler proves that no case is missing, and a value from outside that slipped in is named. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
