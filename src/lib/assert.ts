// Assertions stay on in production. A failed one is our own mistake: it stops the smallest unit that may be corrupt.

/** Thrown by {@link assert}; never caught to continue with the same state. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Fails when an invariant of our own does not hold. Never use it to check input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Ends a `switch` over a tagged union: the compiler refuses it while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${JSON.stringify(value)}`)
}
