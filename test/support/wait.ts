// Tests wait for conditions, never for time.

/** Polls until `condition` gives something truthy and returns it; throws after `timeoutMs`, naming `what`. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 60_000, // for a busy machine; only failures wait so long
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value as NonNullable<Exclude<T, false>>
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline) {
      const cause = last === undefined ? undefined : { cause: last }
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}${last ? `: ${last}` : ''}`, cause)
    }
    await Bun.sleep(10)
  }
}
