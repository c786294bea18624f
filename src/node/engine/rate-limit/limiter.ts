// Fixed-window rate limits, as PocketBase counts them: the first request of a client opens a window, the window's
// allowance is used up, and the first request after its end opens the next one. Memory is bounded: when too many windows
// are open the oldest are forgotten, which costs an attacker more addresses than a limit by address stops anyway.

import type { Clock } from '../../../lib/clock.ts'

/** Open windows of one tenant, about 100 bytes each. */
const windowsMax = 10_000
/** How many old windows one new one may clear away, so that no request pays for a flood of others. */
const sweepMax = 4

export interface RateLimit {
  /** 0 refuses everything. */
  readonly maxRequests: number
  /** Seconds; 0 opens a new window with every request. */
  readonly duration: number
}

interface Window {
  startS: number
  endS: number
  available: number
}

export class RateLimiter {
  readonly #clock: Clock
  /** By rule and client, the oldest window first. */
  readonly #windows = new Map<string, Window>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Open windows; for tests and metrics. */
  get size(): number {
    return this.#windows.size
  }

  /** What is left of the allowance of `client`; takes nothing. */
  available(ruleId: string, client: string, limit: RateLimit): number {
    const window = this.#windows.get(`${ruleId}\n${client}`)
    const nowS = Math.floor(this.#clock.now() / 1000)
    return window === undefined || isOver(window, nowS, limit) ? limit.maxRequests : window.available
  }

  /** Takes one request of `client` from its allowance under the rule `ruleId`. @returns false when there is none left. */
  isAllowed(ruleId: string, client: string, limit: RateLimit): boolean {
    const key = `${ruleId}\n${client}`
    const nowS = Math.floor(this.#clock.now() / 1000)
    let window = this.#windows.get(key)
    if (window === undefined || isOver(window, nowS, limit)) {
      window = { startS: nowS, endS: nowS + limit.duration, available: limit.maxRequests }
      this.#windows.delete(key)
      this.#windows.set(key, window)
      this.#sweep(nowS)
    }
    if (window.available <= 0) return false
    window.available--
    return true
  }

  /** Forgets every window: the rules have changed. */
  reset(): void {
    this.#windows.clear()
  }

  #sweep(nowS: number): void {
    let swept = 0
    for (const [key, window] of this.#windows) {
      const isFull = this.#windows.size > windowsMax
      if (!(isFull || window.endS < nowS) || (swept >= sweepMax && !isFull)) return
      this.#windows.delete(key)
      swept++
    }
  }
}

/** A wall clock that was set back must not hold a client for longer than one window. */
function isOver({ startS }: Window, nowS: number, { duration }: RateLimit): boolean {
  return nowS - startS >= duration || nowS < startS
}
