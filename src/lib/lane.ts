// Work that only so many may do at once.

/** So many at once; the others wait in their order, but for those that go first. */
export class Lane {
  readonly #waiting: (() => void)[] = []
  #places: number

  constructor(places: number) {
    this.#places = places
  }

  /** Who waits for a place. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Pair with {@link leave} in `finally`. */
  async enter(goesFirst = false): Promise<void> {
    if (this.#places > 0) {
      this.#places--
      return
    }
    await new Promise<void>((resolve) => {
      if (goesFirst) this.#waiting.unshift(resolve)
      else this.#waiting.push(resolve)
    })
  }

  leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#places++
    else next()
  }

  /** Lets everybody in who waits: what runs is ended. */
  open(): void {
    for (const proceed of this.#waiting.splice(0)) proceed()
  }
}

/** Does the work for each item, for so many at once; rejects with the first failure, while what has begun goes on. */
export async function inParallel<T>(
  atOnceMax: number,
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const each = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  const lane = async () => {
    for (let next = await each.next(); next.done !== true; next = await each.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: atOnceMax }, lane))
}
