// Expands relations into records, one query per collection and level, each record checked against the view rule of its
// collection. PocketBase: core/record_query_expand.go and the expand part of apis/record_helpers.go.

import { AppError } from '../../../lib/errors.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Collection } from '../collections/collection.ts'
import { findSingleColumnUniqueIndex } from '../collections/index-sql.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { isMultiple, type RelationField } from '../fields/field.ts'
import { ruleExpressionsMax } from '../filter/compile.ts'
import { jsonEach } from '../filter/operand.ts'
import type { RuleRequest } from '../filter/resolver.ts'
import { EngineRecord } from '../records/record.ts'
import type { RuleHost } from '../rules/rule-host.ts'
import { isFilterFailure, ruleCompiler } from '../rules/rules.ts'

/** Levels of one path; what is deeper is not looked at. */
const depthMax = 6
/** Paths of one parameter. */
const pathsMax = 200
/** Back relations of one record that are expanded. */
const backRelationsMax = 1_000
/** Ids of one statement; SQLite takes 32,766 parameters, and plans long lists slowly. */
const idsPerQuery = 1_000

export interface ExpandOptions {
  readonly request: RuleRequest
  /** Called with the records of each relation before they are attached. */
  readonly onRecords: (records: readonly EngineRecord[]) => MaybePromise<void>
}

/** The path leads nowhere, or to what the client may not view: nothing of it is attached. */
class ExpandError extends AppError {
  readonly code = 'expand'
}

/**
 * Attaches what `expand` names to each record. The records are of one collection. A path that leads nowhere, or to
 * nothing visible, is left out as a whole.
 */
export async function expandRecords(
  engine: RuleHost,
  records: readonly EngineRecord[],
  expand: string,
  options: ExpandOptions,
): Promise<void> {
  const request: RuleRequest = { ...options.request, context: 'expand' }
  const attached: Attached = new Map()
  for (const path of normalizePaths(expand)) {
    try {
      await expandPath(engine, records, path.split('.'), { ...options, request, attached })
    } catch (error) {
      if (!(error instanceof ExpandError) && !isFilterFailure(error)) throw error
      engine.log.debug('relation not expanded', { path, error })
    }
  }
}

/** Paths without blanks; those that a longer one contains are dropped. */
function normalizePaths(expand: string): string[] {
  const paths = expand
    .split(',')
    .map((path) => path.replaceAll(' ', '').replace(/^\.+|\.+$/g, ''))
    .filter((path) => path !== '')
    .slice(0, pathsMax)
  const needed = paths.filter((path) => !paths.some((other) => other.startsWith(`${path}.`)))
  return [...new Set(needed)]
}

/** What stands below each beginning of a path by now: `a.b` and `a.c` share the records of `a`. */
type Attached = Map<string, readonly EngineRecord[]>

interface PathOptions extends ExpandOptions {
  readonly attached: Attached
}

interface Relation {
  readonly name: string
  readonly target: Collection
  readonly isMultiple: boolean
  readonly idsOf: (record: EngineRecord) => readonly string[]
}

async function expandPath(
  engine: RuleHost,
  records: readonly EngineRecord[],
  path: readonly string[],
  options: PathOptions,
  depth = 1,
): Promise<void> {
  const name = path[depth - 1]
  if (name === undefined || depth > depthMax || records.length === 0) return
  const beginning = path.slice(0, depth).join('.')
  const before = options.attached.get(beginning)
  if (before !== undefined) return expandPath(engine, before, path, options, depth + 1)
  const relation = await relationOf(engine, records, name)
  const idsOf = records.map((record) => relation.idsOf(record))
  const found = await findVisible(engine, relation.target, [...new Set(idsOf.flat())], options)
  const related = [...found.values()]
  const shown = options.onRecords(related)
  if (shown !== undefined) await shown
  await expandPath(engine, related, path, options, depth + 1)
  for (const [at, record] of records.entries()) {
    record.expand ??= {}
    const valid = idsOf[at]!.flatMap((id) => found.get(id) ?? [])
    if (valid.length === 0) continue
    mergeExpanded(record.expand[name], valid)
    record.expand = { ...record.expand, [name]: relation.isMultiple ? valid : valid[0]! }
  }
  options.attached.set(beginning, related)
}

/** Keeps what an earlier path attached below the same relation. */
function mergeExpanded(before: EngineRecord | EngineRecord[] | undefined, valid: readonly EngineRecord[]): void {
  const old = before === undefined ? [] : Array.isArray(before) ? before : [before]
  for (const earlier of old) {
    if (earlier.expand === null) continue
    for (const record of valid)
      if (record.id === earlier.id) {
        record.expand ??= {}
        for (const [key, value] of Object.entries(earlier.expand)) {
          const present = record.expand[key]
          if (present === undefined) record.expand[key] = value
          else mergeExpanded(value, Array.isArray(present) ? present : [present])
        }
      }
  }
}

async function relationOf(engine: RuleHost, records: readonly EngineRecord[], name: string): Promise<Relation> {
  const { collection } = records[0]!
  // `posts(author)` is how PocketBase once wrote `posts_via_author`.
  const match = name.includes('(') ? /^(\w+)\((\w+)\)$/.exec(name) : /^(\w+)_via_(\w+)$/.exec(name)
  if (match === null) {
    const field = collection.field(name)
    if (field?.type !== 'relation') throw new ExpandError(`${collection.name} has no relation ${name}`)
    const target = engine.collections.find(field.collectionId)
    if (target === undefined) throw new ExpandError(`the collection of ${name} is missing`)
    return { name, target, isMultiple: isMultiple(field), idsOf: (record) => record.texts(name) }
  }
  const target = engine.collections.find(match[1]!)
  const field = target?.field(match[2]!)
  if (target === undefined || field?.type !== 'relation' || field.collectionId !== collection.id)
    throw new ExpandError(`${name} is no relation to ${collection.name}`)
  const ids = await backRelations(engine, target, field, [...new Set(records.map((record) => record.id))])
  const isUnique = findSingleColumnUniqueIndex(target.data.indexes, field.name) !== null
  return { name, target, isMultiple: !isUnique, idsOf: (record) => ids.get(record.id) ?? [] }
}

/**
 * Ids of records that refer to each of `ids`, at most {@link backRelationsMax} for each. One statement for all of them:
 * where the field has no index, every statement goes over the whole table.
 */
async function backRelations(
  engine: RuleHost,
  target: Collection,
  field: RelationField,
  ids: readonly string[],
): Promise<Map<string, string[]>> {
  const table = quoteName(target.name)
  const column = `${table}.${quoteName(field.name)}`
  const [from, value] = isMultiple(field) ? [`${table}, ${jsonEach(column)} je`, 'je.value'] : [table, column]
  const found = new Map<string, Set<string>>(ids.map((id) => [id, new Set()]))
  for (let start = 0; start < ids.length; start += idsPerQuery) {
    const part = ids.slice(start, start + idsPerQuery)
    const limit = backRelationsMax * part.length + 1
    const select = `SELECT ${table}.id AS id, ${value} AS refersTo FROM ${from} WHERE ${value}`
    const rows = await engine.data.read<{ id: string; refersTo: string }>(
      `${select} IN (${part.map(() => '?').join(', ')}) LIMIT ${limit}`,
      part,
    )
    if (rows.length < limit) {
      for (const { id, refersTo } of rows) addUpTo(backRelationsMax, found.get(refersTo), id)
      continue
    }
    // A few have so many that they could hide the others': each one apart.
    for (const each of part)
      for (const { id } of await engine.data.read<{ id: string }>(`${select} = ? LIMIT ${backRelationsMax}`, [each]))
        addUpTo(backRelationsMax, found.get(each), id)
  }
  return new Map([...found].map(([id, referring]) => [id, [...referring]]))
}

function addUpTo(max: number, set: Set<string> | undefined, value: string): void {
  if (set !== undefined && set.size < max) set.add(value)
}

/** Records that the client may view. Throws ExpandError where the rule is for superusers, FilterError for a broken one. */
async function findVisible(
  engine: RuleHost,
  target: Collection,
  ids: readonly string[],
  { request }: ExpandOptions,
): Promise<Map<string, EngineRecord>> {
  const { viewRule } = target.data
  const isSuperuser = request.auth?.collection.isSuperusers ?? false
  if (viewRule === null && !isSuperuser) throw new ExpandError(`only superusers may view ${target.name}`)
  const found = new Map<string, EngineRecord>()
  const table = quoteName(target.name)
  for (let from = 0; from < Math.max(1, ids.length); from += idsPerQuery) {
    const compiler = ruleCompiler(engine, target, request)
    const rule = isSuperuser || viewRule === '' ? '' : ` AND ${compiler.condition(viewRule!, ruleExpressionsMax)}`
    const part = ids.slice(from, from + idsPerQuery).map((id) => compiler.params.add(id))
    if (part.length === 0) break
    const distinct = compiler.hasJoins ? 'DISTINCT ' : ''
    const sql = `SELECT ${distinct}${table}.* FROM ${table}${compiler.joinText()} WHERE ${table}.id IN (${part.join(', ')})${rule}`
    for (const row of await engine.data.read<Row>(sql, compiler.params.values)) {
      const record = EngineRecord.fromRow(target, row)
      found.set(record.id, record)
    }
  }
  return found
}
