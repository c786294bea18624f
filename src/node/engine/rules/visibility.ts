// What of a record its reader may see beyond the public fields.

import type { MaybePromise } from '../../../lib/result.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import type { EngineRecord } from '../records/record.ts'
import type { RuleHost } from './rule-host.ts'
import { findByRule } from './rules.ts'

/** Superusers see everything; one's own e-mail and that of records one manages is shown whatever its visibility. */
export function showTo(engine: RuleHost, record: EngineRecord, request: RuleRequest): MaybePromise<void> {
  const { auth } = request
  if (auth?.collection.isSuperusers) {
    record.ignoreEmailVisibility = true
    const { isAuth } = record.collection
    const hidden = record.collection.fields.filter(
      (field) => field.hidden && !(isAuth && (field.name === 'password' || field.name === 'tokenKey')),
    )
    record.visibility = hidden.length === 0 ? null : Object.fromEntries(hidden.map((field) => [field.name, true]))
    return
  }
  if (!record.collection.isAuth) return
  if (auth !== null && auth.id === record.id && auth.collection.id === record.collection.id) {
    record.ignoreEmailVisibility = true
    return
  }
  const manageRule = record.collection.auth.manageRule
  if (manageRule === null || manageRule === '' || record.bool('emailVisibility')) return
  return showToManager(engine, record, manageRule, request)
}

async function showToManager(
  engine: RuleHost,
  record: EngineRecord,
  manageRule: string,
  request: RuleRequest,
): Promise<void> {
  try {
    const managed = await findByRule(engine, record.collection, record.id, manageRule, request)
    record.ignoreEmailVisibility = managed !== null
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    engine.log.warn('manage rule is broken', { collection: record.collection.name, error })
  }
}
