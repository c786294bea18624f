// Pauses in long work, so that a process of one thread goes on serving others.

import { afterArrivals, type Clock } from './clock.ts'
import type { MaybePromise } from './result.ts'

/** How long work may keep others waiting, ms. */
const breathMs = 0.25

export class Breath {
  readonly #clock: Clock
  #takenAtMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#takenAtMs = clock.monotonic()
  }

  /** Lets others have their turn, if that was long ago. Called between steps of the work; costs next to nothing. */
  take(): MaybePromise<void> {
    if (this.#clock.monotonic() - this.#takenAtMs < breathMs) return
    return new Promise((resolve) => {
      afterArrivals(() => {
        this.#takenAtMs = this.#clock.monotonic()
        resolve()
      })
    })
  }
}
