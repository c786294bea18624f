// A tenant as a `pb_data` directory of one moment: what PocketBase itself would hold, without our own tables. The parts
// are laid out on disk here; `export-desk.ts` streams them as a ZIP, which is the same byte for byte however often it is
// made, so that a download that broke off goes on where it stopped.

import { Database as Sqlite } from 'bun:sqlite'
import { join } from 'node:path'
import type { Txid } from '../../lib/brand.ts'
import { fromUtf8 } from '../../lib/bytes.ts'
import { restoreDatabase } from '../../replicate/restore.ts'
import { quoteName } from '../engine/db/sql.ts'
import { referencedFiles } from '../engine/files/file-references.ts'
import { locate, type TenantHistories } from './cut.ts'
import { SourceFileGoneError, sizesUnder } from './fork.ts'
import type { JobContext } from './job-context.ts'
import { tenantPrefix } from './manifest.ts'
import { checkSound } from './roll-back.ts'

export const exportedDatabases = ['data.db', 'auxiliary.db'] as const
/** One JSON array `[key, bytes]` a line. */
export const filesListName = 'files.jsonl'

/** What of a moment goes into an export; hooks.db is no part of PocketBase's `pb_data`. */
export interface ExportCut {
  readonly atMs: number
  readonly data: Txid
  readonly auxiliary: Txid
}

export interface ExportReport {
  /** Names exactly this content. */
  readonly etag: string
  readonly filesCount: number
}

/** Lays the parts out in `context.scratchDir`. Throws SourceFileGoneError when a file of that moment is gone. */
export async function prepareExport(
  histories: TenantHistories,
  cut: ExportCut,
  context: JobContext,
): Promise<ExportReport> {
  const { scratchDir, store, objectPrefix, signal, report } = context
  const hash = new Bun.CryptoHasher('sha256').update(JSON.stringify([histories.tenantId, cut.atMs]))
  for (const [index, name] of exportedDatabases.entries()) {
    report({ step: `rebuilding ${name}`, done: index, total: exportedDatabases.length })
    const path = join(scratchDir, name)
    const target = name === 'data.db' ? cut.data : cut.auxiliary
    await restoreDatabase(locate(histories, name), path, { target, signal })
    checkSound(name, path)
    dropOwnTables(path)
    for await (const piece of Bun.file(path).stream()) hash.update(piece)
  }
  report({ step: 'listing files', done: 0, total: null })
  const { keys, isOwnBucket } = filesOf(join(scratchDir, 'data.db'))
  const list = Bun.file(join(scratchDir, filesListName)).writer()
  let filesCount = 0
  if (!isOwnBucket) {
    const prefix = `${tenantPrefix(objectPrefix, histories.tenantId)}/files/`
    const sizes = await sizesUnder(store, prefix, signal)
    for (const key of keys) {
      const size = sizes.get(key)
      if (size === undefined) throw new SourceFileGoneError(`the store no longer has the file ${key}`)
      const line = `${JSON.stringify([key, size])}\n`
      list.write(line)
      hash.update(line)
      filesCount++
    }
  }
  await list.end()
  return { etag: `"${hash.digest('hex').slice(0, 32)}"`, filesCount }
}

/** Tables that only a fleet has, and the room that they took. */
function dropOwnTables(path: string): void {
  const database = new Sqlite(path, { readwrite: true })
  try {
    const own = database
      .query<{ name: string }, []>(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_pf%' ESCAPE '\\'",
      )
      .all()
    for (const { name } of own) database.run(`DROP TABLE ${quoteName(name)}`)
    if (own.length > 0) database.run('VACUUM')
    database.run('PRAGMA wal_checkpoint(TRUNCATE)')
  } finally {
    database.close()
  }
}

/** Files in a bucket that the settings name are none of ours, as in PocketBase's own backups. */
function filesOf(dataPath: string): { readonly keys: readonly string[]; readonly isOwnBucket: boolean } {
  const database = new Sqlite(dataPath, { readwrite: true })
  try {
    const row = database
      .query<{ value: Uint8Array | string }, []>("SELECT value FROM _params WHERE id = 'settings'")
      .get()
    const text = row === null ? '{}' : typeof row.value === 'string' ? row.value : fromUtf8(row.value)
    const settings = JSON.parse(text) as { readonly s3?: { readonly enabled?: boolean } }
    return { keys: [...referencedFiles(database)].sort(), isOwnBucket: settings.s3?.enabled === true }
  } finally {
    database.close()
  }
}
