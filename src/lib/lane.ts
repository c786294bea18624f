// Work that only so many may do at once.

/** So many at once; the others wait in their order, but for those that go first. */
export class Lane {
  readonly #waiting: (() => void)[] = []
  #places: number

  constructor(places: number) {
    this.#places = places
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
