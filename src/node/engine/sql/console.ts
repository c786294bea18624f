// SQL of superusers, as they type it. PocketBase: apis/sql.go.
//
// Statements that change something run as one transaction, in a process of their own. Everything else runs in a reader
// process, on a connection that cannot write.

import { SQLiteError } from 'bun:sqlite'
import type { Clock } from '../../../lib/clock.ts'
import { AppError, OverloadedError } from '../../../lib/errors.ts'
import type { Database } from '../db/database.ts'
import { vacuumDatabase } from '../db/database-work.ts'
import { driverMessage, driverWords } from '../db/driver-words.ts'
import { fromWire, splitStatements } from '../db/reader-query.ts'
import { runScript, ScriptError } from '../db/script-process.ts'
import type { SqlValue } from '../db/sql.ts'

export const sqlLengthMax = 5_000
const rowsMax = 1_000
/** Bytes of one answer. */
const answerBytesMax = 64 * 1024 * 1024

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

/** PocketBase's, and two that write without rows to return. */
const writeWords = ['INSERT', 'CREATE', 'UPDATE', 'DELETE', 'DROP', 'DETACH', 'ALTER', 'REPLACE', 'REINDEX', 'ANALYZE']

/** Throws SqlConsoleError with SQLite's own words. */
export async function runSql(data: Database, clock: Clock, raw: string): Promise<SqlResult> {
  const query = raw.trim()
  const startedMs = clock.monotonic()
  const elapsed = () => Math.floor(clock.monotonic() - startedMs)
  const upper = query.toUpperCase()
  if (query === '') throw new SqlConsoleError('empty query')
  try {
    if (/^vacuum[\s;]*$/i.test(query)) {
      await vacuumDatabase(data)
      return { execTime: elapsed(), affectedRows: 0, columns: [], rows: [] }
    }
    if (reachesOtherFiles(query)) throw new Error('not authorized')
    if (writeWords.some((word) => upper.startsWith(word))) {
      if (leavesTransaction(query)) throw new Error('not authorized')
      const affectedRows = await runScript(data, query)
      return { execTime: elapsed(), affectedRows, columns: [], rows: [] }
    }
    const { columns, rows } = await data.console(query, { rowsMax, bytesMax: answerBytesMax })
    const texts = rows.map((row) => row.map((value) => asText(fromWire(value))))
    const shown = columns.map((column) => ({ ...column, type: column.type.toUpperCase() }))
    return { execTime: elapsed(), affectedRows: 0, columns: shown, rows: texts }
  } catch (error) {
    if (error instanceof OverloadedError) throw error
    const words = error instanceof Error ? error.message : String(error)
    const shown =
      error instanceof SQLiteError
        ? driverMessage(error)
        : driverWords(error instanceof ScriptError ? error.errno : 1, words)
    throw new SqlConsoleError(shown, { cause: error })
  }
}

/**
 * Whether a statement could open or write another file: a console belongs to one tenant, its neighbours' databases lie
 * in the same folder. Texts, names and comments are taken out first, so that data may hold these words.
 */
export function reachesOtherFiles(query: string): boolean {
  const bare = bareOf(query)
  return (
    tclVariable.test(query) ||
    /\battach\b|\bvacuum\b|\bload_extension\b|\btemp_store_directory\b|\bdata_store_directory\b/i.test(bare) ||
    /["`[]load_extension["`\]]/i.test(query)
  )
}

/** SQLite takes `$a(')` for one variable, the quote in it for none: what follows would be hidden from {@link bareOf}. */
const tclVariable = /[$@:#][\w$:\u0080-\uffff]+\(/

/** A query with a word in the place of each text, quoted name and comment. */
function bareOf(query: string): string {
  return query.replace(
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g,
    (piece) => (/^(?:--|\/\*)/.test(piece) ? ' ' : ' x '),
  )
}

const transactionWords: ReadonlySet<string> = new Set([
  'begin',
  'commit',
  'end',
  'rollback',
  'savepoint',
  'release',
  'pragma',
])

/**
 * Whether a script ends the transaction that all of it is, or changes the connection that it runs on: that is the owner's
 * own, which alone decides when the WAL moves into the file.
 */
export function leavesTransaction(script: string): boolean {
  let isInTrigger = false
  for (const statement of splitStatements(script)) {
    const bare = bareOf(statement).trim().toLowerCase()
    const word = /^(?:explain\s+(?:query\s+plan\s+)?)?(\w+)/.exec(bare)?.[1] ?? ''
    if (isInTrigger && bare === 'end') isInTrigger = false
    else if (transactionWords.has(word)) return true
    else if (/^create\s+(?:temp\s+|temporary\s+)?trigger\b/.test(bare)) isInTrigger = true
  }
  return false
}

function asText(value: SqlValue): string | null {
  if (value === null) return null
  if (value instanceof Uint8Array) return new TextDecoder().decode(value)
  if (value === Infinity || value === -Infinity) return value > 0 ? '+Inf' : '-Inf'
  return Object.is(value, -0) ? '-0' : String(value)
}
