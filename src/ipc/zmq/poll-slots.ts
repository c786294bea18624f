// The words that the main thread and the poll thread share.

export const pollSlots = {
  /** Raised by the poll thread when something is readable; the main thread waits on it. */
  events: 0,
  /** Raised by the main thread when it has drained; the poll thread waits on it. */
  acks: 1,
  /** Not 0: the poll thread ends. */
  stop: 2,
  /** How many descriptors follow. */
  count: 3,
  /** How many descriptors were readable at the last event; they follow the polled ones. */
  readyCount: 4,
  firstFd: 5,
} as const

/** Words in all, for at most `fdsMax` descriptors. */
export function pollSlotCount(fdsMax: number): number {
  return pollSlots.firstFd + 2 * fdsMax
}

export function firstReadySlot(fdsMax: number): number {
  return pollSlots.firstFd + fdsMax
}
