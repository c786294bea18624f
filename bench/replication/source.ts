// The databases that are shipped and restored: rows as applications store them, which compress to about half.

import type { Database } from 'bun:sqlite'
import { type Rng, seededRng } from '../../src/lib/rng.ts'

const words = 'lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt labore'.split(
  ' ',
)
/** Texts that rows take turns with; enough that no page holds one twice. */
const textsCount = 4_000

export const createPosts =
  'CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY, title TEXT, body TEXT, views INTEGER, created TEXT)'
export const insertPost = 'INSERT INTO posts VALUES (?, ?, ?, ?, ?)'
/** About a megabyte. */
export const rowsPerTransaction = 2_000

/** Rows of `posts`, the same for the same seed. */
export class PostMaker {
  readonly #rng: Rng
  readonly #texts: readonly string[]

  constructor(seed = 1) {
    this.#rng = seededRng(seed)
    this.#texts = Array.from({ length: textsCount }, () => this.#text(30 + this.#rng.below(30)))
  }

  next(): [string, string, string, number, string] {
    const rng = this.#rng
    const id = Buffer.from(rng.bytes(8)).toString('hex')
    const text = this.#texts[rng.below(textsCount)]!
    return [id, text.slice(0, 30), text, rng.below(100_000), `2026-01-${10 + rng.below(18)} 12:00:00.000Z`]
  }

  #text(count: number): string {
    return Array.from({ length: count }, () => words[this.#rng.below(words.length)]! + this.#rng.below(100)).join(' ')
  }
}

/** Adds rows until the database has so many bytes; the table must be there. */
export function fill(db: Database, sizeBytes: number): void {
  const posts = new PostMaker()
  const insert = db.query(insertPost)
  const pages = db.query<{ count: number }, []>('SELECT page_count AS count FROM pragma_page_count')
  while (pages.get()!.count * 4_096 < sizeBytes)
    db.transaction(() => {
      for (let row = 0; row < rowsPerTransaction; row++) insert.run(...posts.next())
    })()
}

/** What a tick writes: found again in the pages of whatever was shipped. */
export function tickText(tick: number): string {
  return `TICK:${String(tick).padStart(10, '0')}.`
}

/** The newest tick in a page, or 0. */
export function tickIn(page: Uint8Array): number {
  const found = /TICK:(\d{10})\./.exec(Buffer.from(page).toString('latin1'))
  return found === null ? 0 : Number(found[1])
}
