// Which rate-limit rule of the settings applies to a request. Labels are, from the most to the least special:
// `users:create`, `*:create`, `POST /api/collections/users/records`, `/api/collections/users/records`; a rule whose label
// ends with `/` applies to every path below it.

import type { RateLimitRule, RateLimitsSettings } from '../settings/settings.ts'

/** Audiences whose rules apply to a signed-in client. */
const authAudiences: readonly string[] = ['', '@auth']
const guestAudiences: readonly string[] = ['', '@guest']

/** The audiences of a request; rules of any other one are not looked at. */
export function audiencesOf(isSignedIn: boolean): readonly string[] {
  return isSignedIn ? authAudiences : guestAudiences
}

/** The labels that every request has. */
export function pathLabels(method: string, path: string): string[] {
  return [`${method} ${path}`, path]
}

/**
 * The labels of an action on a collection, followed by those of its path.
 *
 * @param tags what is done, the special name first (`authWithPassword`, `auth`).
 */
export function collectionLabels(collection: string, tags: readonly string[], method: string, path: string): string[] {
  return [...tags.map((tag) => `${collection}:${tag}`), ...tags.map((tag) => `*:${tag}`), ...pathLabels(method, path)]
}

/** The first rule for one of `labels`, in the order of the labels; for each label exact rules go before prefixes. */
export function findRateLimitRule(
  { rules }: RateLimitsSettings,
  labels: readonly string[],
  audiences: readonly string[],
): RateLimitRule | null {
  const candidates = rules.filter((rule) => audiences.includes(rule.audience))
  const prefixes = candidates.filter((rule) => rule.label.endsWith('/'))
  for (const label of labels) {
    const rule =
      candidates.find((each) => each.label === label) ?? prefixes.find((each) => `${label}/`.startsWith(each.label))
    if (rule !== undefined) return rule
  }
  return null
}
