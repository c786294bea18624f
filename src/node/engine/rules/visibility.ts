// What of a record its reader may see beyond the public fields.

import type { MaybePromise } from '../../../lib/result.ts'
import type { Collection } from '../collections/collection.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import type { EngineRecord } from '../records/record.ts'
import type { RuleHost } from './rule-host.ts'
import { idsByRule } from './rules.ts'

/** Superusers see everything; one's own e-mail and that of records one manages is shown whatever its visibility. */
export function showTo(engine: RuleHost, record: EngineRecord, request: RuleRequest): MaybePromise<void> {
  if (!showPlainly(record, request)) return showToManager(engine, record.collection, [record], request)
}

/** The same for many: the manage rule of each collection is asked once. */
export function showAllTo(
  engine: RuleHost,
  records: readonly EngineRecord[],
  request: RuleRequest,
): MaybePromise<void> {
  const left = records.filter((record) => !showPlainly(record, request))
  if (left.length === 0) return
  const groups = Map.groupBy(left, (record) => record.collection)
  return Promise.all([...groups].map(([collection, group]) => showToManager(engine, collection, group, request))).then(
    () => {},
  )
}

/** @returns false where the manage rule must be asked. */
function showPlainly(record: EngineRecord, { auth }: RuleRequest): boolean {
  const { collection } = record
  if (auth?.collection.isSuperusers) {
    record.ignoreEmailVisibility = true
    const { isAuth } = collection
    const hidden = collection.fields.filter(
      (field) => field.hidden && !(isAuth && (field.name === 'password' || field.name === 'tokenKey')),
    )
    record.visibility = hidden.length === 0 ? null : Object.fromEntries(hidden.map((field) => [field.name, true]))
    return true
  }
  if (!collection.isAuth) return true
  if (auth !== null && auth.id === record.id && auth.collection.id === collection.id) {
    record.ignoreEmailVisibility = true
    return true
  }
  const { manageRule } = collection.auth
  return manageRule === null || manageRule === '' || record.bool('emailVisibility')
}

async function showToManager(
  engine: RuleHost,
  collection: Collection,
  records: readonly EngineRecord[],
  request: RuleRequest,
): Promise<void> {
  try {
    const ids = records.map(({ id }) => id)
    const managed = await idsByRule(engine, collection, ids, collection.auth.manageRule!, request)
    for (const record of records) record.ignoreEmailVisibility = managed.has(record.id)
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    engine.log.warn('manage rule is broken', { collection: collection.name, error })
  }
}
