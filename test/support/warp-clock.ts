// A real clock that runs faster than the world, and jumps.

import type { Cancel, Clock } from '../../src/lib/clock.ts'

export class WarpClock implements Clock {
  readonly #speed: number
  readonly #startedAtMs = performance.now()
  readonly #wallAtMs = Date.now()
  #jumpedMs = 0
  readonly #timers = new Set<{ readonly dueMs: number; readonly fire: () => void }>()

  constructor(speed: number) {
    this.#speed = speed
  }

  monotonic(): number {
    return (performance.now() - this.#startedAtMs) * this.#speed + this.#jumpedMs
  }

  now(): number {
    return this.#wallAtMs + Math.floor(this.monotonic())
  }

  setTimer(delayMs: number, callback: () => void): Cancel {
    const timer = {
      dueMs: this.monotonic() + delayMs,
      fire: () => {
        cancel()
        callback()
      },
    }
    const handle = setTimeout(timer.fire, delayMs / this.#speed)
    const cancel = () => {
      clearTimeout(handle)
      this.#timers.delete(timer)
    }
    this.#timers.add(timer)
    return cancel
  }

  /** Time passes at once; timers that are due by then fire. */
  jump(ms: number): void {
    this.#jumpedMs += ms
    const nowMs = this.monotonic()
    for (const timer of [...this.#timers].sort((a, b) => a.dueMs - b.dueMs)) if (timer.dueMs <= nowMs) timer.fire()
  }
}
