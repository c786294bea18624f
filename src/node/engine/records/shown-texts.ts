// The texts of answers that are the same for everybody who may have them, kept until something is written: the records and
// pages that many ask for are read and written out once.

import type { MaybePromise } from '../../../lib/result.ts'
import type { Engine } from '../engine.ts'
import { contentVersion } from './content-version.ts'

/** Characters kept in one process, by all of its tenants; most texts take a byte for each. */
const charsMaxOfAll = 32 * 1024 * 1024
/** A tenant may keep this part of what the others leave: there is always room for one more, and who is alone has much. */
const partPerTenant = 1 / 8
/** Characters of one text worth keeping. */
const textLengthMax = 128 * 1024
/** What an entry takes beside its text and key, in characters. */
const entryChars = 150

let charsOfAll = 0

class ShownTexts {
  readonly #texts = new Map<string, string>()
  #contentVersion = -1
  #collectionsVersion = -1
  #chars = 0
  /** Another number whenever everything was forgotten. */
  generation = 0

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
    this.#delete(key) // somebody else may have made it at the same time
    const chars = charsOf(key, text)
    const charsMax = (charsMaxOfAll - (charsOfAll - this.#chars)) * partPerTenant
    if (text.length > textLengthMax || chars > charsMax) return
    // Whatever was there longest goes first: what many ask for comes back at once.
    for (const oldest of this.#texts.keys()) {
      if (this.#chars + chars <= charsMax) break
      this.#delete(oldest)
    }
    this.#texts.set(key, text)
    this.#count(chars)
  }

  clear(): void {
    this.generation++
    this.#texts.clear()
    this.#count(-this.#chars)
  }

  #delete(key: string): void {
    const text = this.#texts.get(key)
    if (text === undefined) return
    this.#texts.delete(key)
    this.#count(-charsOf(key, text))
  }

  #count(chars: number): void {
    this.#chars += chars
    charsOfAll += chars
  }
}

const charsOf = (key: string, text: string) => key.length + text.length + entryChars

const kept = new WeakMap<Engine, ShownTexts>()

/** Those that hold for the content as it is; null where what is kept now would count for ever. */
function currentTexts(engine: Engine): ShownTexts | null {
  const version = contentVersion(engine.data)
  if (version === null || engine.isClosed) return null
  let texts = kept.get(engine)
  if (texts === undefined) {
    const made = new ShownTexts()
    kept.set(engine, (texts = made))
    engine.onClose(() => made.clear())
  }
  texts.expect(version, engine.collections.version)
  return texts
}

/**
 * A text that the content and `key` decide alone, kept or made.
 *
 * @param make reads and writes it; null when there is nothing to show, which is not kept.
 */
export function shownText(engine: Engine, key: string, make: () => string | null): string | null {
  const texts = currentTexts(engine)
  const known = texts?.get(key)
  if (known !== undefined) return known
  const text = make()
  if (text !== null) texts?.add(key, text)
  return text
}

/** The same for what may be read by another process. What is written meanwhile keeps it from being kept. */
export function shownTextLater(
  engine: Engine,
  key: string,
  make: () => Promise<string | null>,
): MaybePromise<string | null> {
  const texts = currentTexts(engine)
  const known = texts?.get(key)
  if (known !== undefined) return known
  const { generation } = texts ?? {}
  return make().then((text) => {
    if (text !== null && texts !== null && texts.generation === generation) texts.add(key, text)
    return text
  })
}
