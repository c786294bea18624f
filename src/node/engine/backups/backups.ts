// Backups as PocketBase makes them: ZIPs of `pb_data` under `backups/`. PocketBase: core/base_backup.go.
//
// The databases are copied by SQLite itself (VACUUM INTO), never read as files: closing a file of an open database would
// drop its locks. Stored files are hard-linked while no write can run, so that the copy is of one moment and cheap.

import { constants } from 'node:fs'
import { copyFile, link, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errorCode } from '../../../lib/errors.ts'
import type { Engine } from '../engine.ts'
import { RefusedError } from '../errors.ts'
import { assertFileKey, type StoredFile } from '../files/storage.ts'
import type { UploadedFile } from '../files/uploaded-file.ts'
import { whileBackupRuns } from './running.ts'
import { packDirectory, type ZipProgress } from './zip.ts'

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

export interface BackupInfo {
  readonly key: string
  readonly sizeBytes: number
  readonly modifiedAtMs: number
}

function folderOf(engine: Engine): string {
  // A fleet's node may be lost at any moment, and its directory with it: there restore points are the backups.
  if (engine.files.keepsDeleted)
    throw new RefusedError('Backups of this tenant are kept by the platform; use its restore points.')
  return join(engine.dir, backupsFolder)
}

function pathOf(engine: Engine, key: string): string {
  assertFileKey(key)
  if (key.includes('/')) throw new RefusedError('a backup has no folder')
  return join(folderOf(engine), key)
}

export async function listBackups(engine: Engine): Promise<BackupInfo[]> {
  const folder = folderOf(engine)
  const backups: BackupInfo[] = []
  for (const entry of await filesIn(folder)) {
    const info = await stat(join(folder, entry))
    backups.push({ key: entry, sizeBytes: info.size, modifiedAtMs: Math.floor(info.mtimeMs) })
  }
  return backups
}

async function filesIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    const names = entries.filter((each) => each.isFile() && !each.name.endsWith('.attrs')).map((each) => each.name)
    return names.sort()
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

export async function hasBackup(engine: Engine, key: string): Promise<boolean> {
  try {
    return (await stat(pathOf(engine, key))).isFile()
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
}

export async function openBackup(engine: Engine, key: string): Promise<StoredFile | null> {
  if (!(await hasBackup(engine, key))) return null
  const path = pathOf(engine, key)
  const info = await stat(path)
  return {
    sizeBytes: info.size,
    modifiedAtMs: Math.floor(info.mtimeMs),
    contentType: 'application/zip',
    body: async (range) => (range ? Bun.file(path).slice(range.from, range.to) : Bun.file(path)),
  }
}

/** The path of a backup, for a restore. */
export function backupPath(engine: Engine, key: string): string {
  return pathOf(engine, key)
}

/** @returns false when there was none. */
export async function deleteBackup(engine: Engine, key: string): Promise<boolean> {
  const path = pathOf(engine, key)
  if (!(await hasBackup(engine, key))) return false
  await rm(path, { force: true })
  await rm(`${path}.attrs`, { force: true })
  return true
}

export async function storeBackup(engine: Engine, key: string, file: UploadedFile): Promise<void> {
  const path = pathOf(engine, key)
  await mkdir(dirname(path), { recursive: true })
  if ('path' in file.content) await copyFile(file.content.path, path, constants.COPYFILE_EXCL)
  else await Bun.write(path, file.content.bytes)
}

/** Makes a backup; `name` empty means one made of the time. Throws BackupBusyError when another one runs. */
export function createBackup(engine: Engine, name: string, prefix = 'pb_backup_'): Promise<void> {
  const key = name === '' ? generatedName(engine, prefix) : name
  const target = pathOf(engine, key)
  return whileBackupRuns(engine, key, async () => {
    await mkdir(dirname(target), { recursive: true })
    await exportTo(engine, target)
  })
}

/**
 * Packs the whole of a tenant as it is at one moment into a new ZIP at `path`: what `pocketfleet tenant export` and
 * backups write. Files of an object store are not in it.
 */
export async function exportTo(engine: Engine, path: string, onProgress?: ZipProgress): Promise<void> {
  const parent = join(engine.dir, temporaryFolder)
  await mkdir(parent, { recursive: true })
  const folder = await mkdtemp(join(parent, 'pb_backup_'))
  try {
    const copy = join(folder, 'copy')
    await mkdir(copy)
    await engine.data.exclusively(() =>
      engine.aux.exclusively(async () => {
        engine.data.vacuumInto(join(copy, 'data.db'))
        engine.aux.vacuumInto(join(copy, 'auxiliary.db'))
        await linkTree(
          engine.dir,
          copy,
          (name) => excludedFolders.includes(name) || /\.db(?:-\w+)?$|\.lock$/.test(name),
        )
      }),
    )
    const packed = join(folder, 'backup.zip')
    await packDirectory(copy, packed, () => false, onProgress)
    await rename(packed, path) // complete or not there
  } finally {
    await rm(folder, { recursive: true, force: true })
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
      try {
        await link(source, target)
      } catch (error) {
        if (!['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK'].includes(errorCode(error) ?? '')) throw error
        await copyFile(source, target) // a file system without hard links
      }
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

/** The scheduled backup: makes one, and keeps as many as the settings say. */
export async function runAutoBackup(engine: Engine): Promise<void> {
  await createBackup(engine, '', autoPrefix)
  const { cronMaxKeep } = engine.settings.backups
  if (cronMaxKeep <= 0) return
  const ours = (await listBackups(engine)).filter((each) => each.key.startsWith(autoPrefix))
  ours.sort((a, b) => b.modifiedAtMs - a.modifiedAtMs || (a.key < b.key ? 1 : -1))
  for (const { key } of ours.slice(cronMaxKeep)) await deleteBackup(engine, key)
}
