// How many bytes may be held at once by all who share a budget, first come first served.

import { OverloadedError } from './errors.ts'

/** Who may wait; beyond it the work is refused rather than queued. */
const waitersMax = 100_000

export class ByteBudget {
  readonly #capacity: number
  #free: number
  readonly #waiting: { readonly bytes: number; readonly go: () => void }[] = []

  constructor(capacity: number) {
    this.#capacity = capacity
    this.#free = capacity
  }

  /** Bytes that nobody holds. */
  get free(): number {
    return this.#free
  }

  /**
   * Waits until so many bytes are free. What is larger than the whole budget gets its turn when nobody else holds any.
   *
   * @returns gives them back; calling it again does nothing.
   */
  async take(bytes: number): Promise<() => void> {
    let held = Math.min(bytes, this.#capacity)
    await this.#acquire(held)
    return () => {
      this.#free += held
      held = 0
      this.#wake()
    }
  }

  #acquire(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && bytes <= this.#free) {
      this.#free -= bytes
      return Promise.resolve()
    }
    if (this.#waiting.length >= waitersMax)
      return Promise.reject(new OverloadedError(`${waitersMax} others wait for memory already`))
    return new Promise((resolve) => this.#waiting.push({ bytes, go: resolve }))
  }

  #wake(): void {
    for (let first = this.#waiting[0]; first !== undefined && first.bytes <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift()
      this.#free -= first.bytes
      first.go()
    }
  }
}
