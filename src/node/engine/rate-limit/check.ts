// The rate limits and address lists of the settings, applied to one request. The API asks; what it answers is its own.

import type { RateLimitRule, Settings } from '../settings/settings.ts'
import { isIpInList } from './ip.ts'
import type { RateLimiter } from './limiter.ts'
import { audiencesOf, collectionLabels, findRateLimitRule, pathLabels } from './rules.ts'

/** What a limit looks at. */
export interface LimitedRequest {
  readonly method: string
  /** As routed, without the query. */
  readonly path: string
  readonly realIp: string
  readonly isSignedIn: boolean
  readonly isSuperuser: boolean
}

/** Takes the request from the allowance of its path. @returns the rule that has none left, or null. */
export function exceededPathLimit(
  settings: Settings,
  limiter: RateLimiter,
  request: LimitedRequest,
): RateLimitRule | null {
  if (isExempt(settings, request)) return null
  const labels = pathLabels(request.method, request.path)
  const rule = findRateLimitRule(settings.rateLimits, labels, audiencesOf(request.isSignedIn))
  if (rule === null) return null
  return limiter.isAllowed(rule.label + rule.audience, request.realIp, rule) ? null : rule
}

/**
 * Takes the request from the allowance of what it does to a collection.
 *
 * @param tags the names of the action, the special one first: `['authWithPassword', 'auth']`.
 * @param pattern the route, so that two routes with the same tags count apart.
 */
export function exceededCollectionLimit(
  settings: Settings,
  limiter: RateLimiter,
  request: LimitedRequest,
  action: {
    readonly collection: { readonly id: string; readonly name: string }
    readonly tags: readonly string[]
    readonly pattern: string
  },
): RateLimitRule | null {
  if (isExempt(settings, request)) return null
  const { collection, tags, pattern } = action
  const labels = collectionLabels(collection.name, tags, request.method, request.path)
  const rule = findRateLimitRule(settings.rateLimits, labels, audiencesOf(request.isSignedIn))
  if (rule === null) return null
  const ruleId = `${collection.id}${pattern}${tags.join('')}${rule.audience}`
  return limiter.isAllowed(ruleId, request.realIp, rule) ? null : rule
}

/** Whether a superuser may come from this address. */
export function isSuperuserIpAllowed({ superuserIPs }: Settings, realIp: string): boolean {
  return superuserIPs.length === 0 || isIpInList(superuserIPs, realIp)
}

function isExempt({ rateLimits }: Settings, { isSuperuser, realIp }: LimitedRequest): boolean {
  return !rateLimits.enabled || isSuperuser || realIp === '' || isIpInList(rateLimits.excludedIPs, realIp)
}
