// Shows that something ends by itself and not by its deadline, without a look at the time.

import { type Clock, systemClock } from '../../src/lib/clock.ts'

/** The clock of the system, on which a timer of `fromMs` or more never fires: who relies on it waits for ever. */
export function clockWithoutTimers(fromMs: number): Clock {
  return {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    setTimer: (delayMs, callback) => (delayMs >= fromMs ? () => {} : systemClock.setTimer(delayMs, callback)),
  }
}
