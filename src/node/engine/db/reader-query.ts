// What a reader process is asked and answers, and how it runs one question: on a connection that cannot write.

import type { Database as Sqlite, Statement } from 'bun:sqlite'
import type { SqlParams, SqlValue } from './sql.ts'

export interface ReaderQuery {
  readonly path: string
  readonly sql: string
  readonly params: readonly WireValue[]
  /** Rows after which the statement is ended; null: all of them, for statements with a LIMIT of their own. */
  readonly rowsMax: number | null
  /** Of all values together. */
  readonly bytesMax: number
  /**
   * What a person typed: on a connection of its own, as BEGIN or PRAGMA change its state, and of several statements the
   * last one answers.
   */
  readonly isApart: boolean
}

export interface CheckpointResult {
  readonly busy: boolean
  /** Frames in the WAL, and how many of them are in the database file now. */
  readonly logFrames: number
  readonly checkpointedFrames: number
}

/** @param row what `PRAGMA wal_checkpoint` gives. */
export function checkpointResult(row: unknown): CheckpointResult {
  const { busy, log, checkpointed } = row as Readonly<Record<string, number>>
  return { busy: busy !== 0, logFrames: log ?? 0, checkpointedFrames: checkpointed ?? 0 }
}

export interface ReaderColumn {
  readonly name: string
  readonly type: string
  readonly nullable: boolean
}

export interface ReaderRows {
  readonly columns: readonly ReaderColumn[]
  readonly rows: readonly (readonly WireValue[])[]
  /** Of the statement alone. */
  readonly tookMs: number
}

/** A value of SQLite in JSON. `b`: a blob in base64; `n`: a number that JSON has no text for; `i`: a large integer. */
export type WireValue =
  | string
  | number
  | null
  | { readonly b: string }
  | { readonly n: string }
  | { readonly i: string }

export function toWire(value: SqlValue): WireValue {
  switch (typeof value) {
    case 'string':
      return value
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { n: Object.is(value, -0) ? '-0' : String(value) }
    case 'boolean':
      return value ? 1 : 0
    case 'bigint':
      return { i: String(value) }
    default:
      return value === null ? null : { b: Buffer.from(value).toString('base64') }
  }
}

export function fromWire(value: WireValue): SqlValue {
  if (typeof value !== 'object' || value === null) return value
  if ('b' in value) return new Uint8Array(Buffer.from(value.b, 'base64'))
  return 'n' in value ? Number(value.n) : BigInt(value.i)
}

/** The answer is larger than its reader may hold. */
export class AnswerTooLargeError extends Error {}

/** Throws what SQLite says, and AnswerTooLargeError. */
export function runReaderQuery(sqlite: Sqlite, query: ReaderQuery, nowMs: () => number): ReaderRows {
  const startedMs = nowMs()
  const sql = query.isApart ? runAllButLast(sqlite, query) : query.sql
  if (sql === null) return { columns: [], rows: [], tookMs: nowMs() - startedMs }
  const statement = sqlite.prepare(sql)
  try {
    const names = statement.columnNames
    const rows: WireValue[][] = []
    let bytes = 0
    for (const values of rowsOf(statement, names, query)) {
      if (query.rowsMax !== null && rows.length >= query.rowsMax) break
      const row = values.map(toWire)
      for (const value of row) bytes += typeof value === 'string' ? value.length : 8
      if (bytes > query.bytesMax) throw new AnswerTooLargeError('the answer is too large')
      rows.push(row)
    }
    const types = declaredTypes(statement)
    return {
      columns: names.map((name, i) => ({ name, type: types[i] ?? '', nullable: true })),
      rows,
      tookMs: nowMs() - startedMs,
    }
  } finally {
    statement.finalize()
  }
}

/** @returns the last statement; null where there is none, but blanks and comments. */
function runAllButLast(sqlite: Sqlite, query: ReaderQuery): string | null {
  const statements = splitStatements(query.sql)
  const last = statements.pop()
  if (last === undefined) return null
  for (const sql of statements) runReaderQuery(sqlite, { ...query, sql, isApart: false }, () => 0)
  return last
}

/** At semicolons outside quotes and comments; what holds nothing else is left out. */
export function splitStatements(text: string): string[] {
  const statements: string[] = []
  let from = 0
  let isEmpty = true
  const pattern =
    /'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|\[[^\]]*\]?|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|;|\s+|[^\s;'"`[\-/]+|./g
  for (const { 0: piece, index } of text.matchAll(pattern)) {
    if (piece === ';') {
      if (!isEmpty) statements.push(text.slice(from, index))
      from = index + 1
      isEmpty = true
    } else if (!/^(?:\s|--|\/\*)/.test(piece)) isEmpty = false
  }
  if (!isEmpty) statements.push(text.slice(from))
  return statements
}

/** One by one where the statement may have more rows than are wanted; at once where names are given twice. */
function rowsOf(statement: Statement, names: readonly string[], query: ReaderQuery): Iterable<SqlValue[]> {
  const given = query.params.map(fromWire)
  const { paramsCount } = statement
  const params = given.length > paramsCount ? given.slice(0, paramsCount) : given
  const typed = statement as unknown as {
    values(...params: SqlParams): SqlValue[][]
    iterate(...params: SqlParams): Iterable<Record<string, SqlValue>>
  }
  if (query.rowsMax === null || names.length === 0 || new Set(names).size < names.length) return typed.values(...params)
  return Iterator.from(typed.iterate(...params)).map((row) => names.map((name) => row[name] ?? null))
}

function declaredTypes(statement: { readonly declaredTypes: (string | null)[] }): (string | null)[] {
  try {
    return statement.declaredTypes
  } catch {
    return [] // Bun knows them only after a row was read, and not for every statement
  }
}
