// Tenants that could not be opened rest before the next attempt: each one takes a place of a load and asks the store.

import type { TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import { LruMap } from '../../lib/lru.ts'
import { TenantInactiveError, WrongOwnerError } from './tenant-errors.ts'

/** Rest after the first failure, doubled with each further one up to the limit, ms. */
const restMsMin = 250
const restMsMax = 30_000
/** Failed tenants that are remembered. */
const failuresMax = 10_000

interface Failure {
  readonly count: number
  readonly untilMs: number
  readonly error: unknown
}

export class OpeningFailures {
  readonly #clock: Clock
  readonly #failures = new LruMap<TenantId, Failure>(failuresMax)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws what the last opening threw, while the tenant rests from it. */
  throwIfResting(id: TenantId): void {
    const failure = this.#failures.get(id)
    if (failure !== undefined && this.#clock.monotonic() < failure.untilMs) throw failure.error
  }

  /** A tenant that is placed elsewhere, or one too many, is not at fault. */
  note(id: TenantId, error: unknown): void {
    if (error instanceof WrongOwnerError || error instanceof TenantInactiveError || error instanceof OverloadedError)
      return
    const count = (this.#failures.get(id)?.count ?? 0) + 1
    const restMs = Math.min(restMsMax, restMsMin * 2 ** (count - 1))
    this.#failures.set(id, { count, untilMs: this.#clock.monotonic() + restMs, error })
  }

  /** It could be opened. */
  forget(id: TenantId): void {
    this.#failures.delete(id)
  }
}
