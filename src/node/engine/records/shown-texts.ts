// The answers to views that are the same for everybody, kept until something is written: the records that many ask for
// are read and written out once.

import type { Collection } from '../collections/collection.ts'
import type { Engine } from '../engine.ts'
import { contentVersion } from './content-version.ts'

/** Characters kept per tenant; most texts take a byte for each. */
const charsMax = 256 * 1024
/** Characters kept in one process, by all of its tenants. */
const charsMaxOfAll = 32 * 1024 * 1024
/** Characters of one text worth keeping. */
const textLengthMax = 8 * 1024
/** What an entry takes beside its text, in characters. */
const entryChars = 200

let charsOfAll = 0

class ShownTexts {
  readonly #texts = new Map<string, string>()
  #contentVersion = -1
  #collectionsVersion = -1
  #chars = 0

  /**
   * Forgets everything unless it was kept under these versions. Collections count beside the content: they are seen as a
   * transaction makes them before it commits, and when it is rolled back nothing was committed.
   */
  expect(contentVersion: number, collectionsVersion: number): void {
    if (contentVersion === this.#contentVersion && collectionsVersion === this.#collectionsVersion) return
    this.clear()
    this.#contentVersion = contentVersion
    this.#collectionsVersion = collectionsVersion
  }

  get(key: string): string | undefined {
    return this.#texts.get(key)
  }

  add(key: string, text: string): void {
    if (text.length > textLengthMax || charsOfAll + text.length > charsMaxOfAll) return
    const chars = text.length + entryChars
    // Whatever was there longest goes first: what many ask for comes back at once.
    for (const [oldest, old] of this.#texts) {
      if (this.#chars + chars <= charsMax) break
      this.#texts.delete(oldest)
      this.#count(-(old.length + entryChars))
    }
    this.#texts.set(key, text)
    this.#count(chars)
  }

  clear(): void {
    this.#texts.clear()
    this.#count(-this.#chars)
  }

  #count(chars: number): void {
    this.#chars += chars
    charsOfAll += chars
  }
}

const kept = new WeakMap<Engine, ShownTexts>()

/**
 * The JSON of a stored record for those who may see every record of its collection and nothing special of it.
 *
 * @param make reads the record and writes it; null when there is none, which is not kept.
 */
export function shownText(
  engine: Engine,
  collection: Collection,
  id: string,
  make: () => string | null,
): string | null {
  const version = contentVersion(engine.data)
  if (version === null || engine.isClosed) return make() // what is kept now would count for ever
  let texts = kept.get(engine)
  if (texts === undefined) {
    const made = new ShownTexts()
    kept.set(engine, (texts = made))
    engine.onClose(() => made.clear())
  }
  texts.expect(version, engine.collections.version)
  const key = `${collection.id}/${id}`
  const known = texts.get(key)
  if (known !== undefined) return known
  const text = make()
  if (text !== null) texts.add(key, text)
  return text
}
