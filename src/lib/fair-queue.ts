// A queue that serves its owners in turn: whoever has queued a thousand items waits behind none of the others' first.

export interface FairQueueLimits {
  /** Items that may wait in all, and of one owner. */
  readonly itemsMax: number
  readonly itemsMaxOfOne: number
}

interface Lane<T> {
  items: T[]
  /** Index of the next item; taking from the front of an array would move all others. */
  head: number
}

/** @typeParam K what owners are told apart by. */
export class FairQueue<T, K = string> {
  readonly #limits: FairQueueLimits
  /** In the order of their turns. Lanes without items are not kept. */
  readonly #lanes = new Map<K, Lane<T>>()
  #size = 0

  constructor(limits: FairQueueLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#size
  }

  sizeOf(owner: K): number {
    const lane = this.#lanes.get(owner)
    return lane === undefined ? 0 : lane.items.length - lane.head
  }

  /** @returns false when a limit is reached; then nothing was added. */
  push(owner: K, item: T): boolean {
    if (this.#size >= this.#limits.itemsMax || this.sizeOf(owner) >= this.#limits.itemsMaxOfOne) return false
    const lane = this.#lanes.get(owner)
    if (lane === undefined) this.#lanes.set(owner, { items: [item], head: 0 })
    else lane.items.push(item)
    this.#size++
    return true
  }

  /**
   * The oldest item of the owner whose turn it is, or null. The owner's next turn comes after everybody else's.
   * @param mayTake asked about each owner's oldest item; those that it refuses keep their place.
   */
  shift(mayTake: (owner: K, item: T) => boolean = () => true): T | null {
    for (const [owner, lane] of this.#lanes) {
      const item = lane.items[lane.head]!
      if (!mayTake(owner, item)) continue
      lane.head++
      this.#size--
      this.#lanes.delete(owner)
      if (lane.head < lane.items.length) {
        if (lane.head * 2 > lane.items.length) {
          lane.items = lane.items.slice(lane.head)
          lane.head = 0
        }
        this.#lanes.set(owner, lane)
      }
      return item
    }
    return null
  }

  /** Takes one item out of its owner's lane. @returns false when it is not there any more. */
  remove(owner: K, item: T): boolean {
    const lane = this.#lanes.get(owner)
    const at = lane?.items.indexOf(item, lane.head) ?? -1
    if (lane === undefined || at < 0) return false
    lane.items.splice(at, 1)
    this.#size--
    if (lane.head >= lane.items.length) this.#lanes.delete(owner)
    return true
  }

  /** Takes out everything of one owner, oldest first. */
  removeAll(owner: K): T[] {
    const lane = this.#lanes.get(owner)
    if (lane === undefined) return []
    this.#lanes.delete(owner)
    const items = lane.items.slice(lane.head)
    this.#size -= items.length
    return items
  }
}
