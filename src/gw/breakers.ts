// The breakers of all workers this gateway speaks to.

import type { Clock } from '../lib/clock.ts'
import { LruMap } from '../lib/lru.ts'
import { type Admission, admit, type Breaker, closedBreaker, onFailure } from './breaker.ts'

/** More workers than any fleet has; addresses of restarted ones fall out. */
const workersMax = 10_000

export class Breakers {
  readonly #clock: Clock
  /** Only those that are not plainly closed. */
  readonly #byWorker = new LruMap<string, Breaker>(workersMax)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  admit(workerUrl: string): Admission {
    const breaker = this.#byWorker.get(workerUrl)
    if (breaker === undefined) return { admitted: true, next: closedBreaker }
    const admission = admit(breaker, this.#clock.monotonic())
    if (admission.admitted) this.#byWorker.set(workerUrl, admission.next)
    return admission
  }

  succeeded(workerUrl: string): void {
    if (this.#byWorker.size > 0) this.#byWorker.delete(workerUrl)
  }

  failed(workerUrl: string): void {
    const breaker = this.#byWorker.get(workerUrl) ?? closedBreaker
    this.#byWorker.set(workerUrl, onFailure(breaker, this.#clock.monotonic()))
  }

  /** 0 closed, 0.5 half-open, 1 open; of workers that failed lately. */
  states(): readonly (readonly [workerUrl: string, state: number])[] {
    const value = { closed: 0, 'half-open': 0.5, open: 1 } as const
    return [...this.#byWorker.entries()].map(([workerUrl, breaker]) => [workerUrl, value[breaker.state]] as const)
  }
}
