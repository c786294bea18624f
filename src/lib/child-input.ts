// Standard input of a child process. A pipe that nobody reads any more refuses what fits into it at once, by throwing,
// but what waits for room only later, by a rejection; and one that nobody awaits ends this process because a child ended.

/** What a text is written to: the `stdin` of `Bun.spawn`. */
type ChildInput = Pick<Bun.FileSink, 'write' | 'flush' | 'end'>

/**
 * Resolves when the pipe has taken the text. Texts arrive in the order of the calls, also when nobody awaits them.
 *
 * Rejects, and never throws, when the child has ended. One whose end was seen already takes everything.
 */
export async function sendInput(input: ChildInput, text: string): Promise<void> {
  const written = input.write(text)
  if (typeof written !== 'number') await written
  await input.flush()
}

/** Resolves at the end of the input, which is also that of a child that has ended before it read all of it. */
export async function endInput(input: ChildInput): Promise<void> {
  try {
    await input.end()
  } catch {
    // There is nobody to end it for; whoever waits for the child learns how it ended.
  }
}
