// The JSON of a stored row without making a record of it. Most answers show records as they lie in the table; casting
// every value and walking objects again costs more than reading them. Whatever is unusual in a row takes the long way.

import type { Collection } from '../collections/collection.ts'
import type { SqlValue } from '../db/sql.ts'
import { type Field, isMultiple } from '../fields/field.ts'
import { kindOf } from '../fields/kinds.ts'
import { quoteJson, toJson } from '../json/json-text.ts'

type Row = Readonly<Record<string, SqlValue>>
type Part = (row: Row, showsEmail: boolean) => string

const writers = new WeakMap<Collection, (row: Row, showsEmail: boolean) => string>()
const datePattern = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$/

/** Text of the collection's exported members, in their order, as `EngineRecord.export` would give it. */
export function writeRow(collection: Collection, row: Row, showsEmail: boolean): string {
  let writer = writers.get(collection)
  if (writer === undefined) writers.set(collection, (writer = makeWriter(collection)))
  return writer(row, showsEmail)
}

function makeWriter(collection: Collection): (row: Row, showsEmail: boolean) => string {
  const parts: Part[] = []
  for (const key of collection.exportedKeys) {
    if (collection.isAuth && (key === 'password' || key === 'tokenKey')) continue
    parts.push(partOf(collection, key))
  }
  return (row, showsEmail) => {
    let text = ''
    for (const part of parts) text += part(row, showsEmail)
    return `{${text.slice(1)}}`
  }
}

/** Each part begins with its comma; the first one is cut off. */
function partOf(collection: Collection, key: string): Part {
  const start = `,${quoteJson(key)}:`
  const field = collection.field(key)
  if (field === undefined) {
    const constant = start + quoteJson(key === 'collectionId' ? collection.id : collection.name)
    return () => constant
  }
  const write = valueWriter(field)
  const { name } = field
  if (collection.isAuth && name === 'email') return (row, showsEmail) => (showsEmail ? start + write(row[name]) : '')
  return (row) => start + write(row[name])
}

function valueWriter(field: Field): (value: SqlValue | undefined) => string {
  const kind = kindOf(field)
  const slow = (value: SqlValue | undefined) => toJson(kind.show(field, kind.fromDriver(field, value ?? null)))
  switch (field.type) {
    case 'text':
    case 'editor':
    case 'email':
    case 'url':
      return (value) => (typeof value === 'string' ? quoteJson(value) : slow(value))
    case 'number':
      return (value) => (typeof value === 'number' ? toJson(value) : slow(value))
    case 'bool':
      return (value) => (value === 0 ? 'false' : value === 1 ? 'true' : slow(value))
    case 'date':
    case 'autodate':
      return (value) => (typeof value === 'string' && datePattern.test(value) ? `"${value}"` : slow(value))
    case 'select':
    case 'relation':
    case 'file':
      if (isMultiple(field)) return (value) => (value === '[]' ? '[]' : slow(value))
      return (value) => (typeof value === 'string' && !value.startsWith('[') ? quoteJson(value) : slow(value))
    default:
      return slow
  }
}
