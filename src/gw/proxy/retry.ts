// What to do after an attempt that was not answered. Pure.

/** Methods that change nothing, so that delivering them twice does no harm (RFC 9110, 9.2.1). */
const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

export interface Attempts {
  /** Attempts so far that ended in each way, this one included. */
  readonly misrouted: number
  readonly refused: number
  readonly broken: number
  /** Since the first attempt, ms. */
  readonly elapsedMs: number
}

export const noAttempts: Attempts = { misrouted: 0, refused: 0, broken: 0, elapsedMs: 0 }

export type Decision =
  /** Ask for the route again and try at once. */
  | 'reroute'
  /** Ask for the route again after a pause or at the next news: the tenant is on its way. */
  | 'wait'
  | 'fail'

/** A worker that is restarted is back, or replaced, well within this, ms. */
export const refusedHoldMs = 3_000

/**
 * @param holdMs how long a request may wait for a tenant that moves.
 * @param isReplayable whether the body can be sent again.
 */
export function decide(
  outcome: 'misrouted' | 'refused' | 'broken',
  attempts: Attempts,
  {
    method,
    isReplayable,
    holdMs,
  }: { readonly method: string; readonly isReplayable: boolean; readonly holdMs: number },
): Decision {
  if (!isReplayable) return 'fail'
  switch (outcome) {
    case 'misrouted':
      if (attempts.misrouted <= 1) return 'reroute'
      return attempts.elapsedMs < holdMs ? 'wait' : 'fail'
    case 'refused':
      if (attempts.refused <= 1) return 'reroute'
      return attempts.elapsedMs < Math.min(holdMs, refusedHoldMs) ? 'wait' : 'fail'
    case 'broken':
      return safeMethods.has(method) && attempts.broken <= 1 ? 'reroute' : 'fail'
  }
}
