// What many owners keep within one bound. Where room is wanted, the owner that holds most gives up what it has not used
// for longest: nobody's flood pushes out what the others use, and one alone may have all of it.

export interface FairLruItem<V> {
  readonly owner: string
  readonly value: V
  readonly size: number
}

interface Holding {
  size: number
  /** In order of last use. */
  readonly keys: Set<string>
}

export class FairLru<V> {
  readonly #sizeMax: number
  readonly #items = new Map<string, FairLruItem<V>>()
  readonly #holdings = new Map<string, Holding>()
  #size = 0

  /** @param sizeMax of all items, in their own unit. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  get size(): number {
    return this.#size
  }

  /** The item, which is used by that. */
  get(key: string): FairLruItem<V> | undefined {
    const item = this.#items.get(key)
    if (item === undefined) return undefined
    const { keys } = this.#holdings.get(item.owner)!
    keys.delete(key)
    keys.add(key)
    return item
  }

  /** Puts an item in, in the place of one with its key, and says which others have to go for it; they are out already. */
  set(key: string, item: FairLruItem<V>): readonly V[] {
    this.delete(key)
    let holding = this.#holdings.get(item.owner)
    if (holding === undefined) this.#holdings.set(item.owner, (holding = { size: 0, keys: new Set() }))
    this.#items.set(key, item)
    holding.keys.add(key)
    holding.size += item.size
    this.#size += item.size
    const gone: V[] = []
    while (this.#size > this.#sizeMax) {
      const oldest = this.#oldestOfLargest(key)
      if (oldest === null) break // it alone is too large; whoever puts it in has bounded that
      gone.push(this.delete(oldest)!)
    }
    return gone
  }

  delete(key: string): V | undefined {
    const item = this.#items.get(key)
    if (item === undefined) return undefined
    const holding = this.#holdings.get(item.owner)!
    this.#items.delete(key)
    holding.keys.delete(key)
    holding.size -= item.size
    this.#size -= item.size
    if (holding.keys.size === 0) this.#holdings.delete(item.owner)
    return item.value
  }

  /** Owners are few; their items may be many. @param except what has just come in. */
  #oldestOfLargest(except: string): string | null {
    let largest: Holding | null = null
    for (const each of this.#holdings.values()) {
      const isOnlyExcept = each.keys.size === 1 && each.keys.has(except)
      if (!isOnlyExcept && (largest === null || each.size > largest.size)) largest = each
    }
    for (const key of largest?.keys ?? []) if (key !== except) return key
    return null
  }
}
