// Which uploaded files a database refers to, and keeping the list of deleted files true when a database goes back in
// time: what its rows refer to must not be swept, and what only the newer state had must not stay for ever.

import { SQLiteError, Database as Sqlite } from 'bun:sqlite'
import { assert } from '../../../lib/assert.ts'
import { isObjectKey } from '../../../lib/object-store/key.ts'
import { quoteName } from '../db/sql.ts'
import { toTexts } from '../fields/cast.ts'

export const deletedFilesTable = '_pfDeletedFiles'

export interface StoredCollection {
  readonly id: string
  readonly name: string
  readonly type: string
  readonly fields: readonly { readonly name: string; readonly type: string }[]
}

/** The collections of a `data.db`, as they are stored. */
export function storedCollections(database: Sqlite, schema = 'main'): StoredCollection[] {
  const rows = database
    .query<{ id: string; name: string; type: string; fields: string }, []>(
      `SELECT id, name, type, fields FROM ${schema}._collections ORDER BY name`,
    )
    .all()
  return rows.map((row) => ({ ...row, fields: JSON.parse(row.fields) as StoredCollection['fields'] }))
}

/** Keys (`collection/record/name`) of every file that a record refers to. */
export function referencedFiles(database: Sqlite): Set<string> {
  return new Set(fileReferences(database))
}

/** The same one by one, read as they are asked for; a key that several records name comes several times. */
export function* fileReferences(database: Sqlite): Generator<string> {
  for (const { id, name, type, fields } of storedCollections(database)) {
    if (type === 'view') continue
    for (const field of fields) {
      if (field.type !== 'file') continue
      const column = quoteName(field.name)
      const rows = database.prepare<{ id: string; names: unknown }, []>(
        `SELECT id, ${column} AS names FROM ${quoteName(name)} WHERE ${column} NOT IN ('', '[]')`,
      )
      try {
        for (const row of rows.iterate())
          for (const each of toTexts(row.names)) {
            const key = `${id}/${row.id}/${each}`
            if (isFileReference(key)) yield key
          }
      } finally {
        rows.finalize()
      }
    }
  }
}

/** A database from elsewhere may hold anything; what is no file name names nothing that could be stored. */
function isFileReference(key: string): boolean {
  return isObjectKey(key) && key.split('/').length === 3
}

/**
 * Corrects the list of deleted files in a database that goes back in time, given the newer state that it replaces. What
 * only the newer state refers to counts as deleted now. Writes nothing where nothing has to change.
 *
 * @returns how many files the newer state alone referred to.
 */
export function reconcileDeletedFiles(restoredPath: string, currentPath: string, nowMs: number): number {
  const current = new Sqlite(currentPath, { readonly: true })
  const restored = new Sqlite(restoredPath, { readwrite: true })
  try {
    const wanted = referencedFiles(restored)
    const before = listed(restored)
    const after = new Map<string, number>()
    let released = 0
    const newer = filesOfNewer(current)
    // Deleted before then, and deleted since then: unless a row refers to it again.
    // The later time counts: a state in between may have had the file again.
    for (const [key, deletedAtMs] of [...before, ...newer.listed])
      if (!wanted.has(key)) after.set(key, Math.max(deletedAtMs, after.get(key) ?? 0))
    for (const key of newer.referenced) {
      if (wanted.has(key)) continue
      if (!after.has(key)) released++
      after.set(key, nowMs)
    }
    if (!sameEntries(before, after)) replaceList(restored, after)
    return released
  } finally {
    restored.close()
    current.close()
  }
}

/** A newer state that cannot be read is the best reason to go back; its files then stay for good. */
function filesOfNewer(current: Sqlite): {
  readonly listed: ReadonlyMap<string, number>
  readonly referenced: ReadonlySet<string>
} {
  try {
    return { listed: listed(current), referenced: referencedFiles(current) }
  } catch (error) {
    if (!isUnreadable(error)) throw error
    return { listed: new Map(), referenced: new Set() }
  }
}

/** Whether it is the content that cannot be read: tables hold what superusers put there. A full disk is not that. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof SyntaxError || (error instanceof SQLiteError && error.code !== 'SQLITE_FULL')
}

function listed(database: Sqlite): Map<string, number> {
  const hasTable = database.query('SELECT 1 FROM sqlite_schema WHERE name = ?').get(deletedFilesTable) !== null
  if (!hasTable) return new Map()
  const rows = database
    .query<{ key: string; deletedAtMs: number }, []>(`SELECT key, deletedAtMs FROM ${quoteName(deletedFilesTable)}`)
    .all()
  return new Map(rows.map(({ key, deletedAtMs }) => [key, deletedAtMs]))
}

function replaceList(database: Sqlite, entries: ReadonlyMap<string, number>): void {
  const table = quoteName(deletedFilesTable)
  database.transaction(() => {
    database.run(`CREATE TABLE IF NOT EXISTS ${table} (key TEXT PRIMARY KEY NOT NULL, deletedAtMs INTEGER NOT NULL)`)
    database.run(`DELETE FROM ${table}`)
    const insert = database.prepare(`INSERT INTO ${table} (key, deletedAtMs) VALUES (?, ?)`)
    for (const [key, deletedAtMs] of entries) insert.run(key, deletedAtMs)
    insert.finalize()
  })()
  // The file itself is what goes on from here, without a WAL beside it.
  const outcome = database.query<{ busy: number }, []>('PRAGMA wal_checkpoint(TRUNCATE)').get()
  assert(outcome?.busy === 0, 'nobody else has the scratch file open')
}

function sameEntries(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}
