// Realtime subscriptions that stand while a world runs.

import type { Generator } from '../generator.ts'
import { type SubscriptionPlan, usersCount } from '../plans.ts'

/** One connection for each caller, with a few topics. */
export function makeSubscriptions(generator: Generator): SubscriptionPlan[] {
  return Array.from({ length: 2 + usersCount }, (_, caller) => ({
    caller,
    topics: Array.from({ length: 2 + generator.rng.below(3) }, () => topic(generator)),
  }))
}

function topic(generator: Generator): string {
  const plan = generator.pick(generator.collections)
  const base = generator.pick([
    `${plan.name}/*`,
    `${plan.name}/*`,
    `${plan.id}/*`,
    `${plan.name}/${generator.someId(plan)}`,
    plan.name,
  ])
  if (generator.chance(50)) return base
  const query: Record<string, string> = {}
  if (generator.chance(50)) query['filter'] = generator.filter(plan)
  if (generator.chance(40)) query['expand'] = generator.expandPath(plan)
  if (generator.chance(25)) query['fields'] = generator.pick(['id', '*,expand.*', 'title:excerpt(3)', 'nope'])
  const headers = generator.chance(50) ? { 'X-Test': '1' } : {}
  return `${base}?options=${encodeURIComponent(JSON.stringify({ query, headers }))}`
}
