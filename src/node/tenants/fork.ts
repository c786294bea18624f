// A new tenant out of one moment of another. Its histories begin with that moment's images, and the files that its records
// refer to are copied inside the store, so from its first second it depends on nothing of its source. See
// docs/adr/0017-forks-copy-their-files.md.
//
// May be repeated after any failure: a file that is there is not copied again, and `data.db`, whose slot 1 is written
// last, proves that all of it is there.

import { Database as Sqlite } from 'bun:sqlite'
import { join } from 'node:path'
import type { Cut, ForkReport } from '../../ipc/messages/jobs.ts'
import type { Placement, TenantSpec } from '../../ipc/messages/tenant.ts'
import { noStandbys } from '../../ipc/standby-record.ts'
import type { TenantId, Txid } from '../../lib/brand.ts'
import { fromUtf8, utf8 } from '../../lib/bytes.ts'
import { AppError } from '../../lib/errors.ts'
import { alphanumeric, randomText } from '../../lib/id.ts'
import { ObjectNotFoundError, type ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Rng } from '../../lib/rng.ts'
import { createHistory } from '../../replicate/history.ts'
import { getSlot } from '../../replicate/ltx-store.ts'
import { closedSource } from '../../replicate/point-in-time.ts'
import { restoreDatabase } from '../../replicate/restore.ts'
import { quoteName } from '../engine/db/sql.ts'
import { deletedFilesTable, referencedFiles } from '../engine/files/file-references.ts'
import { locate } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { noFacts, tenantPrefix, writeManifest } from './manifest.ts'
import { checkSound } from './roll-back.ts'
import { type DatabaseName, databaseNames } from './tenant-files.ts'

/** A record of the moment refers to a file that the source no longer has: that moment is older than what it keeps. */
export class SourceFileGoneError extends AppError {
  readonly code = 'source_file_gone'
}

/** Copies in flight; each is one request that the store works on alone. */
const copiesInFlight = 16
/** As long as PocketBase makes the secrets that sign tokens. */
const secretLength = 50

export async function forkTenant(
  order: {
    readonly tenant: TenantSpec
    readonly placement: Placement
    readonly source: TenantId
    readonly cut: Cut
  },
  context: JobContext,
): Promise<ForkReport> {
  const { tenant, placement, source, cut } = order
  const { scratchDir, clock, rng, signal, report } = context
  const txids: Readonly<Record<DatabaseName, Txid>> = {
    'data.db': cut.data,
    'hooks.db': cut.hooks,
    'auxiliary.db': cut.auxiliary,
  }
  for (const [index, name] of databaseNames.entries()) {
    report({ step: `rebuilding ${name}`, done: index, total: databaseNames.length })
    const path = join(scratchDir, name)
    await restoreDatabase(locate({ ...context, tenantId: source }, name), path, { target: txids[name], signal })
    checkSound(name, path)
  }
  const { notes, files } = makeOwn(join(scratchDir, 'data.db'), rng)
  const filesBytes = await copyFiles(files, { source, target: tenant.id }, context)
  const lineage = { tenantId: source, atMs: cut.atMs }
  await writeManifest(context, {
    tenant,
    facts: { ...noFacts, lineage, standbys: noStandbys },
    updatedAtMs: clock.now(),
  })
  for (const name of databaseNames) {
    report({ step: `writing ${name}`, done: files.length, total: files.length })
    const at = locate({ ...context, tenantId: tenant.id }, name)
    if ((await getSlot(at, 1 as Txid, { signal })) !== null) continue // of an earlier attempt
    const image = closedSource(join(scratchDir, name))
    await createHistory(at, image, { epoch: placement.epoch, clock, rng, signal })
  }
  return { cut, filesCount: files.length, filesBytes, notes }
}

/** What a copy must not share with its original. Exported for its tests. */
export function makeOwn(
  dataPath: string,
  rng: Rng,
): { readonly notes: readonly string[]; readonly files: readonly string[] } {
  const database = new Sqlite(dataPath, { readwrite: true })
  try {
    const files = [...referencedFiles(database)].sort()
    const notes: string[] = []
    database.transaction(() => {
      rotateSecrets(database, rng)
      for (const table of ['_otps', '_mfas'])
        if (hasTable(database, table)) database.run(`DELETE FROM ${quoteName(table)}`)
      database.run(`DROP TABLE IF EXISTS ${quoteName(deletedFilesTable)}`)
      notes.push(...detachSettings(database))
    })()
    // The file itself is what goes on from here, without a WAL beside it.
    database.run('PRAGMA wal_checkpoint(TRUNCATE)')
    return { notes, files }
  } finally {
    database.close()
  }
}

/** A token that one of the two signs must mean nothing to the other, or whoever is let into one is let into both. */
function rotateSecrets(database: Sqlite, rng: Rng): void {
  const rows = database
    .query<{ id: string; options: string }, []>("SELECT id, options FROM _collections WHERE type = 'auth'")
    .all()
  for (const { id, options } of rows) {
    const parsed = JSON.parse(options) as Record<string, unknown>
    for (const value of Object.values(parsed))
      if (isToken(value)) value['secret'] = randomText(rng, secretLength, alphanumeric)
    database.run('UPDATE _collections SET options = ? WHERE id = ?', [JSON.stringify(parsed), id])
  }
}

function isToken(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && 'secret' in value && 'duration' in value
}

/** A bucket of the source's own would be written to, and emptied, by both. */
function detachSettings(database: Sqlite): string[] {
  const row = database
    .query<{ value: Uint8Array | string }, []>("SELECT value FROM _params WHERE id = 'settings'")
    .get()
  if (row === null) return []
  const text = typeof row.value === 'string' ? row.value : fromUtf8(row.value)
  const settings = JSON.parse(text) as {
    s3?: { enabled?: boolean }
    backups?: { cron?: string; s3?: { enabled?: boolean } }
  }
  const notes: string[] = []
  if (settings.s3?.enabled) {
    settings.s3.enabled = false
    notes.push('The source keeps its files in a bucket of its own: the fork does not use it, and has none of them.')
  }
  if (settings.backups?.s3?.enabled || settings.backups?.cron) {
    if (settings.backups.s3) settings.backups.s3.enabled = false
    settings.backups.cron = ''
    notes.push('Scheduled backups are switched off in the fork.')
  }
  if (notes.length > 0)
    database.run("UPDATE _params SET value = ? WHERE id = 'settings'", [utf8(JSON.stringify(settings))])
  return notes
}

function hasTable(database: Sqlite, name: string): boolean {
  return database.query('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) !== null
}

/** @returns bytes of all files. */
async function copyFiles(
  files: readonly string[],
  between: { readonly source: TenantId; readonly target: TenantId },
  context: JobContext,
): Promise<number> {
  const { store, objectPrefix, signal, report } = context
  const from = `${tenantPrefix(objectPrefix, between.source)}/files/`
  const to = `${tenantPrefix(objectPrefix, between.target)}/files/`
  const [there, done] = await Promise.all([sizesUnder(store, from, signal), sizesUnder(store, to, signal)])
  const missing = files.find((key) => !there.has(key))
  if (missing !== undefined) throw new SourceFileGoneError(`the source no longer has the file ${missing}`) // before any copy
  let copied = 0
  let bytes = 0
  const queue = files.values()
  const lane = async () => {
    for (const key of queue) {
      const size = there.get(key)!
      if (done.get(key) !== size) await copyOne(store, from + key, to + key, signal)
      bytes += size
      report({ step: 'copying files', done: ++copied, total: files.length })
    }
  }
  await Promise.all(Array.from({ length: Math.min(copiesInFlight, files.length) }, lane))
  return bytes
}

async function copyOne(store: ObjectStore, from: string, to: string, signal: AbortSignal): Promise<void> {
  try {
    await store.copy(from, to, { signal })
  } catch (error) {
    if (error instanceof ObjectNotFoundError)
      throw new SourceFileGoneError(`the source no longer has the file ${from}`, { cause: error })
    throw error
  }
}

/** Sizes by key below a prefix: one request for a thousand, where asking for each would be one each. */
export async function sizesUnder(
  store: ObjectStore,
  prefix: string,
  signal: AbortSignal,
): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  let next: string | null = null
  do {
    const page: Awaited<ReturnType<ObjectStore['list']>> = await store.list({ prefix, next, signal })
    for (const { key, sizeBytes } of page.objects) sizes.set(key.slice(prefix.length), sizeBytes)
    next = page.next
  } while (next !== null)
  return sizes
}
