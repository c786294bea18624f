// Keeps a records table what its collection says: columns, renames, single against multiple values, indexes.
// PocketBase: core/collection_record_table_sync.go.

import { SQLiteError } from 'bun:sqlite'
import type { Database } from '../db/database.ts'
import { driverMessage } from '../db/driver-words.ts'
import { quoteName } from '../db/sql.ts'
import { RefusedError, ValidationFailed } from '../errors.ts'
import { type Field, isMultiple } from '../fields/field.ts'
import { kindOf } from '../fields/kinds.ts'
import type { ValidationErrors } from '../settings/checks.ts'
import type { CollectionData } from './collection.ts'
import { buildIndex, isValidIndex, parseIndex } from './index-sql.ts'

function columnDefinition(field: Field): string {
  return `${quoteName(field.name)} ${kindOf(field).columnType(field)}`
}

function hasTable(db: Database, name: string): boolean {
  return (
    db.get("SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(?)", [name]) !== null
  )
}

/** Brings the table of `next` in line; the caller holds a transaction. Views have no table. */
export function syncTable(
  db: Database,
  next: CollectionData,
  old: CollectionData | null,
  temporaryName: () => string,
): void {
  if (next.type === 'view') return
  if (old === null || !hasTable(db, old.name)) {
    const columns = [...next.fields].sort((a, b) => (a.name < b.name ? -1 : 1)).map(columnDefinition)
    db.exec(`CREATE TABLE ${quoteName(next.name)} (${columns.join(', ')})`)
    createIndexes(db, next)
    return
  }
  const isRenamed = old.name.toLowerCase() !== next.name.toLowerCase()
  const needsIndexes =
    isRenamed ||
    JSON.stringify(old.fields) !== JSON.stringify(next.fields) ||
    JSON.stringify(old.indexes) !== JSON.stringify(next.indexes)
  if (needsIndexes) dropIndexes(db, old)
  if (isRenamed) db.exec(`ALTER TABLE ${quoteName(old.name)} RENAME TO ${quoteName(next.name)}`)
  const table = quoteName(next.name)
  for (const field of old.fields) {
    if (next.fields.some((each) => each.id === field.id)) continue
    alter(db, `ALTER TABLE ${table} DROP COLUMN ${quoteName(field.name)}`, `failed to drop column ${field.name}`)
  }
  // Two steps, so that two fields may swap their names.
  const renames: [from: string, to: string][] = []
  for (const field of next.fields) {
    const before = old.fields.find((each) => each.id === field.id)
    if (before !== undefined && before.name === field.name) continue
    const temporary = field.name + temporaryName()
    renames.push([temporary, field.name])
    const [change, failure] =
      before === undefined
        ? [
            `ADD COLUMN ${quoteName(temporary)} ${kindOf(field).columnType(field)}`,
            `failed to add column ${field.name}`,
          ]
        : [
            `RENAME COLUMN ${quoteName(before.name)} TO ${quoteName(temporary)}`,
            `failed to rename column ${before.name}`,
          ]
    alter(db, `ALTER TABLE ${table} ${change}`, failure)
  }
  for (const [from, to] of renames) db.exec(`ALTER TABLE ${table} RENAME COLUMN ${quoteName(from)} TO ${quoteName(to)}`)
  convertMultiplicity(db, next, old, temporaryName)
  if (needsIndexes) createIndexes(db, next)
}

/** Runs a statement; a refusal of SQLite says what was tried. */
function alter(db: Database, sql: string, failure: string): void {
  try {
    db.exec(sql)
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error
    throw new RefusedError(`${failure} - ${driverMessage(error)}`, { cause: error })
  }
}

/** Rewrites columns whose field now holds several values instead of one, or the reverse. */
function convertMultiplicity(
  db: Database,
  next: CollectionData,
  old: CollectionData,
  temporaryName: () => string,
): void {
  for (const field of next.fields) {
    const before = old.fields.find((each) => each.id === field.id)
    const wasMultiple = before !== undefined && isMultiple(before)
    if (wasMultiple === isMultiple(field) || before === undefined) continue
    withoutViews(db, () => {
      const table = quoteName(next.name)
      const column = quoteName(field.name)
      const temporary = quoteName(`_${field.name}${temporaryName()}`)
      db.exec(`ALTER TABLE ${table} RENAME COLUMN ${column} TO ${temporary}`)
      db.exec(`ALTER TABLE ${table} ADD COLUMN ${columnDefinition(field)}`)
      const isList = `json_valid(${temporary}) AND json_type(${temporary}) = 'array'`
      const value = wasMultiple
        ? `CASE WHEN coalesce(${temporary}, '[]') = '[]' THEN ''
             WHEN ${isList} THEN coalesce(json_extract(${temporary}, '$[#-1]'), '') ELSE ${temporary} END`
        : `CASE WHEN coalesce(${temporary}, '') = '' THEN '[]'
             WHEN ${isList} THEN ${temporary} ELSE json_array(${temporary}) END`
      db.exec(`UPDATE ${table} SET ${column} = (${value})`)
      db.exec(`ALTER TABLE ${table} DROP COLUMN ${temporary}`)
    })
  }
}

/** SQLite checks all views when a column is renamed; they are dropped meanwhile and made again as they were. */
function withoutViews(db: Database, body: () => void): void {
  const views = db.all<{ name: string; sql: string }>(
    "SELECT name, sql FROM sqlite_schema WHERE type = 'view' AND sql IS NOT NULL",
  )
  for (const { name } of views) db.exec(`DROP VIEW IF EXISTS ${quoteName(name)}`)
  body()
  for (const { sql } of views) db.exec(sql)
}

export function dropIndexes(db: Database, collection: CollectionData): void {
  for (const text of collection.indexes) {
    const { indexName } = parseIndex(text)
    if (indexName !== '') db.exec(`DROP INDEX IF EXISTS ${quoteName(indexName)}`)
  }
}

/** Throws ValidationFailed that names each index SQLite refuses. */
export function createIndexes(db: Database, collection: CollectionData): void {
  const errors: Record<string, ValidationErrors[string]> = {}
  for (const [position, text] of collection.indexes.entries()) {
    const index = { ...parseIndex(text), tableName: collection.name }
    const code = 'validation_invalid_index_expression'
    if (!isValidIndex(index)) {
      errors[position] = { code, message: 'Invalid CREATE INDEX expression.' }
      continue
    }
    try {
      db.exec(buildIndex(index))
    } catch (error) {
      errors[position] = { code, message: `Failed to create index ${index.indexName} - ${driverMessage(error)}.` }
    }
  }
  if (Object.keys(errors).length > 0) throw new ValidationFailed({ indexes: errors })
}
