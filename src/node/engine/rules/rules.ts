// Rules: filters that decide who may do what. null: superusers only; empty: everybody. PocketBase: apis/record_crud.go.

import { SQLiteError } from 'bun:sqlite'
import type { Collection, Rule } from '../collections/collection.ts'
import { ReaderQueryError } from '../db/reader.ts'
import { quoteName, type Row, type SqlValue } from '../db/sql.ts'
import { clientExpressionsMax, FilterCompiler, ruleExpressionsMax } from '../filter/compile.ts'
import { Parameters } from '../filter/operand.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import { EngineRecord } from '../records/record.ts'
import type { RuleHost } from './rule-host.ts'

/** A compiler of rules over one collection, for the time of one statement. */
export function ruleCompiler(
  engine: RuleHost,
  base: Collection,
  request: RuleRequest | null,
  options: { readonly params?: Parameters; readonly baseSource?: string; readonly allowHidden?: boolean } = {},
): FilterCompiler {
  return new FilterCompiler({
    base,
    ...(options.baseSource !== undefined && { baseSource: options.baseSource }),
    request,
    findCollection: (nameOrId) => engine.collections.find(nameOrId),
    params: options.params ?? new Parameters(),
    allowHidden: options.allowHidden ?? true,
    nowMs: engine.clock.now(),
  })
}

/** Whether a query failed by its filter, or by what SQLite says to it: a view may have lost a column. */
export function isFilterFailure(error: unknown): boolean {
  return error instanceof FilterError || error instanceof SQLiteError || error instanceof ReaderQueryError
}

/** Whether everybody passes. */
export function isOpen(rule: Rule): boolean {
  return rule !== null && rule.trim() === ''
}

/**
 * The stored record, when it passes `rule`; null when it does not exist or does not pass.
 * Throws FilterError for a broken rule.
 */
export async function findByRule(
  engine: RuleHost,
  collection: Collection,
  id: string,
  rule: Rule,
  request: RuleRequest,
): Promise<EngineRecord | null> {
  if (rule === null) return null
  if (isOpen(rule)) return await engine.records.find(collection, id)
  const compiler = ruleCompiler(engine, collection, request)
  const condition = compiler.condition(rule, ruleExpressionsMax)
  const table = quoteName(collection.name)
  const sql = `SELECT ${table}.* FROM ${table}${compiler.joinText()} WHERE ${table}.id = ${compiler.params.add(id)} AND ${condition} LIMIT 1`
  const [row] = await engine.data.read<Row>(sql, compiler.params.values)
  return row === undefined ? null : EngineRecord.fromRow(collection, row)
}

/** Which of these stored records pass, by id, in one statement. Throws FilterError for a broken rule. */
export async function idsByRule(
  engine: RuleHost,
  collection: Collection,
  ids: readonly string[],
  rule: string,
  request: RuleRequest,
): Promise<ReadonlySet<string>> {
  const compiler = ruleCompiler(engine, collection, request)
  const condition = compiler.condition(rule, ruleExpressionsMax)
  const table = quoteName(collection.name)
  const list = compiler.params.add(JSON.stringify(ids))
  const sql = `SELECT DISTINCT ${table}.id AS id FROM ${table}${compiler.joinText()} WHERE ${table}.id IN (SELECT value FROM json_each(${list})) AND ${condition}`
  return new Set((await engine.data.read<{ id: string }>(sql, compiler.params.values)).map((row) => row.id))
}

/** Whether a record passes, as it stands in memory: one that is not stored yet, or not any more. */
export async function matchesUnstored(
  engine: RuleHost,
  record: EngineRecord,
  rule: Rule,
  request: RuleRequest,
): Promise<boolean> {
  if (rule === null) return false
  if (isOpen(rule)) return true
  const params = new Parameters()
  const row: Record<string, SqlValue> = record.toRow()
  const columns = Object.entries(row).map(([name, value]) => `${params.add(value)} AS ${quoteName(name)}`)
  const source = '`__pf_record`'
  const compiler = ruleCompiler(engine, record.collection, request, { params, baseSource: source })
  const condition = compiler.condition(rule, ruleExpressionsMax)
  const table = quoteName(record.collection.name)
  const sql = `WITH ${source} AS (SELECT ${columns.join(', ')}) SELECT 1 FROM ${source} AS ${table}${compiler.joinText()} WHERE ${condition} LIMIT 1`
  return (await engine.data.read(sql, params.values)).length > 0
}

/** Whether a stored record passes. Superusers pass every rule. */
export async function passesRule(
  engine: RuleHost,
  record: EngineRecord,
  rule: Rule,
  request: RuleRequest,
): Promise<boolean> {
  if (request.auth?.collection.isSuperusers) return true
  return (await findByRule(engine, record.collection, record.id, rule, request)) !== null
}

/** Whether a stored record matches a filter that a client sent: hidden fields are for superusers. Throws FilterError. */
export async function matchesFilter(
  engine: RuleHost,
  record: EngineRecord,
  filter: string,
  request: RuleRequest,
): Promise<boolean> {
  const { collection } = record
  const compiler = ruleCompiler(engine, collection, request)
  compiler.resolver.allowHidden = false // not even for superusers, in PocketBase
  const conditions = [compiler.condition(filter, clientExpressionsMax), ...compiler.ruleConditions()]
  const table = quoteName(collection.name)
  const sql = `SELECT 1 FROM ${table}${compiler.joinText()} WHERE ${table}.id = ${compiler.params.add(record.id)} AND ${conditions.join(' AND ')} LIMIT 1`
  return (await engine.data.read(sql, compiler.params.values)).length > 0
}
