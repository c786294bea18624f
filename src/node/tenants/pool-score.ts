// Who goes first when a worker must close tenants. Pure.

export interface Candidate {
  readonly lastUsedAtMs: number
  /** Decaying average of requests per second. */
  readonly requestsPerSecond: number
  /** Memory and, for files on disk, bytes that closing gives back. */
  readonly footprintBytes: number
  /** Open event streams: closing the tenant would cut them. */
  readonly streams: number
  /** Requests under way, streams not counted. */
  readonly requests: number
}

/** A request rate counts as if the tenant had been used this much later, ms per (request/s), up to the maximum. */
const rateCreditMs = 60_000
const rateCreditMsMax = 600_000
/** A tenant of this size is worth closing as if it had rested twice as long. */
const footprintUnitBytes = 16 * 1024 * 1024

/**
 * How gladly a tenant is closed; higher goes first. Monotonic: longer rest and a larger footprint raise it, a higher
 * rate lowers it. Never negative, always finite.
 */
export function closeScore(candidate: Candidate, nowMs: number): number {
  const restMs = Math.max(0, nowMs - candidate.lastUsedAtMs)
  const credit = Math.min(rateCreditMsMax, Math.max(0, candidate.requestsPerSecond) * rateCreditMs)
  const weight = 1 + Math.log2(1 + Math.max(0, candidate.footprintBytes) / footprintUnitBytes)
  return (weight * (1 + restMs)) / (1 + credit / 1_000)
}

/**
 * Those to close so that `count` places become free, best first; fewer when there are not enough.
 * Never one with a request under way; those with streams only after all others.
 */
export function chooseToClose<T extends Candidate>(candidates: Iterable<T>, count: number, nowMs: number): T[] {
  const closable = [...candidates].filter((each) => each.requests === 0)
  const ranked = closable.map((candidate) => ({ candidate, score: closeScore(candidate, nowMs) }))
  ranked.sort((a, b) => Number(a.candidate.streams > 0) - Number(b.candidate.streams > 0) || b.score - a.score)
  return ranked.slice(0, Math.max(0, count)).map(({ candidate }) => candidate)
}
