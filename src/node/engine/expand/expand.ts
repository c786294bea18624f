// Expands relations into records, one query per collection and level, each record checked against the view rule of its
// collection. PocketBase: core/record_query_expand.go and the expand part of apis/record_helpers.go.

import type { Collection } from '../collections/collection.ts'
import { findSingleColumnUniqueIndex } from '../collections/index-sql.ts'
import { quoteName, type Row } from '../db/sql.ts'
import type { Engine } from '../engine.ts'
import { isMultiple, type RelationField } from '../fields/field.ts'
import { ruleExpressionsMax } from '../filter/compile.ts'
import { jsonEach } from '../filter/operand.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import { EngineRecord } from '../records/record.ts'
import { ruleCompiler } from '../rules/rules.ts'

/** Levels of one path. */
const depthMax = 6
/** Paths of one parameter. */
const pathsMax = 20
/** Back relations of one record that are expanded. */
const backRelationsMax = 1_000
/** Ids of one statement. */
const idsPerQuery = 500

export interface ExpandOptions {
  readonly request: RuleRequest
  /** Called for every expanded record before it is attached. */
  readonly onRecord: (record: EngineRecord) => void
}

type Tree = Map<string, Tree>

function parseTree(text: string): Tree {
  const root: Tree = new Map()
  for (const path of text.split(',').slice(0, pathsMax)) {
    let node = root
    for (const name of path.trim().split('.').slice(0, depthMax)) {
      if (name === '') break
      let child = node.get(name)
      if (child === undefined) node.set(name, (child = new Map()))
      node = child
    }
  }
  return root
}

/** Attaches what `expand` names to each record; names that lead nowhere, or to nothing visible, are left out. */
export function expandRecords(
  engine: Engine,
  records: readonly EngineRecord[],
  expand: string,
  options: ExpandOptions,
): void {
  expandTree(engine, records, parseTree(expand), options)
}

function expandTree(engine: Engine, records: readonly EngineRecord[], tree: Tree, options: ExpandOptions): void {
  if (tree.size === 0 || records.length === 0) return
  const { collection } = records[0]!
  for (const [name, children] of tree) {
    const field = collection.field(name)
    if (field !== undefined) {
      if (field.type === 'relation' && isVisible(options, field.hidden))
        expandRelation(engine, records, field, children, options)
      continue
    }
    const match = /^(\w+)_via_(\w+)$/.exec(name)
    const other = match === null ? undefined : engine.collections.find(match[1]!)
    const back = other?.field(match![2]!)
    if (
      other !== undefined &&
      back?.type === 'relation' &&
      back.collectionId === collection.id &&
      isVisible(options, back.hidden)
    )
      expandBackRelation(engine, records, name, other, back, children, options)
  }
}

function isVisible({ request }: ExpandOptions, hidden: boolean): boolean {
  return !hidden || (request.auth?.collection.isSuperusers ?? false)
}

function attach(record: EngineRecord, name: string, value: EngineRecord | EngineRecord[]): void {
  record.expand = { ...record.expand, [name]: value }
}

function expandRelation(
  engine: Engine,
  records: readonly EngineRecord[],
  field: RelationField,
  children: Tree,
  options: ExpandOptions,
): void {
  const target = engine.collections.find(field.collectionId)
  if (target === undefined) return
  if (target.data.viewRule === null && !(options.request.auth?.collection.isSuperusers ?? false)) return
  // The member is there even if nothing of it may be seen.
  for (const record of records) record.expand ??= {}
  const ids = [...new Set(records.flatMap((record) => record.texts(field.name)))]
  const found = findVisible(engine, target, ids, options)
  const unique = [...found.values()]
  for (const each of unique) options.onRecord(each)
  expandTree(engine, unique, children, options)
  for (const record of records) {
    const related = record.texts(field.name).flatMap((id) => found.get(id) ?? [])
    if (related.length === 0) continue
    attach(record, field.name, isMultiple(field) ? related : related[0]!)
  }
}

function expandBackRelation(
  engine: Engine,
  records: readonly EngineRecord[],
  name: string,
  other: Collection,
  field: RelationField,
  children: Tree,
  options: ExpandOptions,
): void {
  const isSingle = !isMultiple(field) && findSingleColumnUniqueIndex(other.data.indexes, field.name) !== null
  for (const record of records) {
    const table = quoteName(other.name)
    const own = `${table}.${quoteName(field.name)}`
    const match = (param: string) =>
      isMultiple(field) ? `${param} IN (SELECT value FROM ${jsonEach(own)})` : `${own} = ${param}`
    const related = select(engine, other, options, (add) => match(add(record.id)), isSingle ? 1 : backRelationsMax)
    if (related.length === 0) continue
    for (const each of related) options.onRecord(each)
    expandTree(engine, related, children, options)
    attach(record, name, isSingle ? related[0]! : related)
  }
}

function findVisible(
  engine: Engine,
  target: Collection,
  ids: readonly string[],
  options: ExpandOptions,
): Map<string, EngineRecord> {
  const found = new Map<string, EngineRecord>()
  for (let from = 0; from < ids.length; from += idsPerQuery) {
    const part = ids.slice(from, from + idsPerQuery)
    const where = (add: (value: string) => string) => `${quoteName(target.name)}.id IN (${part.map(add).join(', ')})`
    for (const record of select(engine, target, options, where, part.length)) found.set(record.id, record)
  }
  return found
}

/** Records that the client may view; none where the rule is for superusers, or is broken. */
function select(
  engine: Engine,
  collection: Collection,
  { request }: ExpandOptions,
  where: (add: (value: string) => string) => string,
  limit: number,
): EngineRecord[] {
  const { viewRule } = collection.data
  const isSuperuser = request.auth?.collection.isSuperusers ?? false
  if (viewRule === null && !isSuperuser) return []
  const compiler = ruleCompiler(engine, collection, { ...request, context: 'expand' })
  let rule = ''
  if (!isSuperuser && viewRule !== null && viewRule.trim() !== '') {
    try {
      rule = ` AND ${compiler.condition(viewRule, ruleExpressionsMax)}`
    } catch (error) {
      if (!(error instanceof FilterError)) throw error
      engine.log.warn('view rule is broken', { collection: collection.name, error })
      return []
    }
  }
  const table = quoteName(collection.name)
  const condition = where((value) => compiler.params.add(value))
  const distinct = compiler.hasJoins ? 'DISTINCT ' : ''
  const sql = `SELECT ${distinct}${table}.* FROM ${table}${compiler.joinText()} WHERE ${condition}${rule} LIMIT ${limit}`
  return engine.data.all<Row>(sql, compiler.params.values).map((row) => EngineRecord.fromRow(collection, row))
}
