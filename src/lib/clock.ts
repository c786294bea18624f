// Time is injected, so that everything above can be simulated. The only file that reads the system's clocks.

/** Stops a timer; calling it again does nothing. */
export type Cancel = () => void

export interface Clock {
  /** Wall clock, ms since the Unix epoch; may jump. For records and LTX timestamps, never for time-outs. */
  now(): number
  /** Monotonic ms since an arbitrary point. For time-outs, leases and durations. */
  monotonic(): number
  /** Calls `callback` once, after `delayMs` or later. */
  setTimer(delayMs: number, callback: () => void): Cancel
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Calls `callback` once the event loop has taken in what has arrived meanwhile. No time passes by it, so it is no timer. */
export function afterArrivals(callback: () => void): void {
  setImmediate(callback)
}

/** A clock that stands still until {@link advance} moves it; timers fire in order of their due time. */
export class SimClock implements Clock {
  #nowMs: number
  #elapsedMs = 0
  #timers: { atMs: number; seq: number; callback: () => void }[] = []
  #seq = 0

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  setTimer(delayMs: number, callback: () => void): Cancel {
    // In whole milliseconds, as timers of the platform: the wall clock must not stand between two.
    const timer = { atMs: this.#elapsedMs + Math.ceil(Math.max(0, delayMs)), seq: this.#seq++, callback }
    this.#timers.push(timer)
    return () => {
      const index = this.#timers.indexOf(timer)
      if (index >= 0) this.#timers.splice(index, 1)
    }
  }

  get pendingTimers(): number {
    return this.#timers.length
  }

  /** Moves both clocks by `ms`, firing due timers one by one at their own instants; awaits microtasks between them. */
  async advance(ms: number): Promise<void> {
    const target = this.#elapsedMs + ms
    for (;;) {
      await Promise.resolve()
      this.#timers.sort((a, b) => a.atMs - b.atMs || a.seq - b.seq)
      const next = this.#timers[0]
      if (next === undefined || next.atMs > target) break
      this.#timers.shift()
      this.#nowMs += next.atMs - this.#elapsedMs
      this.#elapsedMs = next.atMs
      next.callback()
    }
    this.#nowMs += target - this.#elapsedMs
    this.#elapsedMs = target
    await Promise.resolve()
  }

  /** A jump of the wall clock alone, as NTP or an operator makes one. */
  jumpWallClock(ms: number): void {
    this.#nowMs += ms
  }
}
