// An owner that the control plane does not answer cannot know whether it still is one. So while it has traffic it looks at
// its next slot every second: a slot that is taken fences it, a free one says that the store, which decides, is there.
// With neither of the two for ten seconds it takes no writes. At rest there is no timer and no request.

import { type Cancel, type Clock, sleep } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { cutOffMs, type Ownership } from './output-gate.ts'

/** Between two looks while there is traffic, ms. */
const lookEveryMs = 1_000
/** How long a write waits for a look before it is judged by the one before. */
const lookPatienceMs = 1_000
/** When a look is given up. */
const lookMsMax = 5_000

export interface SlotWatchDeps {
  readonly clock: Clock
  readonly log: Logger
  /** How long the control plane has not given this node a lease, ms; 0 while it has one. */
  readonly leaseLostMs: () => number
  /** When the store answered the shipper last, by the monotonic clock. */
  readonly storeHeardAtMs: () => number
  /** Looks at the next slot, and fences when it is taken. Rejects while the store fails. */
  readonly look: (signal: AbortSignal) => Promise<void>
}

export class SlotWatch implements Ownership {
  readonly #deps: SlotWatchDeps
  readonly #closing = new AbortController()
  #heardAtMs: number
  #looking: Promise<void> | null = null
  #cancelTimer: Cancel | null = null
  #hasTraffic = false

  /** Opening has just heard of the store. */
  constructor(deps: SlotWatchDeps) {
    this.#deps = deps
    this.#heardAtMs = deps.clock.monotonic()
  }

  /** A request, an answer or a job: without a lease the next slot is watched from here on. */
  touch(): void {
    if (this.#deps.leaseLostMs() === 0) return
    this.#hasTraffic = true
    if (this.#cancelTimer === null && this.#looking === null && !this.#closing.signal.aborted) this.#lookAndGoOn()
  }

  mayWrite(): MaybePromise<boolean> {
    if (this.#deps.leaseLostMs() === 0) return true
    this.touch()
    if (this.#silentMs() <= lookEveryMs * 2 || this.#looking === null) return this.#isHeard()
    // A look is under way and the last answer is old: wait for this one, but not for long.
    return this.#waitForLook().then(() => this.#isHeard())
  }

  close(): void {
    this.#closing.abort(new DOMException('the tenant closes', 'AbortError'))
    this.#cancelTimer?.()
    this.#cancelTimer = null
  }

  #silentMs(): number {
    return this.#deps.clock.monotonic() - Math.max(this.#heardAtMs, this.#deps.storeHeardAtMs())
  }

  #isHeard(): boolean {
    return this.#deps.leaseLostMs() <= cutOffMs || this.#silentMs() <= cutOffMs
  }

  async #waitForLook(): Promise<void> {
    const over = new AbortController()
    const patience = sleep(this.#deps.clock, lookPatienceMs, over.signal).catch(() => {}) // aborted: the look was quicker
    await Promise.race([this.#looking, patience])
    over.abort()
  }

  #lookAndGoOn(): void {
    const { clock, log, look, leaseLostMs } = this.#deps
    this.#hasTraffic = false
    const deadline = new AbortController()
    const cancel = clock.setTimer(lookMsMax, () => deadline.abort(new DOMException('no answer', 'TimeoutError')))
    this.#looking = look(AbortSignal.any([deadline.signal, this.#closing.signal]))
      .then(
        () => {
          this.#heardAtMs = clock.monotonic()
        },
        (error) => log.debug('the next slot could not be looked at', { error: errorMessage(error) }),
      )
      .finally(() => {
        cancel()
        this.#looking = null
        if (this.#closing.signal.aborted) return
        this.#cancelTimer = clock.setTimer(lookEveryMs, () => {
          this.#cancelTimer = null
          if (this.#hasTraffic && leaseLostMs() > 0) this.#lookAndGoOn()
        })
      })
  }
}
