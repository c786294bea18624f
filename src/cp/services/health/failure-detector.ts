// From the silence of a node to its state, with hysteresis: a node that was down must be heard several times in a row
// before it is trusted again, so that a flapping one does not move its tenants back and forth. Pure.

export type NodeState = 'healthy' | 'degraded' | 'down'

export interface DetectorSettings {
  readonly degradedAfterMs: number
  readonly downAfterMs: number
}

export interface Liveness {
  readonly state: NodeState
  /** Monotonic ms. */
  readonly lastHeardAtMs: number
  /** Reports in a row since it was last down; counts up to {@link trustedAfter}. */
  readonly reportsInARow: number
}

/** Reports in a row after which a node that was down is healthy again. */
export const trustedAfter = 2

/** A node that has just registered is healthy: a new process has no past. */
export function registered(nowMs: number): Liveness {
  return { state: 'healthy', lastHeardAtMs: nowMs, reportsInARow: trustedAfter }
}

/** Not heard of since this process started; it gets the full time before it is down. */
export function unheard(nowMs: number): Liveness {
  return { state: 'degraded', lastHeardAtMs: nowMs, reportsInARow: 0 }
}

export function heard(before: Liveness, nowMs: number): Liveness {
  const reportsInARow = Math.min(trustedAfter, before.reportsInARow + 1)
  const isTrusted = before.state !== 'down' || reportsInARow >= trustedAfter
  return { state: isTrusted ? 'healthy' : 'down', lastHeardAtMs: nowMs, reportsInARow }
}

/** Time in which the listener itself stood still is nobody's silence. */
export function excused(before: Liveness, nowMs: number, stoodStillMs: number): Liveness {
  return { ...before, lastHeardAtMs: Math.min(nowMs, before.lastHeardAtMs + stoodStillMs) }
}

export function checked(before: Liveness, nowMs: number, settings: DetectorSettings): Liveness {
  const silentMs = nowMs - before.lastHeardAtMs
  if (silentMs >= settings.downAfterMs) return { ...before, state: 'down', reportsInARow: 0 }
  if (silentMs >= settings.degradedAfterMs && before.state === 'healthy') return { ...before, state: 'degraded' }
  return before
}
