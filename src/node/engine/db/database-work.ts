// Work on a whole database: copy, check, compact, replace its content. SQLite does each in statements during which JavaScript
// stands still, so for a large file a process of its own does it: a neighbour's request must not wait for a backup.
//
// The owner has the database open meanwhile and holds its write mutex; the process's connection never checkpoints, and it
// dies with its parent: what it leaves uncommitted then is as if it had never been.

import { constants, Database as Sqlite } from 'bun:sqlite'
import { stat } from 'node:fs/promises'
import { childEnvironment } from '../../../lib/config/child-environment.ts'
import { AppError, errorCode, errorMessage } from '../../../lib/errors.ts'
import { endWithParent } from '../../../lib/scheduling.ts'
import { selfCommand } from '../../../lib/self-command.ts'
import { reconcileDeletedFiles } from '../files/file-references.ts'
import { rowsOnce, runOnce } from './connection.ts'
import { CorruptDatabaseError, type Database } from './database.ts'
import { quoteName } from './sql.ts'

/** Done in place, bytes: some 20 ms. Above, starting a process costs less than the pause. */
const inPlaceBytesMax = 4 * 1024 * 1024
/** A process that takes longer is taken for a hanging one, ms: 50 GB at 30 MB/s. */
const deadlineMs = 30 * 60_000
/** How long SQLite waits for a lock of an operator's shell, ms. */
const busyTimeoutMs = 10_000
/** Page cache of a process, KiB. */
const cacheKiB = 16 * 1024
/** Exit code of a process that found a damaged database. */
const exitCorrupt = 9
/** Of one that found no room. */
const exitFull = 10

/** The work was not done, and nothing has changed. */
export class DatabaseWorkError extends AppError {
  readonly code = 'database_work'
}

/** There is no room for the work; its code is the system's, and so is the answer. */
export class DatabaseFullError extends AppError {
  readonly code = 'ENOSPC'
}

export type DatabaseWork =
  /** Writes a compacted copy of what is committed to the new file `target`. */
  | { readonly type: 'copy'; readonly path: string; readonly target: string }
  /** Runs SQLite's quick check. */
  | { readonly type: 'check'; readonly path: string }
  /** Rewrites `path` without what deletions left. */
  | { readonly type: 'vacuum'; readonly path: string }
  /**
   * Replaces all of `path` by the content of `source`, in one transaction. Where files are kept after they were deleted,
   * those that only the old content names count as deleted at `deletedAtMs`; `source` is changed for that.
   */
  | { readonly type: 'replace'; readonly path: string; readonly source: string; readonly deletedAtMs: number | null }

/**
 * Replaces everything in an open database by the content of another file, in one transaction: tables with their rowids,
 * then indexes, views and triggers. History goes on, and the old content can be restored from it. Statements and caches
 * made of the old content are the caller's to drop. Throws as {@link doDatabaseWork}; then nothing has changed.
 */
export function replaceContent(
  database: Database,
  source: string,
  options: { readonly deletedAtMs: number | null } = { deletedAtMs: null },
): Promise<void> {
  const { deletedAtMs } = options
  return database.changedElsewhere(() => doDatabaseWork({ type: 'replace', path: database.path, source, deletedAtMs }))
}

/** Rewrites an open database without what deletions left. Throws as {@link doDatabaseWork}; then nothing has changed. */
export function vacuumDatabase(database: Database): Promise<void> {
  return database.changedElsewhere(() => doDatabaseWork({ type: 'vacuum', path: database.path }))
}

/** Writes a consistent, compacted copy of what is committed to a new file. */
export function copyDatabase(database: Database, target: string): Promise<void> {
  return doDatabaseWork({ type: 'copy', path: database.path, target })
}

/** Throws CorruptDatabaseError for a damaged file, DatabaseWorkError for what else goes wrong. */
export async function doDatabaseWork(work: DatabaseWork): Promise<void> {
  if ((await sizeOf(work.path)) + (work.type === 'replace' ? await sizeOf(work.source) : 0) <= inPlaceBytesMax)
    return doDatabaseWorkHere(work)
  await doDatabaseWorkApart(work)
}

/** The same by a process, whatever the size. */
export async function doDatabaseWorkApart(work: DatabaseWork): Promise<void> {
  const child = Bun.spawn(selfCommand(['database-work', JSON.stringify(work)]), {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
    env: childEnvironment(),
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  const words = (await new Response(child.stderr).text()).trim().slice(-500)
  const code = await child.exited
  if (code === exitCorrupt) throw new CorruptDatabaseError(words)
  if (code === exitFull) throw new DatabaseFullError(words)
  if (code !== 0) throw new DatabaseWorkError(`database ${work.type} of ${work.path} ended with ${code}: ${words}`)
}

/** The hidden verb's main. @returns the exit code. */
export function runDatabaseWork(text: string): number {
  endWithParent()
  try {
    doDatabaseWorkHere(JSON.parse(text) as DatabaseWork)
    return 0
  } catch (error) {
    process.stderr.write(`${errorMessage(error)}\n`)
    if (error instanceof CorruptDatabaseError) return exitCorrupt
    return error instanceof DatabaseFullError ? exitFull : 1
  }
}

function doDatabaseWorkHere(work: DatabaseWork): void {
  const { type, path } = work
  try {
    const sqlite = new Sqlite(path, type === 'copy' ? { readonly: true } : { readwrite: true })
    try {
      sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
      sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
      if (type === 'copy') sqlite.run('VACUUM INTO ?', [work.target])
      else if (type === 'check') check(sqlite, 'main')
      else if (type === 'vacuum') vacuum(sqlite)
      else takeOver(sqlite, work)
    } finally {
      sqlite.close()
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    const text = error instanceof Error ? error.message : String(error)
    if (/disk is full/.test(text)) throw new DatabaseFullError(`${path}: ${text}`, { cause: error })
    if (/not a database|malformed|disk image/i.test(text) || type === 'replace')
      throw new CorruptDatabaseError(`${path}: ${text}`, { cause: error })
    throw new DatabaseWorkError(`database ${type} of ${path} failed`, { cause: error })
  }
}

/** Of a database and its WAL, bytes. */
async function sizeOf(path: string): Promise<number> {
  let bytes = 0
  for (const file of [path, `${path}-wal`]) {
    try {
      bytes += (await stat(file)).size
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
    }
  }
  return bytes
}

function check(sqlite: Sqlite, schema: string): void {
  const [row] = rowsOnce<{ quick_check: string }>(sqlite, `PRAGMA ${schema}.quick_check(1)`)
  if (row?.quick_check !== 'ok') throw new CorruptDatabaseError(`the database is damaged: ${row?.quick_check}`)
}

interface SchemaRow {
  readonly type: string
  readonly name: string
  readonly sql: string | null
}

/** SQLite's own tables (`sqlite_sequence`, statistics) come with what they belong to, or are made anew. */
const ownObjects = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"

/** What is written stays in the WAL, whose owner decides when it moves. */
function leaveWal(sqlite: Sqlite): void {
  sqlite.run('PRAGMA wal_autocheckpoint = 0')
  sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
}

function vacuum(sqlite: Sqlite): void {
  leaveWal(sqlite)
  sqlite.run('VACUUM')
}

function takeOver(sqlite: Sqlite, { path, source, deletedAtMs }: Extract<DatabaseWork, { type: 'replace' }>): void {
  if (deletedAtMs !== null) reconcileDeletedFiles(source, path, deletedAtMs)
  leaveWal(sqlite)
  sqlite.run('ATTACH DATABASE ? AS incoming', [source])
  check(sqlite, 'incoming')
  sqlite.run('PRAGMA foreign_keys = OFF')
  sqlite.run('BEGIN IMMEDIATE')
  try {
    copySchemaAndRows(sqlite)
    sqlite.run('COMMIT')
  } catch (error) {
    if (sqlite.inTransaction) sqlite.run('ROLLBACK')
    throw error
  }
}

function copySchemaAndRows(sqlite: Sqlite): void {
  const list = (schema: string) =>
    rowsOnce<SchemaRow>(sqlite, `SELECT type, name, sql FROM ${schema}.sqlite_schema WHERE ${ownObjects}`)
  for (const type of ['view', 'trigger', 'table'])
    for (const each of list('main'))
      if (each.type === type) sqlite.run(`DROP ${type} IF EXISTS main.${quoteName(each.name)}`)
  const incoming = list('incoming')
  const create = (each: SchemaRow) => {
    if (each.sql === null) return // the index of a constraint, made with its table
    if (!/^create\s/i.test(each.sql)) throw new Error(`${each.name} has no CREATE statement`)
    runOnce(sqlite, each.sql) // one statement: the text may be anybody's
  }
  for (const table of incoming) {
    if (table.type !== 'table') continue
    create(table)
    const columns = rowsOnce<{ name: string }>(sqlite, `PRAGMA incoming.table_info(${quoteName(table.name)})`)
    const names = columns.map((column) => quoteName(column.name))
    // Rows keep their rowid, which is the order of insertion; tables without one have no such column.
    const hasRowid = !/without\s+rowid/i.test(table.sql ?? '') && !/^create\s+virtual/i.test(table.sql ?? '')
    const all = (hasRowid ? ['rowid', ...names] : names).join(', ')
    const source = `SELECT ${all} FROM incoming.${quoteName(table.name)}`
    sqlite.run(`INSERT INTO main.${quoteName(table.name)} (${all}) ${source}`)
  }
  for (const type of ['index', 'view', 'trigger']) for (const each of incoming) if (each.type === type) create(each)
}
