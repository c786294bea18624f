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

/** What is done to a collection. */
export interface LimitedAction {
  readonly collection: { readonly id: string; readonly name: string }
  /** Its names, the special one first: `['authWithPassword', 'auth']`. */
  readonly tags: readonly string[]
  /** The route, so that two routes with the same tags count apart. */
  readonly pattern: string
}

/** Takes the request from the allowance of what it does to a collection. @returns as {@link exceededPathLimit}. */
export function exceededCollectionLimit(
  settings: Settings,
  limiter: RateLimiter,
  request: LimitedRequest,
  action: LimitedAction,
): RateLimitRule | null {
  const found = collectionRule(settings, request, action)
  return found === null || limiter.isAllowed(found.id, request.realIp, found.rule) ? null : found.rule
}

/** How many more requests like this one the limit lets through now; takes none of them. */
export function collectionAllowance(
  settings: Settings,
  limiter: RateLimiter,
  request: LimitedRequest,
  action: LimitedAction,
): number {
  const found = collectionRule(settings, request, action)
  return found === null ? Infinity : limiter.available(found.id, request.realIp, found.rule)
}

function collectionRule(settings: Settings, request: LimitedRequest, action: LimitedAction) {
  if (isExempt(settings, request)) return null
  const { collection, tags, pattern } = action
  const labels = collectionLabels(collection.name, tags, request.method, request.path)
  const rule = findRateLimitRule(settings.rateLimits, labels, audiencesOf(request.isSignedIn))
  return rule === null ? null : { rule, id: `${collection.id}${pattern}${tags.join('')}${rule.audience}` }
}

/** Whether a superuser may come from this address. */
export function isSuperuserIpAllowed({ superuserIPs }: Settings, realIp: string): boolean {
  return superuserIPs.length === 0 || isIpInList(superuserIPs, realIp)
}

function isExempt({ rateLimits }: Settings, { isSuperuser, realIp }: LimitedRequest): boolean {
  return !rateLimits.enabled || isSuperuser || realIp === '' || isIpInList(rateLimits.excludedIPs, realIp)
}
