// One connection to a database: how it is set up, and the statements that it keeps prepared.

import { constants, Database as Sqlite, type Statement } from 'bun:sqlite'
import { LruMap } from '../../../lib/lru.ts'
import type { Row, SqlParams, SqlValue } from './sql.ts'

/** Prepared statements kept per connection; each holds a few KB. */
const statementsMax = 64
/** Page cache of one connection, KiB: thousands of tenants are open in one process. */
const cacheKiBDefault = 256
/** How long SQLite itself waits for a lock: only another process (a backup, an operator's shell) can hold one. */
const busyTimeoutMs = 10_000

export interface ConnectionOptions {
  readonly path: string
  /**
   * `sqlite`: SQLite checkpoints by itself (standalone). `owner`: nobody but the owner of the database checkpoints, and
   * the WAL outlives the last connection: what replication needs.
   */
  readonly checkpoint: 'sqlite' | 'owner'
}

export class Connection {
  readonly sqlite: Sqlite
  readonly #statements = new LruMap<string, Statement>(statementsMax)

  constructor(options: ConnectionOptions) {
    this.sqlite = new Sqlite(options.path, { create: true, readwrite: true, strict: false, safeIntegers: false })
    this.sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    this.sqlite.run('PRAGMA journal_mode = WAL')
    this.sqlite.run('PRAGMA synchronous = NORMAL')
    this.setCache(cacheKiBDefault)
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

  /** Bytes. */
  get pageSize(): number {
    return (this.sqlite.query('PRAGMA page_size').get() as { page_size: number }).page_size
  }

  /** Sets the size of the page cache; default: that of every connection. */
  setCache(kiB: number = cacheKiBDefault): void {
    this.sqlite.run(`PRAGMA cache_size = -${kiB}`)
  }

  /** Prepared once; the connection's to finalize. */
  statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.sqlite.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  all<T = Row>(sql: string, params: SqlParams): T[] {
    const statement = this.statement(sql)
    return statement.all(...fitting(statement, params)) as T[]
  }

  /** The first row, or null. */
  get<T = Row>(sql: string, params: SqlParams): T | null {
    const statement = this.statement(sql)
    return statement.get(...fitting(statement, params)) as T | null
  }

  /** Rows as arrays of values, in the order of the columns. */
  values(sql: string, params: SqlParams): SqlValue[][] {
    const statement = this.statement(sql)
    return statement.values(...fitting(statement, params)) as SqlValue[][]
  }

  close(): void {
    // A statement that is left keeps the files open until the garbage collector finds it.
    for (const [, statement] of this.#statements.entries()) statement.finalize()
    this.#statements.clear()
    this.sqlite.close()
  }
}

/** Compiled filters may number more values than their statement ends up naming; bun:sqlite refuses the surplus. */
function fitting(statement: Statement, params: SqlParams): SqlValue[] {
  const { paramsCount } = statement
  return (params.length > paramsCount ? params.slice(0, paramsCount) : params) as SqlValue[]
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
