import { type Clock, sleep } from './clock.ts'
import { type Rng, uniform } from './rng.ts'

export interface RetryPolicy {
  /** Attempts in all, the first included. */
  readonly attemptsMax: number
  readonly baseDelayMs: number
  readonly delayMsMax: number
}

/** Exponential backoff with full jitter: uniform in [0, min(delayMsMax, base·2^attempt)); `attempt` starts at 0. */
export function backoffMs(policy: RetryPolicy, attempt: number, rng: Rng): number {
  return uniform(rng) * Math.min(policy.delayMsMax, policy.baseDelayMs * 2 ** attempt)
}

/**
 * Runs `body` until it succeeds, `isRetryable` says no, or the attempts are used up; then throws the last error.
 * Only for work that is safe to repeat.
 */
export async function retry<T>(
  deps: { readonly clock: Clock; readonly rng: Rng; readonly policy: RetryPolicy; readonly signal?: AbortSignal },
  isRetryable: (error: unknown) => boolean,
  body: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await body(attempt)
    } catch (error) {
      if (attempt + 1 >= deps.policy.attemptsMax || deps.signal?.aborted || !isRetryable(error)) throw error
      await sleep(deps.clock, backoffMs(deps.policy, attempt, deps.rng), deps.signal)
    }
  }
}
