// What a view's SELECT says about its columns: which fields of which collections they are, so that a view shows dates,
// files and relations as their sources do. The parser is loose on purpose: SQLite has the last word on the query.
// PocketBase: core/view.go.

import { lowerAlphanumeric, randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { RefusedError } from '../errors.ts'
import type { Field } from '../fields/field.ts'
import { defaultIdPattern } from '../fields/text.ts'
import type { Collection } from './collection.ts'
import { defaultFieldId, makeField } from './default-fields.ts'

/** Characters of a view query. */
export const viewQueryLengthMax = 100_000

export interface ViewColumn {
  readonly name: string
  /** As SQLite declares it; may be empty. */
  readonly type: string
}

interface Identifier {
  readonly original: string
  readonly alias: string
}

const blanks = [' ', '\t', '\n', '\v', '\f', '\r', '\u0085', '\u00a0']

/** Splits at separators outside quotes and parentheses; empty parts are left out. Throws RefusedError for an open one. */
function tokenize(text: string, separators: readonly string[], keepsSeparator = false): string[] {
  const cut = blanks.filter((blank) => !separators.includes(blank))
  const trim = (token: string) => {
    let from = 0
    let to = token.length
    while (from < to && cut.includes(token[from]!)) from++
    while (to > from && cut.includes(token[to - 1]!)) to--
    return token.slice(from, to)
  }
  const tokens: string[] = []
  let depth = 0
  let quote = ''
  let token = ''
  const push = () => {
    const trimmed = trim(token)
    if (trimmed !== '') tokens.push(trimmed)
    token = ''
  }
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (text[at - 1] !== '\\') {
      if (char === '(' && quote === '') depth++
      else if (char === ')' && depth > 0 && quote === '') depth--
      else if (char === "'" || char === '"' || char === '`') quote = quote === char ? '' : quote === '' ? char : quote
    }
    if (depth === 0 && quote === '' && separators.includes(char)) {
      if (keepsSeparator) token += char
      push()
    } else token += char
  }
  if (depth > 0 || quote !== '') throw new RefusedError(`unbalanced parenthesis or quoted expression: ${token}`)
  push()
  return tokens
}

function withoutSemicolons(text: string): string {
  let from = 0
  let to = text.length
  while (text[from] === ';') from++
  while (to > from && text[to - 1] === ';') to--
  return text.slice(from, to)
}

/** The query without blanks and semicolons around it. Throws RefusedError when it holds several statements. */
export function normalizeViewQuery(query: string): string {
  const trimmed = withoutSemicolons(query.trim())
  if (trimmed.length > viewQueryLengthMax) throw new RefusedError('the query is too long')
  if (tokenize(trimmed, [';']).length > 1) throw new RefusedError('multiple statements are not supported')
  return trimmed
}

const joinWords =
  /\s+(full\s+outer\s+join|left\s+outer\s+join|right\s+outer\s+join|full\s+join|cross\s+join|inner\s+join|outer\s+join|left\s+join|right\s+join|join)\s/gi
const endWords = /\s+(where|group\s+by|having|order|limit|with)\s/gi
/** One that does not end goes to the end of the text, as in SQLite. */
const comments = /\/\*[\s\S]*?(?:\*\/|(?![\s\S]))|--.+$/gm

function parseIdentifiers(query: string): { readonly columns: Identifier[]; readonly tables: Identifier[] } {
  const text = withoutSemicolons(query.trim())
    .replace(comments, ' ')
    .replace(/\s+/g, (blank) => blank[0]!) // the patterns below try every one of them
    .replace(joinWords, ' __pb_join__ ')
    .replace(endWords, ' __pb_discard__ ')
  const parts = { select: '', from: '', join: '' }
  let active: keyof typeof parts | null = null
  let isSkipped = false
  for (const token of tokenize(text, [',', ' ', '\n', '\t'], true)) {
    const word = token.trim().toLowerCase()
    if (word === 'select' || word === 'from') {
      isSkipped = false
      active = word
    } else if (word === '__pb_join__') {
      isSkipped = false
      if (active === 'join') parts.join += ','
      active = 'join'
    } else if (word === '__pb_discard__') isSkipped = true
    else if (word !== 'distinct') {
      if (active === 'join' && word === 'on') isSkipped = true
      if (!isSkipped && active !== null) parts[active] += ` ${token}`
    }
  }
  const identifiers = (list: string) =>
    tokenize(list, [',']).map((part) => toIdentifier(tokenize(part, [' ', '\n', '\t'])))
  return { columns: identifiers(parts.select), tables: [...identifiers(parts.from), ...identifiers(parts.join)] }
}

function toIdentifier(parts: readonly string[]): Identifier {
  const [first = '', second = '', third = ''] = parts
  if (parts.length === 3 && second.toLowerCase() !== 'as')
    throw new RefusedError(`invalid identifier part - expected "as", got ${second}`)
  if (parts.length < 1 || parts.length > 3) throw new RefusedError(`invalid identifier parts [${parts.join(' ')}]`)
  const alias = parts.length === 3 ? third : parts.length === 2 ? second : first.slice(first.lastIndexOf('.') + 1)
  return { original: trimQuotes(first, /^[`"[\];]+|[`"[\];]+$/g), alias: trimQuotes(alias, /^[`"[\];']+|[`"[\];']+$/g) }
}

function trimQuotes(name: string, quotes: RegExp): string {
  return name
    .split('.')
    .map((part) => part.replace(quotes, ''))
    .join('.')
}

const castPattern = /^cast\s*\([\s\S]*\s+as\s+(\w+)\s*\)$/i

export function viewIdField(): Field {
  return makeField('text', 'id', { system: true, required: true, primaryKey: true, pattern: defaultIdPattern })
}

function computedField(name: string): Field {
  return name === 'id' ? viewIdField() : makeField('json', name, { maxSize: 1 })
}

function castField(type: string, name: string): Field | null {
  switch (type.toLowerCase()) {
    case 'real':
    case 'decimal':
    case 'numeric':
      return makeField('number', name)
    case 'int':
    case 'integer':
      return makeField('number', name, { onlyInt: true })
    case 'text':
      return makeField('text', name)
    case 'boolean':
    case 'bool':
      return makeField('bool', name)
    default:
      return null
  }
}

/** Where a column of a view comes from; `field` is null for ids and everything computed. */
export interface ViewSource {
  readonly name: string
  readonly shown: Field
  readonly collection: Collection | null
  readonly field: Field | null
}

/** Every column the query names with its field. Throws RefusedError for wildcards and what cannot be parsed. */
export function viewSources(
  query: string,
  findCollection: (name: string) => Collection | undefined,
  rng: Rng,
): Map<string, ViewSource> {
  const { columns, tables } = parseIdentifiers(query)
  const byAlias = new Map<string, Collection>()
  for (const { original, alias } of tables) {
    const collection = alias.includes('(') ? undefined : findCollection(original)
    if (collection?.name === original) byAlias.set(alias, collection)
  }
  const sources = new Map<string, ViewSource>()
  for (const { original, alias } of columns) {
    if (alias === '*')
      throw new RefusedError(
        'wildcard columns (*) are not supported - manually type the collection field names you want the view query to have',
      )
    sources.set(alias, { name: alias, ...sourceOf(original, alias, tables[0]?.alias ?? '', byAlias, rng) })
  }
  return sources
}

function sourceOf(
  original: string,
  alias: string,
  mainTable: string,
  byAlias: ReadonlyMap<string, Collection>,
  rng: Rng,
): Omit<ViewSource, 'name'> {
  const computed = (shown: Field) => ({ shown, collection: null, field: null })
  if (alias === 'id') return computed(viewIdField())
  const lower = original.toLowerCase()
  if (lower.startsWith('count(')) return computed(makeField('number', alias, { onlyInt: true }))
  if (lower.startsWith('total(')) return computed(makeField('number', alias))
  const castType = castPattern.exec(lower)?.[1]
  const cast = castType === undefined ? null : castField(castType, alias)
  if (cast !== null) return computed(cast)
  const parts = original.split('.')
  const collection = byAlias.get(parts.length === 2 ? parts[0]! : mainTable)
  const fieldName = (parts.length === 2 ? parts[1]! : parts[0]!).toLowerCase()
  const field = collection?.fields.find((each) => each.name.toLowerCase() === fieldName)
  if (collection === undefined || field === undefined) return computed(computedField(alias))
  if (fieldName === 'id') {
    const shown = makeField('relation', alias, { maxSelect: 1, collectionId: collection.id })
    return { shown, collection, field: null }
  }
  // A field may stand in a view twice; a random id keeps the copies apart.
  const shown: Field = { ...field, id: `_clone_${randomText(rng, 4, lowerAlphanumeric)}`, name: alias }
  return { shown, collection, field }
}

/** The columns SQLite finds in a query. Nothing is written: the view lives in the connection's temporary schema. */
export function queryColumns(db: Database, query: string): ViewColumn[] {
  const name = '_pf_view_columns'
  db.all(`DROP VIEW IF EXISTS temp.${name}`)
  db.all(`CREATE TEMP VIEW ${name} AS SELECT * FROM (${query})`)
  try {
    return db.all<Row>(`SELECT name, type FROM pragma_table_info('${name}', 'temp')`).map((row) => ({
      name: String(row['name']),
      type: String(row['type'] ?? ''),
    }))
  } finally {
    db.all(`DROP VIEW IF EXISTS temp.${name}`)
  }
}

/** What a query of a view must have besides SQLite's consent. Throws RefusedError. */
export function assertViewId(fields: readonly Field[]): void {
  if (fields.some((field) => field.name === 'id')) return
  throw new RefusedError("missing required id column (you can use `(ROW_NUMBER() OVER()) as id` if you don't have one)")
}

/** The fields of a view over `query`. Throws RefusedError or SQLite's error when the query is unusable. */
export function viewFields(
  db: Database,
  query: string,
  findCollection: (name: string) => Collection | undefined,
  rng: Rng,
): Field[] {
  const normalized = normalizeViewQuery(query)
  const sources = viewSources(normalized, findCollection, rng)
  const columns = queryColumns(db, normalized)
  const ids = new Set<string>()
  return columns.map(({ name }) => {
    const shown = sources.get(name)?.shown ?? computedField(name)
    const base = shown.id || defaultFieldId(shown.type, name)
    let id = base
    for (let suffix = 2; ids.has(id); suffix++) id = base + suffix
    ids.add(id)
    return { ...shown, id }
  })
}

/** The query with a text id: record ids are text, whatever a computed one is. */
export function withTextId(db: Database, query: string): string {
  const normalized = normalizeViewQuery(query)
  const isText = queryColumns(db, normalized).some(
    (column) => column.name.toLowerCase() === 'id' && column.type.toUpperCase() === 'TEXT',
  )
  if (isText) return normalized
  const columns = parseIdentifiers(normalized).columns.map(({ alias }) =>
    alias === 'id' ? 'CAST(`id` as TEXT) `id`' : quoteName(alias),
  )
  return `SELECT ${columns.join(',')} FROM (${normalized})`
}
