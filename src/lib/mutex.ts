// One holder at a time, first come first served.

import { OverloadedError } from './errors.ts'

export class Mutex {
  #held = false
  readonly #waiting: (() => void)[] = []
  readonly #waitersMax: number

  /** @param waitersMax how many may wait before {@link acquire} refuses. */
  constructor(waitersMax = 10_000) {
    this.#waitersMax = waitersMax
  }

  get isHeld(): boolean {
    return this.#held
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Takes the mutex if it is free right now. The caller releases it with {@link release}. */
  tryAcquire(): boolean {
    if (this.#held) return false
    this.#held = true
    return true
  }

  /** Waits for the mutex; throws OverloadedError when too many wait already. Pair with {@link release} in `finally`. */
  async acquire(): Promise<void> {
    if (this.tryAcquire()) return
    if (this.#waiting.length >= this.#waitersMax) throw new OverloadedError(`${this.#waitersMax} callers wait already`)
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  release(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#held = false
    else next() // ownership passes on; `held` stays true
  }

  async run<T>(body: () => T | Promise<T>): Promise<T> {
    await this.acquire()
    try {
      return await body()
    } finally {
      this.release()
    }
  }
}
