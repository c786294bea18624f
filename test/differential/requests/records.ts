// Lists, views and writes of records, as JSON.

import type { Generator } from '../generator.ts'
import { type CollectionPlan, type RequestPlan, recordsPerCollection, usersCount } from '../plans.ts'

const pathOf = (plan: CollectionPlan) => `/api/collections/${plan.name}/records`

export function listRecords(generator: Generator): RequestPlan {
  const plan = generator.pick(generator.collections)
  return { method: 'GET', path: pathOf(plan) + generator.query(plan, true), body: null, caller: generator.caller() }
}

export function viewRecord(generator: Generator): RequestPlan {
  const plan = generator.pick(generator.collections)
  const path = `${pathOf(plan)}/${generator.someId(plan)}${generator.query(plan, false)}`
  return { method: 'GET', path, body: null, caller: generator.caller() }
}

/** @param index of the request: no two records get one id. */
export function createRecord(generator: Generator, index: number): RequestPlan {
  const plan = generator.pick(generator.collections)
  const id = `new${String(index).padStart(12, '0')}`
  const auth = generator.chance(60) ? generator.authPart(plan, 1_000 + index) : {}
  const body = { ...generator.values(plan, 60), ...auth, id }
  return { method: 'POST', path: pathOf(plan) + generator.query(plan, false), body, caller: generator.caller() }
}

export function updateRecord(generator: Generator): RequestPlan {
  const plan = generator.pick(generator.collections)
  const body: Record<string, unknown> = generator.values(plan, 25)
  if (generator.chance(40)) Object.assign(body, generator.modifiers(plan))
  const path = `${pathOf(plan)}/${generator.someId(plan)}${generator.query(plan, false)}`
  return { method: 'PATCH', path, body, caller: generator.caller() }
}

export function deleteRecord(generator: Generator): RequestPlan {
  const plan = generator.pick(generator.collections)
  return {
    method: 'DELETE',
    path: `${pathOf(plan)}/${removableId(generator, plan)}`,
    body: null,
    caller: generator.caller(),
  }
}

/** The users that requests speak for stay. */
export function removableId(generator: Generator, plan: CollectionPlan): string {
  const first = plan.idName === 'people' ? usersCount : 0
  return generator.idOf(plan, first + generator.rng.below(recordsPerCollection - first))
}
