// SQL of superusers, as they type it. PocketBase: apis/sql.go.
//
// Statements that change something run as one transaction of the writer. Everything else runs on a connection of its own
// that cannot write to the file.

import { constants, Database as Sqlite } from 'bun:sqlite'
import type { Clock } from '../../../lib/clock.ts'
import { AppError } from '../../../lib/errors.ts'
import type { Database } from '../db/database.ts'

export const sqlLengthMax = 5_000
const rowsMax = 1_000
/** Bytes of one answer. */
const answerBytesMax = 64 * 1024 * 1024
const busyTimeoutMs = 5_000

export interface SqlColumn {
  readonly name: string
  readonly type: string
  readonly nullable: boolean
}

export interface SqlResult {
  readonly execTime: number
  readonly affectedRows: number
  readonly columns: readonly SqlColumn[]
  /** Values as text. */
  readonly rows: readonly (readonly (string | null)[])[]
}

/** SQLite refused the statement; the message is for the superuser who typed it. */
export class SqlConsoleError extends AppError {
  readonly code = 'sql_console'
}

const writeWords = ['INSERT', 'CREATE', 'UPDATE', 'DELETE', 'DROP', 'DETACH', 'ALTER', 'REPLACE']

/** Throws SqlConsoleError with SQLite's own words. */
export async function runSql(data: Database, clock: Clock, raw: string): Promise<SqlResult> {
  const query = raw.trim()
  const startedMs = clock.monotonic()
  const elapsed = () => Math.floor(clock.monotonic() - startedMs)
  const upper = query.toUpperCase()
  try {
    if (query === '') throw new Error('empty query')
    if (reachesOtherFiles(query)) throw new Error('not authorized')
    if (writeWords.some((word) => upper.startsWith(word))) {
      const affectedRows = await write(data, query)
      return { execTime: elapsed(), affectedRows, columns: [], rows: [] }
    }
    const found = read(data.path, query)
    return { execTime: elapsed(), affectedRows: 0, ...found }
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error)
    throw new SqlConsoleError(`SQL logic error: ${words} (1)`, { cause: error })
  }
}

/**
 * Whether a statement could open or write another file: a console belongs to one tenant, its neighbours' databases lie
 * in the same folder. Texts, names and comments are taken out first, so that data may hold these words.
 */
export function reachesOtherFiles(query: string): boolean {
  const bare = query.replace(
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g,
    ' x ',
  )
  return (
    /\battach\b|\bvacuum\b|\bload_extension\b|\btemp_store_directory\b|\bdata_store_directory\b/i.test(bare) ||
    /["`[]load_extension["`\]]/i.test(query)
  )
}

/** @returns rows changed by the last statement. */
function write(data: Database, query: string): Promise<number> {
  return data.transaction(() => {
    const count = () => data.get<{ last: number; all: number }>('SELECT changes() AS last, total_changes() AS "all"')!
    const before = count()
    data.exec(query)
    const after = count()
    return after.all === before.all ? 0 : after.last // `changes()` keeps its value over statements that change no rows
  })
}

function read(path: string, query: string): Pick<SqlResult, 'columns' | 'rows'> {
  // A connection of its own, thrown away: no PRAGMA, temporary table or attached file outlives the question. It is open
  // for the length of one synchronous call, in which no connection of the engine can run.
  const sqlite = new Sqlite(path, constants.SQLITE_OPEN_READWRITE)
  try {
    sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
    sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    sqlite.run('PRAGMA wal_autocheckpoint = 0')
    sqlite.run('PRAGMA query_only = ON')
    const statement = sqlite.prepare(query)
    try {
      const names = statement.columnNames
      const declared = declaredTypes(statement)
      const columns = names.map((name, i) => ({ name, type: declared[i] ?? '', nullable: true }))
      const rows: (string | null)[][] = []
      let bytes = 0
      for (const row of statement.values() as unknown[][]) {
        if (rows.length >= rowsMax) break
        const texts = row.map(asText)
        for (const text of texts) bytes += text?.length ?? 0
        if (bytes > answerBytesMax) throw new Error('the answer is too large')
        rows.push(texts)
      }
      return { columns, rows }
    } finally {
      statement.finalize()
    }
  } finally {
    sqlite.close()
  }
}

function declaredTypes(statement: { readonly declaredTypes: (string | null)[] }): (string | null)[] {
  try {
    return statement.declaredTypes
  } catch {
    return [] // Bun knows them only after a row was read, and not for every statement
  }
}

function asText(value: unknown): string | null {
  if (value === null) return null
  if (value instanceof Uint8Array) return new TextDecoder().decode(value)
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  return String(value)
}
