// `CREATE INDEX` texts, taken apart and built again. PocketBase: tools/dbutils/index.go.

export interface IndexColumn {
  readonly name: string
  readonly collate: string
  readonly sort: string
}

export interface ParsedIndex {
  readonly schema: string
  readonly indexName: string
  readonly tableName: string
  readonly columns: readonly IndexColumn[]
  readonly where: string
  readonly unique: boolean
  readonly ifNotExists: boolean
}

const indexPattern =
  /^\s*create\s+(unique\s+)?\s*index\s*(if\s+not\s+exists\s+)?(\S*)\s+on\s+(\S*)\s*\(([\s\S]*)\)(?:\s*where\s+([\s\S]*))?\s*$/i
const columnPattern = /^([\s\S]+?)(?:\s+collate\s+([\w]+))?(?:\s+(asc|desc))?$/i
const quotes = /^[\s"'`[\]{}]+|[\s"'`[\]{}]+$/g

/** No name has so many blanks and quotes beside it; the patterns above would try each of them with each other. */
const longRun = /[\s"'`[\]{}]{100}/

/** Splits at commas outside parentheses and quotes. */
function splitColumns(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let quote = ''
  let from = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (quote !== '') {
      if (char === quote) quote = ''
    } else if (char === "'" || char === '"' || char === '`') quote = char
    else if (char === '(') depth++
    else if (char === ')') depth--
    else if (char === ',' && depth === 0) {
      parts.push(text.slice(from, at))
      from = at + 1
    }
  }
  parts.push(text.slice(from))
  return parts.map((part) => part.trim()).filter((part) => part !== '')
}

/** What can be read of an index text; parts that are missing are empty, and so is what nobody writes. */
export function parseIndex(text: string): ParsedIndex {
  const match = longRun.test(text) ? null : indexPattern.exec(text)
  const empty = { schema: '', indexName: '', tableName: '', columns: [], where: '', unique: false, ifNotExists: false }
  if (match === null) return empty
  const [schemaOrName = '', name] = match[3]!.split('.', 2)
  const columns = splitColumns(match[5]!).flatMap((each) => {
    const column = columnPattern.exec(each)
    if (column === null) return []
    return [
      { name: column[1]!.trim().replace(quotes, ''), collate: column[2] ?? '', sort: (column[3] ?? '').toUpperCase() },
    ]
  })
  return {
    schema: name === undefined ? '' : schemaOrName.replace(quotes, ''),
    indexName: (name ?? schemaOrName).replace(quotes, ''),
    tableName: match[4]!.replace(quotes, ''),
    columns,
    where: (match[6] ?? '').trim(),
    unique: match[1] !== undefined,
    ifNotExists: match[2] !== undefined,
  }
}

export function isValidIndex(index: ParsedIndex): boolean {
  return index.indexName !== '' && index.tableName !== '' && index.columns.length > 0
}

/** The text again, names quoted; empty when a part is missing. */
export function buildIndex(index: ParsedIndex): string {
  if (!isValidIndex(index)) return ''
  const columns = index.columns.map(({ name, collate, sort }) => {
    const isExpression = /[(\s]/.test(name)
    return (isExpression ? name : `\`${name}\``) + (collate && ` COLLATE ${collate}`) + (sort && ` ${sort}`)
  })
  const list = columns.length > 1 ? `(\n  ${columns.join(',\n  ')}\n)` : `(${columns[0]})`
  const schema = index.schema && `\`${index.schema}\`.`
  return (
    `CREATE ${index.unique ? 'UNIQUE ' : ''}INDEX ${index.ifNotExists ? 'IF NOT EXISTS ' : ''}` +
    `${schema}\`${index.indexName}\` ON \`${index.tableName}\` ${list}${index.where && ` WHERE ${index.where}`}`
  )
}

/** The unique index over exactly this column, if there is one. */
export function findSingleColumnUniqueIndex(indexes: readonly string[], column: string): ParsedIndex | null {
  for (const text of indexes) {
    const index = parseIndex(text)
    if (index.unique && index.columns.length === 1 && index.columns[0]!.name.toLowerCase() === column.toLowerCase())
      return index
  }
  return null
}
