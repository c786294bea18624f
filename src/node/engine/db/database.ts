// One SQLite file with one writer. All writes pass an asynchronous mutex; reads use a connection of their own, so that
// they see only what is committed, except inside a transaction, which reads its own writes through the writer.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { Clock } from '../../../lib/clock.ts'
import { AppError, errorCode } from '../../../lib/errors.ts'
import { Mutex } from '../../../lib/mutex.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Usage } from '../usage.ts'
import { runCheckpoint } from './checkpoints.ts'
import { Connection, type ConnectionOptions, rowsOnce, runOnce } from './connection.ts'
import { ReadRouter } from './read-router.ts'
import { ReadView } from './read-view.ts'
import { type ReaderPool, type RowSlice, readDeadlineMsDefault } from './reader-process.ts'
import { type CheckpointResult, fromWire, type ReaderRows, toWire } from './reader-query.ts'
import type { Row, SqlParams, SqlValue } from './sql.ts'

/** Writers that may wait for their turn. */
const writersWaitingMax = 5_000
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

export interface DatabaseOptions extends ConnectionOptions {
  /** Where reads that may scan run. Without it, all of them run in place. */
  readonly readers?: Readers
  /** Where the time of writes is counted. */
  readonly meter?: { readonly clock: Clock; readonly usage: Usage }
}

/** The file is not a database, or is damaged. */
export class CorruptDatabaseError extends AppError {
  readonly code = 'corrupt_database'
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
  readonly #view: ReadView
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
    this.#view = new ReadView(options)
    const { readers } = options
    this.#router =
      readers === undefined
        ? null
        : new ReadRouter({
            clock: readers.clock,
            here: (sql, params) => this.all(sql, params),
            look: (sql) => rowsOnce<Row>(this.#view.connection.sqlite, sql),
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
    return this.#connection().all<T>(sql, params)
  }

  /** The first row, or null. */
  get<T = Row>(sql: string, params: SqlParams = []): T | null {
    return this.#connection().get<T>(sql, params)
  }

  /** Rows as arrays of values, in the order of the columns. */
  values(sql: string, params: SqlParams = []): SqlValue[][] {
    return this.#connection().values(sql, params)
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
    this.#writer.setCache(kiB)
    return () => this.#writer.setCache()
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
        this.#view.end() // or SQLite's checkpoint would stop where the reader is
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
    const { path } = this
    const pool = this.#options.readers?.pool
    return runCheckpoint({ path, writer: this.#writer, view: this.#view, pool }, mode)
  }

  /** Bytes. */
  get pageSize(): number {
    return this.#writer.pageSize
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
      const before = this.#view.contentVersion()
      let isDone = false
      try {
        await body()
        isDone = true
      } catch (error) {
        if (killedCodes.has(errorCode(error) ?? '') && this.#view.contentVersion() === before) this.#commitOver()
        throw error
      } finally {
        // Whoever was ended may have committed just before.
        if (isDone || this.#view.contentVersion() !== before) {
          this.#view.end()
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

  /** Registers an SQL function on both connections. */
  define(name: string, options: { readonly deterministic?: boolean }, body: (...args: SqlValue[]) => SqlValue): void {
    for (const { sqlite } of [this.#writer, this.#view.connection]) {
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
    this.#view.close()
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
    return this.#view.begin()
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

function asObjects({ columns, rows }: ReaderRows): Row[] {
  const names = columns.map((column) => column.name)
  return rows.map((values) => {
    const row: Row = {}
    for (let i = 0; i < names.length; i++) row[names[i]!] = fromWire(values[i] ?? null)
    return row
  })
}
