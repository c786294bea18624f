// One question of a superuser to one database file, on a connection that cannot write: what a reader process runs.

import { constants, Database as Sqlite } from 'bun:sqlite'

const busyTimeoutMs = 5_000

export interface ReaderQuery {
  readonly path: string
  readonly sql: string
  readonly rowsMax: number
  /** Of all values as text. */
  readonly bytesMax: number
}

export interface ReaderColumn {
  readonly name: string
  readonly type: string
  readonly nullable: boolean
}

export interface ReaderRows {
  readonly columns: readonly ReaderColumn[]
  /** Values as text. */
  readonly rows: readonly (readonly (string | null)[])[]
}

/** Throws what SQLite says. Read-only: closing it last must not checkpoint what the owner has not shipped. */
export function runReaderQuery(query: ReaderQuery): ReaderRows {
  const sqlite = new Sqlite(query.path, constants.SQLITE_OPEN_READONLY)
  try {
    sqlite.run(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
    sqlite.run('PRAGMA query_only = ON')
    const statement = sqlite.prepare(query.sql)
    try {
      const rows: (string | null)[][] = []
      let bytes = 0
      const names = statement.columnNames
      for (const row of (statement as unknown as { values(): unknown[][] }).values()) {
        if (rows.length >= query.rowsMax) break
        const texts = row.map(asText)
        for (const text of texts) bytes += text?.length ?? 0
        if (bytes > query.bytesMax) throw new Error('the answer is too large')
        rows.push(texts)
      }
      const types = declaredTypes(statement)
      return { columns: names.map((name, i) => ({ name, type: types[i] ?? '', nullable: true })), rows }
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
