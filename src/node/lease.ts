// What a worker knows of its node's lease. It ends here by the worker's own clock, also when nobody is left to tell.

import type { Clock } from '../lib/clock.ts'

export class Lease {
  readonly #clock: Clock
  #endsAtMs: number

  /** There is none yet. */
  constructor(clock: Clock) {
    this.#clock = clock
    this.#endsAtMs = clock.monotonic()
  }

  /** @param endsAtMs by the clock of this worker; null: there is none any more. */
  set(endsAtMs: number | null): void {
    this.#endsAtMs = endsAtMs ?? Math.min(this.#endsAtMs, this.#clock.monotonic())
  }

  /** For how long there has been none, ms; 0 while there is one. */
  lostMs(): number {
    return Math.max(0, this.#clock.monotonic() - this.#endsAtMs)
  }
}
