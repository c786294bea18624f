// Puts the contents of a backup in the place of a tenant's. Standalone: the engine is closed meanwhile, by whoever holds
// it, and folders change places; nothing is lost when any step fails, because the old contents are moved aside first and
// moved back. In a fleet: files become objects, the database one more transaction (tenants/tenant-content.ts).

import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, errorCode } from '../../../lib/errors.ts'
import { Database } from '../db/database.ts'
import { doDatabaseWork } from '../db/database-work.ts'
import type { Engine } from '../engine.ts'
import { RefusedError } from '../errors.ts'
import { excludedFolders, inTemporaryFolder } from './backups.ts'
import { whileBackupRuns } from './running.ts'
import { unpackArchive } from './zip.ts'

/**
 * Makes an unpacked and checked `pb_data` the content of an engine: all of it or nothing. `scratch` is an empty folder
 * on the same file system.
 */
export type Restorer = (unpacked: string, scratch: string) => Promise<void>

const restorers = new WeakMap<Engine, Restorer>()

/** Says how the content of an engine can be replaced under its clients; without it, there is no restore. */
export function allowRestore(engine: Engine, restorer: Restorer): void {
  restorers.set(engine, restorer)
}

export function canRestore(engine: Engine): boolean {
  return restorers.has(engine)
}

/** What was given is no data directory of PocketBase's. */
export class NotPbDataError extends AppError {
  readonly code = 'not_pb_data'
}

/** Replaces everything by a backup. A standalone engine is closed afterwards, and another one in its place. */
export async function restoreBackup(engine: Engine, key: string): Promise<void> {
  const restorer = restorers.get(engine)
  if (restorer === undefined) throw new RefusedError('This tenant cannot be restored here.')
  const event = { app: engine, name: key, exclude: [...excludedFolders], next() {} }
  const work = () =>
    inTemporaryFolder(engine, 'pb_restore_', async (folder) => {
      const archive = await engine.backups.fetch(key, join(folder, 'backup.zip'))
      if (archive === null) throw new RefusedError(`missing or invalid backup file ${JSON.stringify(key)} to restore`)
      const [unpacked, scratch] = [join(folder, 'new'), join(folder, 'old')]
      await unpackArchive(archive, unpacked)
      await checkPbData(unpacked)
      await mkdir(scratch)
      await restorer(unpacked, scratch)
    })
  await whileBackupRuns(engine, key, async () => engine.chains.onBackupRestore.trigger(event, work))
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
      if (name === 'data.db' && database.get("SELECT 1 FROM sqlite_schema WHERE name = '_collections'") === null)
        throw new NotPbDataError('data.db has no _collections')
    } finally {
      await database.close()
    }
    await doDatabaseWork({ type: 'check', path })
  }
}

/** Puts `fresh` in the place of the contents of `dir`, which go to `old`. The engine of `dir` must be closed. */
export async function swapContents(dir: string, fresh: string, old: string): Promise<void> {
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
