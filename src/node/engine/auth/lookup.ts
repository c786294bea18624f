// Finding auth records. Case matters unless the collection's own unique index says that it does not.

import type { Collection } from '../collections/collection.ts'
import { findSingleColumnUniqueIndex, type ParsedIndex } from '../collections/index-sql.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { EngineRecord } from '../records/record.ts'
import type { AuthHost } from './auth-host.ts'

/** The record with this address, or null. */
export function findByEmail({ data }: AuthHost, collection: Collection, email: string): EngineRecord | null {
  const index = findSingleColumnUniqueIndex(collection.data.indexes, 'email')
  return findByText(data, collection, 'email', email, index)
}

/**
 * The record that one of the collection's identity fields names, or null. Only fields with a unique index of their own
 * can name anybody, whatever the options say.
 */
export function findByIdentity(
  { data }: AuthHost,
  collection: Collection,
  field: string,
  value: string,
): EngineRecord | null {
  if (!collection.auth.passwordAuth.identityFields.includes(field) || collection.field(field) === undefined) return null
  const index = findSingleColumnUniqueIndex(collection.data.indexes, field)
  return index === null ? null : findByText(data, collection, field, value, index)
}

/** Whether another record has `value` in a field that must be unique; false where it need not be. */
export function isTaken({ data }: AuthHost, collection: Collection, field: string, value: string): boolean {
  const index = findSingleColumnUniqueIndex(collection.data.indexes, field)
  return index !== null && findByText(data, collection, field, value, index) !== null
}

function findByText(
  data: AuthHost['data'],
  collection: Collection,
  field: string,
  value: string,
  index: ParsedIndex | null,
): EngineRecord | null {
  const collate = index?.columns[0]?.collate.toLowerCase() === 'nocase' ? ' COLLATE NOCASE' : ''
  // SQLite uses an index over non-empty values only where the query says that it wants no others.
  const isPartial = index !== null && notEmptyPattern.test(index.where) && value !== ''
  const match = `${quoteName(field)} = ?${collate}${isPartial ? ` AND ${quoteName(field)} != ''` : ''}`
  const row = data.get<Row>(`SELECT * FROM ${quoteName(collection.name)} WHERE ${match} LIMIT 1`, [value])
  return row === null ? null : EngineRecord.fromRow(collection, row)
}

/** The condition of PocketBase's own indexes over optional texts. */
const notEmptyPattern = /^[`"[]?\w+[`"\]]?\s*(?:!=|<>)\s*''$/
