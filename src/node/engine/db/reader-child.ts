// The reader process: one question a line on standard input, one answer a line on standard output. It ends with its
// parent, and is killed when a question takes too long.

import { constants, Database as Sqlite } from 'bun:sqlite'
import { writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Cancel, type Clock, systemClock } from '../../../lib/clock.ts'
import { endWithParent } from '../../../lib/scheduling.ts'
import {
  AnswerTooLargeError,
  type CheckpointResult,
  checkpointResult,
  fromWire,
  type ReaderQuery,
  type ReaderRows,
  runReaderQuery,
  type WireValue,
} from './reader-query.ts'

/** A process that nobody asks ends after this, ms; it takes some 50 MB. */
const idleMs = 30_000
/** A database that nobody asks about is closed after this, ms. */
const connectionIdleMs = 2_000
/** Databases open at once. */
const connectionsMax = 4
const busyTimeoutMs = 5_000
/** Page cache of a connection, KiB. */
const cacheKiB = 8_192
/**
 * Bytes of a file that are read in place: a scan that copies every page takes twice as long. What a damaged file, or disk,
 * does to a process that maps it stays in this one.
 */
const mappedBytesMax = 1024 * 1024 * 1024

/** A part of the rows that one transaction inserts. */
export interface Insertion {
  readonly path: string
  readonly sql: string
  readonly rows: readonly (readonly WireValue[])[]
  readonly isLast: boolean
  /** Whether the file is checkpointed as SQLite does by itself; else nobody but its owner does. */
  readonly checkpoints: boolean
}

export type ReaderRequest =
  | { readonly type: 'query'; readonly query: ReaderQuery }
  /** Moves what the WAL holds into the file; the owner keeps its writers out meanwhile. */
  | { readonly type: 'checkpoint'; readonly path: string }
  /** Inserts rows; the transaction stays open until the last of them. The owner keeps its writers out meanwhile. */
  | ({ readonly type: 'insert' } & Insertion)
  /** Closes a database, so that its owner can. */
  | { readonly type: 'release'; readonly path: string }

export type ReaderAnswer =
  | { readonly ok: true; readonly value: ReaderRows | null; readonly checkpoint?: CheckpointResult }
  | { readonly ok: false; readonly reason: 'sql' | 'too_large'; readonly message: string }

/** Answers until standard input ends. */
export async function runReader(clock: Clock = systemClock): Promise<void> {
  endWithParent()
  if (process.platform === 'linux') writeFileSync('/proc/self/oom_score_adj', '1000') // where memory runs out, this is what can be spared
  const connections = new Connections(clock)
  const startIdling = () => clock.setTimer(idleMs, () => process.exit(0))
  let cancel = startIdling()
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of Bun.stdin.stream()) {
    text += decoder.decode(chunk, { stream: true })
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      cancel()
      const line = text.slice(0, end)
      text = text.slice(end + 1)
      await Bun.write(Bun.stdout, `${JSON.stringify(answer(connections, JSON.parse(line) as ReaderRequest, clock))}\n`)
      cancel = startIdling()
    }
  }
  process.exit(0)
}

function answer(connections: Connections, request: ReaderRequest, clock: Clock): ReaderAnswer {
  try {
    if (request.type === 'query') {
      const { query } = request
      connections.closeOthers(query.path)
      const run = (sqlite: Sqlite) => runReaderQuery(sqlite, query, () => clock.monotonic())
      return { ok: true, value: query.isApart ? runApart(query.path, run) : run(connections.open(query.path)) }
    }
    if (request.type === 'checkpoint') return { ok: true, value: null, checkpoint: checkpoint(request.path) }
    if (request.type === 'insert') {
      insert(request)
      return { ok: true, value: null }
    }
    connections.close(request.path)
    return { ok: true, value: null }
  } catch (error) {
    const reason = error instanceof AnswerTooLargeError ? 'too_large' : 'sql'
    return { ok: false, reason, message: error instanceof Error ? error.message : String(error) }
  }
}

function runApart(path: string, run: (sqlite: Sqlite) => ReaderRows): ReaderRows {
  const sqlite = openReadOnly(path, { safeIntegers: true })
  try {
    return run(sqlite)
  } finally {
    sqlite.close()
  }
}

/** On a connection of its own, which never does it by itself and leaves the WAL when it closes. */
function checkpoint(path: string): CheckpointResult {
  const sqlite = new Sqlite(path, constants.SQLITE_OPEN_READWRITE)
  try {
    sqlite.run('PRAGMA wal_autocheckpoint = 0')
    sqlite.run('PRAGMA synchronous = NORMAL')
    sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
    return checkpointResult(sqlite.query('PRAGMA wal_checkpoint(PASSIVE)').get())
  } finally {
    sqlite.close()
  }
}

/** The transaction that is open; its owner asks for one at a time, and kills the process to be rid of it. */
let inserting: { readonly path: string; readonly sqlite: Sqlite } | null = null

function insert({ path, sql, rows, isLast, checkpoints }: Insertion): void {
  inserting ??= { path, sqlite: openForInserts(path, checkpoints) }
  if (inserting.path !== path) throw new Error('rows of another database are not committed yet')
  const { sqlite } = inserting
  let isDone = isLast
  try {
    const statement = sqlite.query(sql)
    for (const row of rows) statement.run(...row.map(fromWire))
    if (isLast) sqlite.run('COMMIT')
  } catch (error) {
    isDone = true
    throw error
  } finally {
    if (isDone) {
      inserting = null
      sqlite.close() // undoes what was not committed
    }
  }
}

function openForInserts(path: string, checkpoints: boolean): Sqlite {
  const sqlite = new Sqlite(path, constants.SQLITE_OPEN_READWRITE)
  try {
    sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    sqlite.run('PRAGMA synchronous = NORMAL')
    sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
    if (!checkpoints) {
      sqlite.run('PRAGMA wal_autocheckpoint = 0')
      sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
    }
    sqlite.run('BEGIN IMMEDIATE')
    return sqlite
  } catch (error) {
    sqlite.close()
    throw error
  }
}

/** Databases stay open for the next question, but not for long: a tenant at rest holds no descriptor. */
class Connections {
  readonly #clock: Clock
  /** From least to most recently used. */
  readonly #open = new Map<string, { readonly sqlite: Sqlite; readonly cancel: Cancel }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  open(path: string): Sqlite {
    const known = this.#open.get(path)
    known?.cancel()
    this.#open.delete(path)
    const sqlite = known?.sqlite ?? openReadOnly(path)
    const cancel = this.#clock.setTimer(connectionIdleMs, () => this.close(path))
    this.#open.set(path, { sqlite, cancel })
    const oldest = this.#open.keys().next()
    if (this.#open.size > connectionsMax && !oldest.done) this.close(oldest.value)
    return sqlite
  }

  /** Closes what lies in another folder than `path`: a tenant that closes must not wait for another one's question. */
  closeOthers(path: string): void {
    for (const each of [...this.#open.keys()]) if (dirname(each) !== dirname(path)) this.close(each)
  }

  close(path: string): void {
    const known = this.#open.get(path)
    if (known === undefined) return
    known.cancel()
    this.#open.delete(path)
    known.sqlite.close()
  }
}

/** Read-only: closing it last must not checkpoint what the owner has not shipped. */
function openReadOnly(path: string, { safeIntegers = false } = {}): Sqlite {
  const sqlite = new Sqlite(path, { readonly: true, safeIntegers })
  try {
    sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    sqlite.run('PRAGMA query_only = ON')
    sqlite.run('PRAGMA temp_store = MEMORY')
    sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
    sqlite.run(`PRAGMA mmap_size = ${mappedBytesMax}`)
    return sqlite
  } catch (error) {
    sqlite.close()
    throw error
  }
}
