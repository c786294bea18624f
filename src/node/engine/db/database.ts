// One SQLite file with one writer. All writes pass an asynchronous mutex; reads use a connection of their own, so that
// they see only what is committed, except inside a transaction, which reads its own writes through the writer.

import { constants, Database as Sqlite, type Statement } from 'bun:sqlite'
import { AsyncLocalStorage } from 'node:async_hooks'
import { statSync } from 'node:fs'
import { afterArrivals, type Clock } from '../../../lib/clock.ts'
import { AppError, errorCode } from '../../../lib/errors.ts'
import { LruMap } from '../../../lib/lru.ts'
import { Mutex } from '../../../lib/mutex.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Usage } from '../usage.ts'
import { ReadRouter } from './read-router.ts'
import { type ReaderPool, type RowSlice, readDeadlineMsDefault } from './reader-process.ts'
import { type CheckpointResult, checkpointResult, fromWire, type ReaderRows, toWire } from './reader-query.ts'
import type { Row, SqlParams, SqlValue } from './sql.ts'

/** Prepared statements kept per connection; each holds a few KB. */
const statementsMax = 64
/** Page cache of one connection, KiB: thousands of tenants are open in one process. */
const cacheKiB = 256
/** Writers that may wait for their turn. */
const writersWaitingMax = 5_000
/** How long SQLite itself waits for a lock: only another process (a backup, an operator's shell) can hold one. */
const busyTimeoutMs = 10_000
/** A WAL from this size on is checkpointed by another process, bytes. */
const checkpointApartBytes = 1024 * 1024
/** A WAL above this makes readers wait, so that it can start over, bytes. Shippers empty theirs far earlier. */
const walBytesMax = 64 * 1024 * 1024
/** Codes of errors after which the process that changed something was killed, or may have been. */
const killedCodes: ReadonlySet<string> = new Set(['timeout', 'reader_ended', 'script_ended', 'database_work'])
/** Bytes of one answer that comes from a reader process. */
const answerBytesMax = 64 * 1024 * 1024

export interface Readers {
  readonly pool: ReaderPool
  readonly clock: Clock
  /** How long a read may run, ms; default: {@link readDeadlineMsDefault}. */
  readonly deadlineMs?: number
}

export interface DatabaseOptions {
  readonly path: string
  /**
   * `sqlite`: SQLite checkpoints by itself (standalone). `owner`: nobody but the owner of this object checkpoints, and
   * the WAL outlives the last connection: what replication needs.
   */
  readonly checkpoint: 'sqlite' | 'owner'
  /** Where reads that may scan run. Without it, all of them run in place. */
  readonly readers?: Readers
  /** Where the time of writes is counted. */
  readonly meter?: { readonly clock: Clock; readonly usage: Usage }
}

/** The file is not a database, or is damaged. */
export class CorruptDatabaseError extends AppError {
  readonly code = 'corrupt_database'
}

class Connection {
  readonly sqlite: Sqlite
  readonly #statements = new LruMap<string, Statement>(statementsMax)

  constructor(options: DatabaseOptions) {
    this.sqlite = new Sqlite(options.path, { create: true, readwrite: true, strict: false, safeIntegers: false })
    this.sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    this.sqlite.run('PRAGMA journal_mode = WAL')
    this.sqlite.run('PRAGMA synchronous = NORMAL')
    this.sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
    this.sqlite.run('PRAGMA foreign_keys = ON')
    this.sqlite.run('PRAGMA temp_store = MEMORY')
    this.sqlite.run('PRAGMA trusted_schema = ON')
    if (options.checkpoint === 'owner') {
      this.sqlite.run('PRAGMA wal_autocheckpoint = 0')
      this.sqlite.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
    } else {
      this.sqlite.run('PRAGMA journal_size_limit = 200000000')
    }
  }

  statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.sqlite.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  close(): void {
    // A statement that is left keeps the files open until the garbage collector finds it.
    for (const [, statement] of this.#statements.entries()) statement.finalize()
    this.#statements.clear()
    this.sqlite.close()
  }
}

interface TransactionScope {
  readonly database: Database
  active: boolean
  /** What is known of the schema was forgotten; a read of others may have learned the old one again since. */
  hasForgotten: boolean
  readonly afterCommit: (() => MaybePromise<void>)[]
  readonly afterRollback: (() => MaybePromise<void>)[]
}

const scopes = new AsyncLocalStorage<TransactionScope[]>()

export class Database {
  readonly path: string
  readonly #options: DatabaseOptions
  readonly #writer: Connection
  #reader: Connection | null = null
  /** The reader holds the locks of a read: see {@link #view}. */
  #isViewing = false
  readonly #mutex = new Mutex(writersWaitingMax)
  #commitSeq = 0
  #onCommit: (() => void) | null = null
  #admission: (() => MaybePromise<void>) | null = null
  readonly #router: ReadRouter | null
  #closed = false

  private constructor(options: DatabaseOptions) {
    this.path = options.path
    this.#options = options
    this.#writer = new Connection(options)
    const { readers } = options
    this.#router =
      readers === undefined
        ? null
        : new ReadRouter({
            clock: readers.clock,
            here: (sql, params) => this.all(sql, params),
            look: (sql) => rowsOnce<Row>(this.#readerConnection().sqlite, sql),
            elsewhere: async (sql, params, deadlineMs) => {
              const found = await this.#ask(sql, { params, rowsMax: null, bytesMax: answerBytesMax, deadlineMs })
              return { rows: asObjects(found), tookMs: found.tookMs }
            },
          })
  }

  /** Opens or creates the file. Throws CorruptDatabaseError when it is none of SQLite's. */
  static open(options: DatabaseOptions): Database {
    try {
      return new Database(options)
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (/not a database|malformed|disk image/i.test(text))
        throw new CorruptDatabaseError(`${options.path} is not a usable SQLite database`, { cause: error })
      throw error
    }
  }

  get walPath(): string {
    return `${this.path}-wal`
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Counts committed write transactions of this object; what the output gate waits for. */
  get commitSeq(): number {
    return this.#commitSeq
  }

  /** Called synchronously after each commit, still under the write mutex. One listener: the shipper. */
  set onCommit(listener: (() => void) | null) {
    this.#onCommit = listener
  }

  /** Asked before each write begins; what it throws refuses the write. */
  set admission(check: (() => MaybePromise<void>) | null) {
    this.#admission = check
  }

  /** Whether the caller runs inside a transaction of this database. */
  get inTransaction(): boolean {
    return this.#scope() !== null
  }

  /** Rows of a query that is cheap by construction: a key look-up, an index-shaped page. Never waits. */
  all<T = Row>(sql: string, params: SqlParams = []): T[] {
    const statement = this.#connection().statement(sql)
    return statement.all(...fitting(statement, params)) as T[]
  }

  /** The first row, or null. */
  get<T = Row>(sql: string, params: SqlParams = []): T | null {
    const statement = this.#connection().statement(sql)
    return statement.get(...fitting(statement, params)) as T | null
  }

  /** Rows as arrays of values, in the order of the columns. */
  values(sql: string, params: SqlParams = []): SqlValue[][] {
    const statement = this.#connection().statement(sql)
    return statement.values(...fitting(statement, params)) as SqlValue[][]
  }

  /**
   * Rows of a query that may scan. Runs here and at once, or in a reader process: see {@link ReadRouter}. Sees everything
   * that is committed when it is called; inside a transaction it always runs here, and sees its writes.
   *
   * Throws what SQLite says, as SQLiteError or ReaderQueryError; from a reader process also TimeoutError past the
   * deadline, OverloadedError and ReaderTooLargeError. Throws synchronously only what SQLite says.
   */
  read<T = Row>(sql: string, params: SqlParams = []): MaybePromise<T[]> {
    if (this.#router === null || this.#scope() !== null) return this.all<T>(sql, params)
    const deadlineMs = this.#options.readers?.deadlineMs ?? readDeadlineMsDefault
    return this.#router.read(sql, params, deadlineMs) as MaybePromise<T[]>
  }

  /** Rows of what a superuser typed, in a reader process and on a connection of its own. Throws as {@link read} does. */
  console(sql: string, limits: { readonly rowsMax: number; readonly bytesMax: number }): Promise<ReaderRows> {
    const deadlineMs = this.#options.readers?.deadlineMs ?? readDeadlineMsDefault
    return this.#ask(sql, { params: [], ...limits, deadlineMs, isApart: true })
  }

  /** Runs one statement that changes rows; only inside {@link transaction}. */
  run(sql: string, params: SqlParams = []): { readonly changes: number } {
    if (this.#scope() === null) throw new Error('writes belong into a transaction')
    const result = this.#timed(() => this.#writer.statement(sql).run(...(params as SqlValue[])))
    this.#router?.noteChanges(result.changes)
    return result
  }

  /** Runs one statement that changes rows once for each list of parameters; only inside {@link transaction}. */
  runEach(sql: string, rows: readonly SqlParams[]): void {
    if (this.#scope() === null) throw new Error('writes belong into a transaction')
    this.#timed(() => {
      const statement = this.#writer.statement(sql)
      for (const params of rows) statement.run(...(params as SqlValue[]))
    })
    this.#router?.noteChanges(rows.length)
  }

  /** Gives the running transaction a larger page cache, until what this returns is called; before the transaction ends. */
  enlargeCache(kiB: number): () => void {
    if (this.#scope() === null) throw new Error('only a transaction may have a larger cache')
    this.#writer.sqlite.run(`PRAGMA cache_size = -${kiB}`)
    return () => this.#writer.sqlite.run(`PRAGMA cache_size = -${cacheKiB}`)
  }

  /**
   * Runs one statement, DDL mostly; only inside {@link transaction}. What follows its semicolon is not run: names and
   * queries of tenants stand in such statements, and none of them may smuggle in another one.
   */
  exec(sql: string): void {
    if (this.#scope() === null) throw new Error('writes belong into a transaction')
    runOnce(this.#writer.sqlite, sql)
    this.#forget()
  }

  /**
   * Runs `body` as one transaction; a call from inside joins the outer one. What `body` throws rolls everything back.
   * Callbacks of {@link afterCommit} and {@link afterRollback} run once the outermost transaction has ended, outside it.
   */
  async transaction<T>(body: () => MaybePromise<T>): Promise<T> {
    if (this.#scope() !== null) return body()
    const admitted = this.#admission?.()
    if (admitted !== undefined) await admitted
    await this.#mutex.acquire()
    const scope: TransactionScope = {
      database: this,
      active: true,
      hasForgotten: false,
      afterCommit: [],
      afterRollback: [],
    }
    let result: T
    try {
      this.#writer.statement('BEGIN IMMEDIATE').run()
      try {
        result = await scopes.run([...(scopes.getStore() ?? []), scope], body)
        this.#endView() // or SQLite's checkpoint would stop where the reader is
        this.#timed(() => this.#writer.statement('COMMIT').run())
      } catch (error) {
        if (this.#writer.sqlite.inTransaction) this.#writer.sqlite.run('ROLLBACK')
        throw error
      }
      if (scope.hasForgotten) this.#router?.forget()
      this.#commitSeq++
      this.#onCommit?.()
    } catch (error) {
      scope.active = false
      this.#mutex.release()
      for (const callback of scope.afterRollback) await callback()
      throw error
    }
    scope.active = false
    this.#mutex.release()
    await runAll(scope.afterCommit)
    return result
  }

  /** Runs `body` as if no transaction were open: it reads what is committed. It must not write. */
  outside<T>(body: () => T): T {
    return scopes.run([], body)
  }

  /** Runs `callback` after the current transaction has committed; at once when there is none. */
  afterCommit(callback: () => MaybePromise<void>): MaybePromise<void> {
    const scope = this.#scope()
    if (scope === null) return callback()
    scope.afterCommit.push(callback)
  }

  /** Runs `callback` after the current transaction was rolled back; never when there is none. */
  afterRollback(callback: () => MaybePromise<void>): void {
    this.#scope()?.afterRollback.push(callback)
  }

  /** Runs `body` while no write transaction is open or can start: for replication, backup and checkpoints. */
  exclusively<T>(body: () => MaybePromise<T>): Promise<T> {
    return this.#mutex.run(body)
  }

  /** Moves WAL frames into the file; a large WAL's in another process. The caller holds {@link exclusively}. */
  checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): MaybePromise<CheckpointResult> {
    const { readers } = this.#options
    const walBytes = statSync(this.walPath, { throwIfNoEntry: false })?.size ?? 0
    const isApart = readers !== undefined && mode === 'PASSIVE' && walBytes >= checkpointApartBytes
    const started = isApart ? readers.pool.checkpoint(this.path) : null
    if (started === null) return this.#checkpointHere(mode)
    return started.then((result) => {
      if (result === null) return this.#checkpointHere(mode)
      this.#makeRoomForReset(result)
      return result
    })
  }

  #checkpointHere(mode: 'PASSIVE' | 'TRUNCATE'): CheckpointResult {
    // A cached statement of the reader that was not run to its end would pin the WAL; `all`, `get` and `values` reset.
    this.#endView()
    const result = checkpointResult(this.#writer.sqlite.query(`PRAGMA wal_checkpoint(${mode})`).get())
    this.#makeRoomForReset(result)
    return result
  }

  /** A WAL that outgrew every bound because somebody always reads it gets a moment without readers. */
  #makeRoomForReset({ busy, logFrames, checkpointedFrames }: CheckpointResult): void {
    const { readers } = this.#options
    if (readers === undefined) return
    // Who begins to read once all frames are in the file does not need the WAL, and the next write starts it over.
    const isDue = !busy && checkpointedFrames === logFrames && !readers.pool.isReading(this.path)
    if (isDue || logFrames * this.pageSize <= walBytesMax) readers.pool.lift(this.path)
    else readers.pool.hold(this.path)
  }

  get pageSize(): number {
    return (this.#writer.sqlite.query('PRAGMA page_size').get() as { page_size: number }).page_size
  }

  /** The whole database with its WAL, byte for byte as after a complete checkpoint; in memory. */
  image(): Uint8Array {
    return this.#writer.sqlite.serialize()
  }

  /**
   * Runs `body`, which changes the database through another connection, while no write transaction is open or can start.
   * To whoever replicates this database it is one more commit. Statements and caches made of the old content are the
   * caller's to drop.
   */
  async changedElsewhere(body: () => Promise<void>): Promise<void> {
    const admitted = this.#admission?.()
    if (admitted !== undefined) await admitted
    await this.#mutex.run(async () => {
      if (this.#closed) throw new Error(`${this.path} was closed meanwhile`) // another worker may have it now
      const before = this.#contentVersion()
      let isDone = false
      try {
        await body()
        isDone = true
      } catch (error) {
        if (killedCodes.has(errorCode(error) ?? '') && this.#contentVersion() === before) this.#commitOver()
        throw error
      } finally {
        // Whoever was ended may have committed just before.
        if (isDone || this.#contentVersion() !== before) {
          this.#endView()
          this.#router?.forget()
          this.#commitSeq++
          this.#onCommit?.()
        }
      }
    })
  }

  /**
   * A process that is killed between the last frame of its commit and the WAL's index leaves frames that are nothing to
   * SQLite, but a commit to who reads the file alone, as replication does. A commit of ours takes their place.
   */
  #commitOver(): void {
    const { sqlite } = this.#writer
    const [row] = rowsOnce<{ user_version: number }>(sqlite, 'PRAGMA user_version')
    this.#writer.statement('BEGIN IMMEDIATE').run()
    try {
      runOnce(sqlite, `PRAGMA user_version = ${row!.user_version}`) // writes the first page, though nothing in it is new
      this.#writer.statement('COMMIT').run()
    } catch (error) {
      if (sqlite.inTransaction) sqlite.run('ROLLBACK')
      throw error
    }
  }

  /**
   * Inserts many rows in another process, as one transaction of its own.
   *
   * @returns false when no process is free, or it has gone: nothing was done. Throws what keeps them from being stored.
   */
  async insertElsewhere(sql: string, slices: readonly RowSlice[]): Promise<boolean> {
    const pool = this.#options.readers?.pool
    if (pool === undefined || this.#scope() !== null) return false
    const into = { path: this.path, sql, checkpoints: this.#options.checkpoint === 'sqlite' }
    return await pool.insert(into, slices, (work) => this.changedElsewhere(work))
  }

  #contentVersion(): unknown {
    this.#endView()
    return rowsOnce<{ data_version: number }>(this.#readerConnection().sqlite, 'PRAGMA data_version')[0]?.data_version
  }

  /** Registers an SQL function on both connections. */
  define(name: string, options: { readonly deterministic?: boolean }, body: (...args: SqlValue[]) => SqlValue): void {
    for (const { sqlite } of [this.#writer, this.#readerConnection()]) {
      const target = sqlite as unknown as {
        function(name: string, options: object, body: (...args: SqlValue[]) => SqlValue): void
      }
      target.function(name, options, body)
    }
  }

  /** Throws CorruptDatabaseError unless `PRAGMA quick_check` says ok. */
  quickCheck(): void {
    const row = this.get<{ quick_check: string }>('PRAGMA quick_check(1)')
    if (row?.quick_check !== 'ok') throw new CorruptDatabaseError(`${this.path}: ${row?.quick_check}`)
  }

  /**
   * Waits for the running transaction, has readers let go of the files, then closes both connections. Closing again does
   * nothing.
   */
  async close(): Promise<void> {
    if (this.#closed) return
    await this.#mutex.acquire()
    this.#closed = true
    await this.#options.readers?.pool.release(this.path)
    this.#endView()
    this.#reader?.close()
    this.#writer.close()
    this.#mutex.release()
  }

  #scope(): TransactionScope | null {
    const stack = scopes.getStore()
    if (stack === undefined) return null
    for (const scope of stack) if (scope.database === this && scope.active) return scope
    return null
  }

  #forget(): void {
    const scope = this.#scope()
    if (scope !== null) scope.hasForgotten = true
    this.#router?.forget()
  }

  #connection(): Connection {
    if (this.#scope() !== null) return this.#writer
    const reader = this.#readerConnection()
    if (!this.#isViewing) this.#view(reader)
    return reader
  }

  /**
   * Has all reads of one round of the event loop see the same commits: the locks, and the look at what is new, are most of
   * what a look-up by key costs. A commit of this process ends it at once, one of another process is seen a round later.
   */
  #view(reader: Connection): void {
    reader.statement('BEGIN').run()
    this.#isViewing = true
    afterArrivals(() => this.#endView())
  }

  #endView(): void {
    if (!this.#isViewing) return
    this.#isViewing = false
    const reader = this.#reader!
    if (reader.sqlite.inTransaction) reader.statement('COMMIT').run() // errors such as a full disk end it too
  }

  #readerConnection(): Connection {
    if (this.#reader === null && this.#closed) throw new Error(`${this.path} is closed`)
    return (this.#reader ??= new Connection(this.#options))
  }

  #timed<T>(write: () => T): T {
    const { meter } = this.#options
    if (meter === undefined) return write()
    const startedMs = meter.clock.monotonic()
    const result = write()
    meter.usage.add(meter.clock.monotonic() - startedMs)
    return result
  }

  #ask(
    sql: string,
    how: {
      readonly params: SqlParams
      readonly rowsMax: number | null
      readonly bytesMax: number
      readonly deadlineMs: number
      readonly isApart?: boolean
    },
  ): Promise<ReaderRows> {
    const { readers } = this.#options
    if (readers === undefined || this.#closed) throw new Error(`${this.path} has no readers`)
    const { params, rowsMax, bytesMax, deadlineMs, isApart = false } = how
    const query = { path: this.path, sql, params: params.map(toWire), rowsMax, bytesMax, isApart }
    return readers.pool.run(query, deadlineMs)
  }
}

/** Runs every callback, whatever becomes of those before it; then throws what the first one threw that did. */
async function runAll(callbacks: readonly (() => MaybePromise<void>)[]): Promise<void> {
  let failed: { readonly error: unknown } | null = null
  for (const callback of callbacks) {
    try {
      await callback()
    } catch (error) {
      failed ??= { error }
    }
  }
  if (failed !== null) throw failed.error
}

/** Runs one statement that is not cached, and nothing that may stand behind it. */
export function runOnce(sqlite: Sqlite, sql: string): void {
  const statement = sqlite.prepare(sql)
  try {
    statement.run()
  } finally {
    statement.finalize()
  }
}

/** Rows of one statement that is not cached: a kept one would hold on to what it reads. */
export function rowsOnce<T>(sqlite: Sqlite, sql: string): T[] {
  const statement = sqlite.prepare(sql)
  try {
    return statement.all() as T[]
  } finally {
    statement.finalize()
  }
}

/** Compiled filters may number more values than their statement ends up naming; bun:sqlite refuses the surplus. */
function fitting(statement: Statement, params: SqlParams): SqlValue[] {
  const { paramsCount } = statement
  return (params.length > paramsCount ? params.slice(0, paramsCount) : params) as SqlValue[]
}

function asObjects({ columns, rows }: ReaderRows): Row[] {
  const names = columns.map((column) => column.name)
  return rows.map((values) => {
    const row: Row = {}
    for (let i = 0; i < names.length; i++) row[names[i]!] = fromWire(values[i] ?? null)
    return row
  })
}
