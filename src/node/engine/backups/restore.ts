// Puts the contents of a backup in the place of `pb_data`. The engine is closed meanwhile, by whoever holds it; nothing
// is lost when any step fails: the old contents are moved aside first and moved back.

import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, errorCode } from '../../../lib/errors.ts'
import { Database } from '../db/database.ts'
import type { Engine } from '../engine.ts'
import { RefusedError } from '../errors.ts'
import { backupPath, excludedFolders, temporaryFolder } from './backups.ts'
import { whileBackupRuns } from './running.ts'
import { ArchiveError, unpackArchive, type ZipProgress } from './zip.ts'

/** Closes the engine, runs `swap`, and opens it again, also when `swap` fails. */
export type Restarter = (swap: () => Promise<void>) => Promise<void>

const restarters = new WeakMap<Engine, Restarter>()

/** Says how an engine can be replaced under its clients; without it, there is no restore. */
export function allowRestore(engine: Engine, restart: Restarter): void {
  restarters.set(engine, restart)
}

export function canRestore(engine: Engine): boolean {
  return restarters.has(engine)
}

/** What was given is no data directory of PocketBase's. */
export class NotPbDataError extends AppError {
  readonly code = 'not_pb_data'
}

/** Replaces everything by a backup. The engine given is closed afterwards. */
export async function restoreBackup(engine: Engine, key: string): Promise<void> {
  const restart = restarters.get(engine)
  if (restart === undefined) throw new RefusedError('This tenant is restored by the platform; use its restore points.')
  await whileBackupRuns(engine, key, async () => {
    const parent = join(engine.dir, temporaryFolder)
    await mkdir(parent, { recursive: true })
    const folder = await mkdtemp(join(parent, 'pb_restore_'))
    try {
      const [unpacked, old] = [join(folder, 'new'), join(folder, 'old')]
      await unpackArchive(backupPath(engine, key), unpacked)
      await checkPbData(unpacked)
      await restart(() => swapContents(engine.dir, unpacked, old))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
}

/** Throws NotPbDataError unless `dir` holds a sound `data.db` of PocketBase's. */
export async function checkPbData(dir: string): Promise<void> {
  for (const name of ['data.db', 'auxiliary.db']) {
    const path = join(dir, name)
    try {
      if (!(await stat(path)).isFile()) throw new NotPbDataError(`${name} is no file`)
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      if (name === 'auxiliary.db') continue // only logs: a new one is made
      throw new NotPbDataError('there is no data.db in it', { cause: error })
    }
    let database: Database
    try {
      database = Database.open({ path, checkpoint: 'sqlite' })
    } catch (error) {
      throw new NotPbDataError(`${name} is no database`, { cause: error })
    }
    try {
      database.quickCheck()
      if (name === 'data.db' && database.get("SELECT 1 FROM sqlite_schema WHERE name = '_collections'") === null)
        throw new NotPbDataError('data.db has no _collections')
    } finally {
      await database.close()
    }
  }
}

async function swapContents(dir: string, fresh: string, old: string): Promise<void> {
  await mkdir(old)
  const moved: [from: string, to: string][] = []
  const moveAll = async (from: string, to: string) => {
    for (const name of await readdir(from)) {
      if (excludedFolders.includes(name) || name.endsWith('.lock')) continue
      await rename(join(from, name), join(to, name))
      moved.push([join(from, name), join(to, name)])
    }
  }
  try {
    await moveAll(dir, old)
    await moveAll(fresh, dir)
  } catch (error) {
    for (const [from, to] of moved.reverse()) await rename(to, from)
    throw error
  }
}

/**
 * Takes a `pb_data` directory's ZIP, or a copy of such a directory, into an empty one: what `pocketfleet tenant import`
 * does before the tenant is opened. Nothing stays in `dir` when it fails.
 */
export async function importPbData(
  source: string,
  dir: string,
  options: { readonly bytesMax?: number; readonly onProgress?: ZipProgress } = {},
): Promise<void> {
  await mkdir(dir, { recursive: true })
  if ((await readdir(dir)).length > 0) throw new RefusedError(`${dir} is not empty`)
  try {
    if ((await stat(source)).isDirectory()) await copyPbData(source, dir, options.onProgress)
    else await unpackArchive(source, dir, options)
    await checkPbData(dir)
  } catch (error) {
    for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true, force: true })
    if (error instanceof ArchiveError) throw new NotPbDataError('the archive cannot be used', { cause: error })
    throw error
  }
}

/** The databases are copied by SQLite, so that what still stands in a WAL comes along; links are left out. */
async function copyPbData(source: string, dir: string, onProgress?: ZipProgress): Promise<void> {
  let entries = 0
  let bytes = 0
  const noteFile = async (path: string) => {
    bytes += (await stat(path)).size
    onProgress?.({ entries: ++entries, bytes })
  }
  for (const name of ['data.db', 'auxiliary.db']) {
    const path = join(source, name)
    try {
      await stat(path)
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      continue // checked afterwards
    }
    const database = Database.open({ path, checkpoint: 'owner' })
    try {
      database.vacuumInto(join(dir, name))
    } finally {
      await database.close()
    }
    await noteFile(join(dir, name))
  }
  const copyFolder = async (from: string, to: string, isTop: boolean) => {
    for (const entry of await readdir(from, { withFileTypes: true })) {
      if (isTop && (excludedFolders.includes(entry.name) || /\.db(?:-\w+)?$/.test(entry.name))) continue
      const [path, target] = [join(from, entry.name), join(to, entry.name)]
      if (entry.isDirectory()) {
        await mkdir(target)
        await copyFolder(path, target, false)
      } else if (entry.isFile()) {
        await Bun.write(target, Bun.file(path))
        await noteFile(target)
      }
    }
  }
  await copyFolder(source, dir, true)
}
