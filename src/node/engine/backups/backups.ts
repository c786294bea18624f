// Backups as PocketBase makes them: ZIPs of `pb_data`. PocketBase: core/base_backup.go.
//
// The databases are copied by SQLite itself (VACUUM INTO), never read as files: closing a file of an open database would
// drop its locks. Files on this disk are hard-linked while no write can run, so that the copy is of one moment and
// cheap; files that are objects never change, so those that the copied records name are read afterwards.

import { Database as Sqlite } from 'bun:sqlite'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errorMessage } from '../../../lib/errors.ts'
import { ObjectNotFoundError } from '../../../lib/object-store/object-store.ts'
import { Database } from '../db/database.ts'
import { copyDatabase } from '../db/database-work.ts'
import type { Engine } from '../engine.ts'
import { fileReferences } from '../files/file-references.ts'
import { sendSystemAlert } from '../mails/system-alert.ts'
import { linkOrCopy } from './backup-storage.ts'
import { whileBackupRuns } from './running.ts'
import { type PackedFile, packArchive } from './zip.ts'

export const backupsFolder = 'backups'
export const temporaryFolder = '.pb_temp_to_delete'
/** Of `pb_data`, what no backup holds and no restore replaces. */
export const excludedFolders: readonly string[] = [
  backupsFolder,
  temporaryFolder,
  '.notify',
  '.autocert_cache',
  'lost+found',
]
const autoPrefix = '@auto_pb_backup_'
const appNameMax = 50
/** Files of an object store up to this size are asked for ahead of their turn, and held in memory, bytes. */
const prefetchedBytesMax = 1024 * 1024
/** How many of them. */
const prefetchedMax = 8

/** Makes a backup; `name` empty means one made of the time. Throws BackupBusyError when another one runs. */
export function createBackup(engine: Engine, name: string, prefix = 'pb_backup_'): Promise<void> {
  const key = name === '' ? generatedName(engine, prefix) : name
  const event = { app: engine, name: key, exclude: [...excludedFolders], next() {} }
  return whileBackupRuns(engine, key, async () =>
    engine.chains.onBackupCreate.trigger(event, () =>
      inTemporaryFolder(engine, 'pb_backup_', async (folder) => {
        const path = join(folder, 'backup.zip')
        await exportTo(engine, path, event.exclude)
        await engine.backups.put(key, path)
      }),
    ),
  )
}

/** Runs `work` with a new folder beside the databases, and removes it. */
export async function inTemporaryFolder<T>(
  engine: Engine,
  prefix: string,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const parent = join(engine.dir, temporaryFolder)
  await mkdir(parent, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(parent, prefix))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Removes what a killed process left of its backups and restores. Before the engine opens. */
export async function clearTemporary(dir: string): Promise<void> {
  await rm(join(dir, temporaryFolder), { recursive: true, force: true })
}

/**
 * Packs the whole of a tenant as it is at one moment into a new ZIP at `path`. Files in a bucket that the tenant's
 * settings name are not in it, as in PocketBase; thumbs of files in a fleet's store are not either, they are made anew.
 *
 * @param exclude names at the top of the data directory that stay out.
 */
export async function exportTo(
  engine: Engine,
  path: string,
  exclude: readonly string[] = excludedFolders,
): Promise<void> {
  const isNoContent = (name: string) =>
    exclude.includes(name) || name === temporaryFolder || /\.db(?:-\w+)?$|\.lock$/.test(name)
  await inTemporaryFolder(engine, 'pb_copy_', async (copy) => {
    const areFilesObjects = engine.files.keepsDeleted
    await engine.data.exclusively(() =>
      engine.aux.exclusively(async () => {
        await copyDatabase(engine.data, join(copy, 'data.db'))
        await copyDatabase(engine.aux, join(copy, 'auxiliary.db'))
        if (!areFilesObjects) await linkTree(engine.dir, copy, isNoContent)
      }),
    )
    await dropOwnTables(join(copy, 'data.db'))
    await packArchive(path, {
      dir: copy,
      isExcluded: isSidecar,
      files: areFilesObjects ? objectFiles(engine, join(copy, 'data.db')) : null,
    })
  })
}

const isSidecar = (name: string) => /\.db-\w+$/.test(name)

/** What only a fleet has in the database of a tenant. */
async function dropOwnTables(path: string): Promise<void> {
  const database = Database.open({ path, checkpoint: 'sqlite' })
  try {
    await database.transaction(() => database.exec('DROP TABLE IF EXISTS `_pfDeletedFiles`'))
  } finally {
    await database.close()
  }
}

/** The files that the records of a copied database name, read from their store one after the other. */
async function* objectFiles(engine: Engine, path: string): AsyncGenerator<PackedFile> {
  const database = new Sqlite(path, { readonly: true })
  const ahead: { readonly key: string; readonly file: Promise<PackedFile | null> }[] = []
  const next = async (): Promise<PackedFile | null> => {
    const { key, file } = ahead.shift()!
    const found = await file
    if (found === null) engine.log.warn('file of a record is missing, not in the backup', { key })
    return found
  }
  try {
    for (const key of fileReferences(database)) {
      const file = fetchSmall(engine, key)
      file.catch(() => {}) // reported when its turn comes
      ahead.push({ key, file })
      if (ahead.length < prefetchedMax) continue
      const packed = await next()
      if (packed !== null) yield packed
    }
    while (ahead.length > 0) {
      const packed = await next()
      if (packed !== null) yield packed
    }
  } finally {
    await Promise.allSettled(ahead.map(({ file }) => file))
    database.close()
  }
}

/** A small file whole; of a larger one only that it is there, it is read in its turn. */
async function fetchSmall(engine: Engine, key: string): Promise<PackedFile | null> {
  const name = `storage/${key}`
  const found = await engine.files.stream(key)
  if (found === null) return null
  const { sizeBytes, body } = found
  if (sizeBytes <= prefetchedBytesMax) {
    const bytes = new Uint8Array(await new Response(body).arrayBuffer())
    return { name, sizeBytes, open: async () => new Blob([bytes]).stream() }
  }
  await body.cancel()
  return {
    name,
    sizeBytes,
    async open() {
      const again = await engine.files.stream(key)
      if (again === null) throw new ObjectNotFoundError(key)
      return again.body
    },
  }
}

/** @param isExcluded asked for names at the top only. */
async function linkTree(from: string, to: string, isExcluded: (name: string) => boolean): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (isExcluded(entry.name)) continue
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) {
      await mkdir(target)
      await linkTree(source, target, () => false)
    } else if (entry.isFile()) {
      await linkOrCopy(source, target)
    }
  }
}

function generatedName(engine: Engine, prefix: string): string {
  const app = engine.settings.meta.appName
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .replace(/^_|_$/g, '')
  const at = new Date(engine.clock.now()).toISOString().replace(/\D/g, '').slice(0, 14)
  return `${prefix}${app.slice(0, appNameMax)}_${at}.zip`
}

/**
 * The scheduled backup: makes one, and keeps as many as the settings say. A failure goes to the log and by mail to the
 * superusers, and older backups are still counted.
 */
export async function runAutoBackup(engine: Engine): Promise<void> {
  try {
    await createBackup(engine, '', autoPrefix)
  } catch (error) {
    engine.log.error('scheduled backup failed', { error })
    const words = `Failed to create/upload automated backup. Raw error:\n${errorMessage(error)}`
    const unsent = await sendSystemAlert(engine, 'Autobackup failure', words)
    if (unsent.length > 0)
      engine.log.warn('alert not sent to every superuser', { count: unsent.length, error: unsent[0] })
  }
  const { cronMaxKeep } = engine.settings.backups
  if (cronMaxKeep <= 0) return
  const ours = (await engine.backups.list()).filter((each) => each.key.startsWith(autoPrefix))
  ours.sort((a, b) => b.modifiedAtMs - a.modifiedAtMs || (a.key < b.key ? 1 : -1))
  for (const { key } of ours.slice(cronMaxKeep)) await engine.backups.delete(key)
}
