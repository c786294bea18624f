// Statements that a superuser typed and that change something, in a process of their own: one statement may change every
// row of a database, or count for ever without one, and in place the whole worker would stand still meanwhile.
//
// The owner holds its write mutex meanwhile. The process's connection never checkpoints, and it dies with its parent: what
// it leaves uncommitted then is as if it had never been.

import { constants, SQLiteError, Database as Sqlite } from 'bun:sqlite'
import { readFileSync } from 'node:fs'
import { endInput, sendInput } from '../../../lib/child-input.ts'
import { AppError, TimeoutError } from '../../../lib/errors.ts'
import { endWithParent, runBehindOthers } from '../../../lib/scheduling.ts'
import { selfCommand } from '../../../lib/self-command.ts'
import { rowsOnce } from './connection.ts'
import type { Database } from './database.ts'
import { readDeadlineMsDefault } from './reader-process.ts'

/** How long SQLite waits for a lock of an operator's shell, ms. */
const busyTimeoutMs = 10_000
/** Page cache of a process, KiB. */
const cacheKiB = 16 * 1024

type Outcome =
  | { readonly ok: true; readonly affectedRows: number }
  | { readonly ok: false; readonly message: string; readonly errno: number }

/** SQLite refused a statement; nothing of the script has happened. */
export class ScriptError extends AppError {
  readonly code = 'script'
  /** SQLite's extended result code. */
  readonly errno: number

  constructor(message: string, errno: number) {
    super(message)
    this.errno = errno
  }
}

/** The process went away, or could not do its work; nothing of the script has happened. */
class ScriptEndedError extends AppError {
  readonly code = 'script_ended'
}

/**
 * Runs every statement of a text as one transaction. The text must be checked for its verbs.
 * @returns rows changed by the last statement.
 *
 * Throws SQLite's own error or ScriptError, and TimeoutError past the deadline; then nothing has changed.
 */
export async function runScript(
  database: Database,
  sql: string,
  deadlineMs: number = readDeadlineMsDefault,
): Promise<number> {
  let affectedRows = 0
  await database.changedElsewhere(async () => {
    affectedRows = await runApart(database.path, sql, deadlineMs)
  })
  return affectedRows
}

async function runApart(path: string, sql: string, deadlineMs: number): Promise<number> {
  const child = Bun.spawn(selfCommand(['sql-script', path]), {
    stdin: 'pipe', // and no argument: those can be read by everybody on the machine
    stdout: 'pipe',
    stderr: 'inherit',
    env: {}, // it may hold secrets
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  runBehindOthers(child.pid)
  await sendInput(child.stdin, sql).catch(() => {}) // it has ended: how, is asked below
  await endInput(child.stdin)
  const text = await new Response(child.stdout).text()
  const code = await child.exited
  if (child.signalCode === 'SIGKILL') throw new TimeoutError(`the statement ran longer than ${deadlineMs} ms`)
  if (code !== 0) throw new ScriptEndedError(`a script on ${path} ended with ${code}`)
  const outcome = JSON.parse(text) as Outcome
  if (!outcome.ok) throw new ScriptError(outcome.message, outcome.errno)
  return outcome.affectedRows
}

/** The hidden verb's main: runs the statements on standard input and prints what came of it. */
export function runScriptProcess(path: string): void {
  endWithParent()
  const sqlite = new Sqlite(path, constants.SQLITE_OPEN_READWRITE)
  try {
    sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
    sqlite.run('PRAGMA foreign_keys = ON')
    sqlite.run('PRAGMA wal_autocheckpoint = 0')
    sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
    process.stdout.write(JSON.stringify(runAsOne(sqlite, readFileSync(0, 'utf8'))))
  } finally {
    sqlite.close()
  }
}

function runAsOne(sqlite: Sqlite, sql: string): Outcome {
  sqlite.run('BEGIN IMMEDIATE')
  try {
    const [before] = rowsOnce<Changes>(sqlite, changesSql)
    sqlite.run(sql)
    const [after] = rowsOnce<Changes>(sqlite, changesSql)
    sqlite.run('COMMIT')
    return { ok: true, affectedRows: affected(before!, after!) }
  } catch (error) {
    if (sqlite.inTransaction) sqlite.run('ROLLBACK')
    if (!(error instanceof SQLiteError)) throw error
    return { ok: false, message: error.message, errno: error.errno }
  }
}

interface Changes {
  readonly last: number
  readonly all: number
}
const changesSql = 'SELECT changes() AS last, total_changes() AS "all"'

/** `changes()` keeps its value over statements that change no rows. */
function affected(before: Changes, after: Changes): number {
  return after.all === before.all ? 0 : after.last
}
