// A breaker per worker: after a few transport failures in a row nobody waits for that worker any more; now and then one
// request is let through to see whether it is back. Pure: time is an argument.
//
//   closed ── failuresMax in a row ──► open ── openMs passed ──► half-open (one probe)
//     ▲                                 ▲            │
//     └────────── success ──────────────┼────────────┤
//                                       └─ failure ──┘

/** Transport failures in a row that open a breaker. */
export const failuresMax = 5
/** First and longest time without a probe; it doubles with every failed one. */
const openMs = { first: 1_000, max: 10_000 } as const
/** A probe that has not ended after this long does not keep others out: its caller may be a stream. */
const probeMs = 5_000

export type Breaker =
  | { readonly state: 'closed'; readonly failures: number }
  | { readonly state: 'open'; readonly untilMs: number; readonly openMs: number }
  | { readonly state: 'half-open'; readonly probeUntilMs: number; readonly openMs: number }

export const closedBreaker: Breaker = { state: 'closed', failures: 0 }

export type Admission =
  | { readonly admitted: true; readonly next: Breaker }
  | { readonly admitted: false; readonly retryAfterMs: number }

/** Whether a request may go to the worker now, and the breaker after it went. */
export function admit(breaker: Breaker, nowMs: number): Admission {
  switch (breaker.state) {
    case 'closed':
      return { admitted: true, next: breaker }
    case 'open':
      if (nowMs < breaker.untilMs) return { admitted: false, retryAfterMs: breaker.untilMs - nowMs }
      return { admitted: true, next: { state: 'half-open', probeUntilMs: nowMs + probeMs, openMs: breaker.openMs } }
    case 'half-open':
      if (nowMs < breaker.probeUntilMs) return { admitted: false, retryAfterMs: Math.min(1_000, breaker.openMs) }
      return { admitted: true, next: { ...breaker, probeUntilMs: nowMs + probeMs } }
  }
}

/** The worker answered, with whatever status. */
export function onSuccess(): Breaker {
  return closedBreaker
}

/** The connection was refused or broke before an answer. */
export function onFailure(breaker: Breaker, nowMs: number): Breaker {
  switch (breaker.state) {
    case 'closed': {
      const failures = breaker.failures + 1
      if (failures < failuresMax) return { state: 'closed', failures }
      return { state: 'open', untilMs: nowMs + openMs.first, openMs: openMs.first }
    }
    case 'half-open': {
      const next = Math.min(openMs.max, breaker.openMs * 2)
      return { state: 'open', untilMs: nowMs + next, openMs: next }
    }
    case 'open':
      return breaker // a request that was under way when it opened
  }
}
