// What a worker knows of its node's lease. It ends here by the worker's own clock, also when nobody is left to tell.

import type { Clock } from '../lib/clock.ts'

export class Lease {
  readonly #clock: Clock
  #endsAtMs: number
  #term = 0

  /** There is none yet. */
  constructor(clock: Clock) {
    this.#clock = clock
    this.#endsAtMs = clock.monotonic()
  }

  /** @param endsAtMs by the clock of this worker; null: there is none any more. */
  set(endsAtMs: number | null): void {
    const nowMs = this.#clock.monotonic()
    if (endsAtMs !== null && endsAtMs > nowMs && this.#endsAtMs <= nowMs) this.#term++
    this.#endsAtMs = endsAtMs ?? Math.min(this.#endsAtMs, nowMs)
  }

  /** For how long there has been none, ms; 0 while there is one. */
  lostMs(): number {
    return Math.max(0, this.#clock.monotonic() - this.#endsAtMs)
  }

  /** Another number with each lease that began after a time without one: who placed this node's tenants anew did so then. */
  get term(): number {
    return this.#term
  }
}

/**
 * A lease as it counts for one opening: once it was lost and is there again, only after `isStillOwner` has said so.
 *
 * @param term of the lease before the placement was asked for.
 * @returns as {@link Lease.lostMs}, above 0 until then. Asks by itself, one question at a time.
 */
export function leaseOfOpening(
  lease: Lease,
  term: number,
  isStillOwner: () => Promise<boolean>,
  onError: (error: unknown) => void,
): () => number {
  let provenTerm = term
  let isAsking = false
  const ask = async (asked: number) => {
    isAsking = true
    try {
      if (await isStillOwner()) provenTerm = asked
    } catch (error) {
      onError(error)
    } finally {
      isAsking = false
    }
  }
  return () => {
    const lostMs = lease.lostMs()
    if (lease.term === provenTerm) return lostMs
    if (!isAsking && lostMs === 0) void ask(lease.term)
    return Math.max(1, lostMs)
  }
}
