// The JSON of a stored row without making a record of it. Most answers show records as they lie in the table; casting
// every value and walking objects again costs more than reading them. Whatever is unusual in a row takes the long way.

import type { Collection } from '../collections/collection.ts'
import type { SqlValue } from '../db/sql.ts'
import { type Field, isMultiple } from '../fields/field.ts'
import { kindOf } from '../fields/kinds.ts'
import { quoteJson, writeJson } from '../json/json-text.ts'

type Row = Readonly<Record<string, SqlValue>>
type Part = (row: Row, showsEmail: boolean) => string
type Writer = (row: Row, shown: Shown) => string

/** What is shown beside the columns. */
export interface Shown {
  readonly showsEmail: boolean
  /** The text of the member `expand`, or null where there is none. */
  readonly expand: string | null
}

const writers = new WeakMap<Collection, Writer>()
const datePattern = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$/

/** Characters of a list that are compared word by word with all that follow; longer ones are parsed. */
const plainListMax = 2_000
/** A JSON list of words, as PocketBase and we write it: no blanks, no escapes. */
const wordsPattern = /^\[(?:"[\w.-]+"(?:,"[\w.-]+")*)?\]$/

/** Whether a stored list would be shown as it stands: words, none of them twice. */
function isPlainList(text: string): boolean {
  if (text === '[]') return true
  if (text.length > plainListMax || !wordsPattern.test(text)) return false
  let from = 1
  for (;;) {
    const end = text.indexOf(',', from)
    if (end < 0) return true
    // Each word stands between quotes, so that one cannot be found inside another.
    if (text.indexOf(text.slice(from, end), end) >= 0) return false
    from = end + 1
  }
}

/**
 * Text of the collection's exported members, in their order, as `EngineRecord.export` would give it; a part of an answer,
 * see {@link writeJson}.
 */
export function writeRow(collection: Collection, row: Row, shown: Shown): string {
  let writer = writers.get(collection)
  if (writer === undefined) writers.set(collection, (writer = makeWriter(collection)))
  return writer(row, shown)
}

function makeWriter(collection: Collection): Writer {
  const parts: Part[] = []
  /** How many parts stand before the member `expand`; at least one, `collectionId`. */
  let beforeExpand = 0
  for (const key of collection.exportedKeys) {
    if (key < 'expand') beforeExpand = parts.length + 1
    if (collection.isAuth && (key === 'password' || key === 'tokenKey')) continue
    parts.push(partOf(collection, key, parts.length === 0))
  }
  // The one part that may be empty, `email`, is never the first: `collectionId` sorts before it.
  return (row, { showsEmail, expand }) => {
    let text = '{'
    for (let i = 0; i < beforeExpand; i++) text += parts[i]!(row, showsEmail)
    if (expand !== null) text += `,"expand":${expand}`
    for (let i = beforeExpand; i < parts.length; i++) text += parts[i]!(row, showsEmail)
    return `${text}}`
  }
}

/** Each part but the first begins with its comma. */
function partOf(collection: Collection, key: string, isFirst: boolean): Part {
  const start = `${isFirst ? '' : ','}${quoteJson(key)}:`
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
  const slow = (value: SqlValue | undefined) => writeJson(kind.show(field, kind.fromDriver(field, value ?? null)), 0)
  switch (field.type) {
    case 'text':
    case 'editor':
    case 'email':
    case 'url':
      return (value) => (typeof value === 'string' ? quoteJson(value) : slow(value))
    case 'number':
      return (value) => (typeof value === 'number' ? writeJson(value, 0) : slow(value))
    case 'bool':
      return (value) => (value === 0 ? 'false' : value === 1 ? 'true' : slow(value))
    case 'date':
    case 'autodate':
      return (value) => (typeof value === 'string' && datePattern.test(value) ? `"${value}"` : slow(value))
    case 'select':
    case 'relation':
    case 'file':
      if (isMultiple(field)) return (value) => (typeof value === 'string' && isPlainList(value) ? value : slow(value))
      return (value) => (typeof value === 'string' && !value.startsWith('[') ? quoteJson(value) : slow(value))
    default:
      return slow
  }
}
