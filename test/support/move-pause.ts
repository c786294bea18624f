// How long nobody's write is answered while a tenant moves: one client that writes without a pause.

import type PocketBase from 'pocketbase'

export interface MovePause {
  /** The longest time between two answers, ms. */
  readonly longestMs: number
  /** Texts of the writes that were answered, each of them must be there. */
  readonly written: readonly string[]
}

/** Writes into `notes` while `move` runs, and a little before and behind it. Throws when a write is refused. */
export async function writeDuring(client: PocketBase, move: () => Promise<unknown>): Promise<MovePause> {
  const written: string[] = []
  let longestMs = 0
  let isMoving = true
  const writer = (async () => {
    let lastMs = performance.now()
    for (let extra = 0; isMoving || extra < 20; ) {
      const text = `${written.length} while moving`
      await client.collection('notes').create({ title: text })
      written.push(text)
      const nowMs = performance.now()
      longestMs = Math.max(longestMs, nowMs - lastMs)
      lastMs = nowMs
      if (!isMoving) extra++
    }
  })()
  try {
    await move()
  } finally {
    isMoving = false
    await writer
  }
  return { longestMs, written }
}
