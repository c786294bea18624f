// The reader process: one question a line on standard input, one answer a line on standard output. It ends with its
// parent's pipe, and is killed when a question takes too long.

import { type Clock, systemClock } from '../../../lib/clock.ts'
import { type ReaderQuery, type ReaderRows, runReaderQuery } from './reader-query.ts'

/** A process that nobody asks ends after this, ms; it takes some 60 MB. */
const idleMs = 30_000

export type ReaderAnswer =
  | { readonly ok: true; readonly value: ReaderRows }
  | { readonly ok: false; readonly message: string }

/** Answers until standard input ends. */
export async function runReader(clock: Clock = systemClock): Promise<void> {
  let cancel = clock.setTimer(idleMs, () => process.exit(0))
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of Bun.stdin.stream()) {
    text += decoder.decode(chunk, { stream: true })
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      cancel()
      const line = text.slice(0, end)
      text = text.slice(end + 1)
      await Bun.write(Bun.stdout, `${JSON.stringify(answer(JSON.parse(line) as ReaderQuery))}\n`)
      cancel = clock.setTimer(idleMs, () => process.exit(0))
    }
  }
  cancel()
}

function answer(query: ReaderQuery): ReaderAnswer {
  try {
    return { ok: true, value: runReaderQuery(query) }
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error) }
  }
}
