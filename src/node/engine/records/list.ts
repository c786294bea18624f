// A page of records: rule, filter, sort and totals in two statements. PocketBase: tools/search/provider.go.

import type { Collection } from '../collections/collection.ts'
import { quoteName, type Row, type SqlParams } from '../db/sql.ts'
import type { Engine } from '../engine.ts'
import { clientExpressionsMax, clientFilterBytesMax, ruleExpressionsMax } from '../filter/compile.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import { ruleCompiler } from '../rules/rules.ts'
import { EngineRecord } from './record.ts'
import { total } from './totals.ts'

export const perPageDefault = 30
export const perPageMax = 1_000
/** Keys of one sort. */
const sortKeysMax = 8
/** Bytes of one key. */
const sortLengthMax = 255

export interface ListQuery {
  readonly page: number
  readonly perPage: number
  readonly skipTotal: boolean
  readonly filter: string
  readonly sort: string
}

/** Members in the order of an answer. */
export interface RecordPage {
  readonly items: EngineRecord[]
  readonly page: number
  readonly perPage: number
  /** -1 where totals were not asked for. */
  readonly totalItems: number
  readonly totalPages: number
}

/** `-created,@random` as [key, direction] pairs. Throws FilterError. */
function parseSort(text: string): (readonly [key: string, direction: 'ASC' | 'DESC'])[] {
  if (text === '') return []
  const keys = text.split(',')
  if (keys.length > sortKeysMax) throw new FilterError(`more than ${sortKeysMax} sort keys`)
  return keys.map((each) => {
    const key = each.trim()
    if (Buffer.byteLength(key) > sortLengthMax + 1) throw new FilterError('a sort key is too long')
    if (key.startsWith('-')) return [key.slice(1), 'DESC'] as const
    return [key.startsWith('+') ? key.slice(1) : key, 'ASC'] as const
  })
}

/** A page before anything is read: what it asks of the database. */
export interface PagePlan {
  readonly collection: Collection
  readonly page: number
  readonly perPage: number
  /** Null where totals were not asked for. */
  readonly countSql: string | null
  readonly countParams: SqlParams
  readonly rowsSql: string
  readonly rowsParams: SqlParams
}

/** Throws FilterError for a filter or sort that is wrong or not allowed, and for a broken list rule. */
export function planPage(engine: Engine, collection: Collection, query: ListQuery, request: RuleRequest): PagePlan {
  const isSuperuser = request.auth?.collection.isSuperusers ?? false
  const compiler = ruleCompiler(engine, collection, request)
  const conditions: string[] = []
  const { listRule } = collection.data
  if (!isSuperuser && listRule !== null && listRule.trim() !== '')
    conditions.push(compiler.condition(listRule, ruleExpressionsMax))
  compiler.resolver.allowHidden = isSuperuser
  if (Buffer.byteLength(query.filter) > clientFilterBytesMax) throw new FilterError('the filter is too long')
  if (query.filter !== '') conditions.push(compiler.condition(query.filter, clientExpressionsMax))
  const table = quoteName(collection.name)
  const order = parseSort(query.sort).map(([key, direction]) => {
    if (key === '@random') return 'RANDOM()'
    if (key === '@rowid') {
      if (collection.isView) throw new FilterError('views have no @rowid')
      return `${table}.\`_rowid_\` ${direction}`
    }
    return `${compiler.sortColumn(key)} ${direction}`
  })
  conditions.push(...compiler.ruleConditions())
  const where = conditions.length > 0 ? ` WHERE ${conditions.join(' AND ')}` : ''
  const from = `${table}${compiler.joinText()}${where}`
  const params = [...compiler.params.values]
  const column = collection.isView ? `${table}.id` : `${table}.\`_rowid_\``
  // The rows of a table are distinct without a join; those of a view need not be.
  const count = compiler.hasJoins || collection.isView ? `COUNT(DISTINCT ${column})` : 'COUNT(*)'
  const page = Math.max(1, query.page)
  // Past any table, and still a whole number to SQLite.
  const offset = Math.min((page - 1) * query.perPage, Number.MAX_SAFE_INTEGER)
  const orderText = order.length > 0 ? ` ORDER BY ${order.join(', ')}` : ''
  const distinct = compiler.hasJoins ? 'DISTINCT ' : ''
  const limit = ` LIMIT ?${params.length + 1} OFFSET ?${params.length + 2}`
  return {
    collection,
    page,
    perPage: query.perPage,
    countSql: query.skipTotal ? null : `SELECT ${count} AS n FROM ${from}`,
    countParams: params,
    rowsSql: `SELECT ${distinct}${table}.* FROM ${from}${orderText}${limit}`,
    rowsParams: [...params, query.perPage, offset],
  }
}

export async function readPage(engine: Engine, plan: PagePlan): Promise<RecordPage> {
  const { collection, page, perPage, countSql, countParams, rowsSql, rowsParams } = plan
  const totalItems = countSql === null ? -1 : await total(engine, countSql, countParams)
  const rows = await engine.data.read<Row>(rowsSql, rowsParams)
  return {
    items: rows.map((row) => EngineRecord.fromRow(collection, row)),
    page,
    perPage,
    totalItems,
    totalPages: totalItems < 0 ? -1 : Math.ceil(totalItems / perPage),
  }
}
