// A rate that is kept on average: tokens come in at a steady rate and may gather for a moment. Who takes more than there are
// is served and leaves a debt, which the next one waits for; so the price of a request may be told after it.

import { assert } from './assert.ts'
import { type Clock, sleep } from './clock.ts'
import { OverloadedError } from './errors.ts'

/** How long tokens gather, ms: bursts of one second are within every provider's limits. */
const burstMs = 1_000
/** Who may wait at once. */
const waitersMax = 10_000

export class TokenBucket {
  readonly #perMs: number
  readonly #capacity: number
  readonly #clock: Clock
  #tokens: number
  #filledAtMs: number
  #tail: Promise<void> = Promise.resolve()
  #waiters = 0

  /** @param perSecond above 0. */
  constructor(perSecond: number, clock: Clock) {
    assert(perSecond > 0, 'a rate is above zero')
    this.#perMs = perSecond / 1_000
    this.#capacity = Math.max(1, this.#perMs * burstMs)
    this.#clock = clock
    this.#tokens = this.#capacity
    this.#filledAtMs = clock.monotonic()
  }

  /**
   * Takes `count` tokens, first come first served, and resolves when there was one left. Rejects with the signal's reason,
   * taking nothing, or with OverloadedError when too many wait.
   */
  async take(count: number, signal?: AbortSignal): Promise<void> {
    if (this.tryTake(count)) return
    if (this.#waiters >= waitersMax) throw new OverloadedError(`${waitersMax} requests wait for their turn`)
    this.#waiters++
    const turn = this.#tail.then(() => this.#waitForOne(signal)).finally(() => this.#waiters--)
    this.#tail = turn.catch(() => {}) // who gave up is told; the next one's turn comes all the same
    await turn
    this.#tokens -= count
  }

  /** Takes `count` tokens if one is left and nobody waits. */
  tryTake(count: number): boolean {
    if (this.#waiters > 0 || this.#refilled() <= 0) return false
    this.#tokens -= count
    return true
  }

  /** Takes tokens for what is done already; the next one waits for them. */
  charge(count: number): void {
    this.#refilled()
    this.#tokens -= count
  }

  async #waitForOne(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    for (let tokens = this.#refilled(); tokens <= 0; tokens = this.#refilled())
      await sleep(this.#clock, Math.max(1, Math.ceil((1e-9 - tokens) / this.#perMs)), signal)
  }

  #refilled(): number {
    const nowMs = this.#clock.monotonic()
    this.#tokens = Math.min(this.#capacity, this.#tokens + (nowMs - this.#filledAtMs) * this.#perMs)
    this.#filledAtMs = nowMs
    return this.#tokens
  }
}
