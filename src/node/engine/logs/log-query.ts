// Reading the logs: pages, one entry, totals by hour. PocketBase: apis/logs.go, core/log_query.go.

import type { Database } from '../db/database.ts'
import type { Row } from '../db/sql.ts'
import { clientExpressionsMax, compileFilter } from '../filter/compile.ts'
import { Parameters } from '../filter/operand.ts'
import { FilterError } from '../filter/resolver.ts'
import { simpleResolver } from '../filter/simple-resolver.ts'
import { JsonText } from '../json/json-text.ts'

const resolver = simpleResolver(['id', 'created', 'level', 'message', 'data', 'rowid', /^data\.[\w.:]*\w+$/])
const sortKeysMax = 8

export interface LogQuery {
  readonly page: number
  readonly perPage: number
  readonly skipTotal: boolean
  readonly filter: string
  readonly sort: string
}

function shown(row: Row): Record<string, unknown> {
  return {
    id: row['id'],
    created: row['created'],
    data: new JsonText(String(row['data'])),
    message: row['message'],
    level: row['level'],
  }
}

function condition(filter: string, params: Parameters, nowMs: number): string {
  if (filter === '') return ''
  let aliases = 0
  return ` WHERE ${compileFilter(filter, {
    resolver,
    params,
    nowMs,
    expressionsMax: clientExpressionsMax,
    nextAlias: () => `__l${aliases++}`,
  })}`
}

function order(sort: string): string {
  if (sort === '') return ''
  const keys = sort.split(',')
  if (keys.length > sortKeysMax) throw new FilterError(`more than ${sortKeysMax} sort keys`)
  const parts = keys.map((raw) => {
    const key = raw.trim()
    const name = key.replace(/^[+-]/, '')
    const direction = key.startsWith('-') ? 'DESC' : 'ASC'
    if (name === '@random') return 'RANDOM()'
    if (name === '@rowid') return `_rowid_ ${direction}`
    return `${resolver.resolve(name, () => '').sql} ${direction}`
  })
  return ` ORDER BY ${parts.join(', ')}`
}

/** Throws FilterError for a filter or sort that is wrong. */
export async function listLogs(aux: Database, query: LogQuery, nowMs: number): Promise<Record<string, unknown>> {
  const params = new Parameters()
  const where = condition(query.filter, params, nowMs)
  const values = [...params.values]
  const limit = ` LIMIT ?${values.length + 1} OFFSET ?${values.length + 2}`
  const sql = `SELECT * FROM \`_logs\`${where}${order(query.sort)}${limit}`
  const rows = await aux.read<Row>(sql, [...values, query.perPage, (query.page - 1) * query.perPage])
  let totalItems = -1
  if (!query.skipTotal) {
    const counted = await aux.read<{ n: number }>(`SELECT COUNT(*) AS n FROM \`_logs\`${where}`, values)
    totalItems = counted[0]?.n ?? 0
  }
  return {
    items: rows.map(shown),
    page: query.page,
    perPage: query.perPage,
    totalItems,
    totalPages: totalItems < 0 ? -1 : Math.ceil(totalItems / query.perPage),
  }
}

export function findLog(aux: Database, id: string): Record<string, unknown> | null {
  const row = aux.get('SELECT * FROM `_logs` WHERE id = ?', [id])
  return row === null ? null : shown(row)
}

/** Entries per hour, oldest first. Throws FilterError. */
export async function logStats(aux: Database, filter: string, nowMs: number): Promise<Record<string, unknown>[]> {
  const params = new Parameters()
  const where = condition(filter, params, nowMs)
  const hour = "strftime('%Y-%m-%d %H:00:00', created)"
  const sql = `SELECT ${hour} AS date, COUNT(id) AS total FROM \`_logs\`${where} GROUP BY ${hour}`
  const rows = await aux.read<{ date: string | null; total: number }>(sql, [...params.values])
  return rows.map(({ date, total }) => ({ date: date === null ? '' : `${date}.000Z`, total }))
}
