// The system's clock, set forward at will.

import { type Cancel, type Clock, systemClock } from '../../src/lib/clock.ts'

export class LaterClock implements Clock {
  /** Both clocks are ahead of the system's by so much, ms. Timers that wait do not notice. */
  laterMs = 0

  now(): number {
    return systemClock.now() + this.laterMs
  }

  monotonic(): number {
    return systemClock.monotonic() + this.laterMs
  }

  setTimer(delayMs: number, callback: () => void): Cancel {
    return systemClock.setTimer(delayMs, callback)
  }

  /** The time of now; whatever comes next is later. */
  tick(): number {
    const atMs = this.now()
    this.laterMs += 2
    return atMs
  }
}
