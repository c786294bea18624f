// The content of a tenant of a fleet, replaced by another `data.db`: what imports and restored backups share. To the
// history it is one more transaction, so the old content stays a restore point.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../../lib/errors.ts'
import { ObjectExistsError } from '../../lib/object-store/object-store.ts'
import { allowRestore } from '../engine/backups/restore.ts'
import { CorruptDatabaseError, Database } from '../engine/db/database.ts'
import { replaceContent } from '../engine/db/database-work.ts'
import type { Engine } from '../engine/engine.ts'
import { contentTypeOf } from '../engine/files/content-type.ts'
import { UploadedFile } from '../engine/files/uploaded-file.ts'
import { createSystemCollections } from '../engine/schema/fresh.ts'

/** Files that go up at once; each may be held in memory in parts. */
const uploadsMax = 4

/**
 * Replaces everything by the `data.db` at `path`, which is changed on the way. Clients that listen are sent away.
 *
 * Throws CorruptDatabaseError for what is no sound `data.db` of PocketBase v0.23 or later, or holds settings that do not
 * open here; then nothing has changed.
 */
export async function replaceTenantContent(engine: Engine, path: string): Promise<void> {
  await checkIncoming(engine, path)
  await replaceContent(engine.data, path, { deletedAtMs: engine.clock.now() })
  engine.collections.reload()
  await createSystemCollections(engine.collections, engine.rng)
  await engine.settingsStore.reload()
  engine.realtime.close()
  engine.log.info('content replaced', { collections: engine.collections.all().length })
}

async function checkIncoming(engine: Engine, path: string): Promise<void> {
  const incoming = Database.open({ path, checkpoint: 'sqlite' })
  try {
    const tables = incoming
      .all<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .map((row) => row.name)
    const missing = ['_collections', '_params', '_migrations'].filter((name) => !tables.includes(name))
    if (missing.length > 0)
      throw new CorruptDatabaseError(`it is no data.db of PocketBase: ${missing.join(', ')} missing`)
    const columns = incoming.all<{ name: string }>('PRAGMA table_info(_collections)').map((row) => row.name)
    if (!columns.includes('fields'))
      throw new CorruptDatabaseError('it was written before PocketBase v0.23; open it once with a newer PocketBase')
    await engine.settingsStore.checkReadable(incoming)
  } finally {
    await incoming.close()
  }
}

/** Lets backups be restored: files become objects, which is repeatable, then the database is replaced. */
export function allowFleetRestore(engine: Engine): void {
  allowRestore(engine, async (unpacked) => {
    for await (const files of filesOf(join(unpacked, 'storage')))
      await Promise.all(files.map(({ key, path }) => putFile(engine, key, path)))
    await replaceTenantContent(engine, join(unpacked, 'data.db'))
  })
}

/** Stores a file of an import or a backup where the fleet keeps the tenant's, whatever bucket the settings name. */
export async function putFile(engine: Engine, key: string, path: string): Promise<void> {
  const name = key.slice(key.lastIndexOf('/') + 1)
  const { size } = await Bun.file(path).stat()
  const contentType = await contentTypeOf(path, key)
  const file = new UploadedFile({ originalName: name, name, sizeBytes: size, contentType, content: { path } })
  try {
    await engine.files.base.put(key, file)
  } catch (error) {
    // Names are never used twice: what is there is this file, from an attempt that was interrupted.
    if (!(error instanceof ObjectExistsError)) throw error
  }
}

interface LocalFile {
  readonly key: string
  readonly path: string
}

/** Uploads of records below `storage`, few at a time; without thumbs and `.attrs`, which are made anew. */
async function* filesOf(storage: string): AsyncGenerator<readonly LocalFile[]> {
  let batch: LocalFile[] = []
  for (const collection of await foldersIn(storage))
    for (const record of await foldersIn(join(storage, collection))) {
      const folder = join(storage, collection, record)
      for (const entry of await readdir(folder, { withFileTypes: true })) {
        if (!entry.isFile() || entry.name.endsWith('.attrs')) continue
        batch.push({ key: `${collection}/${record}/${entry.name}`, path: join(folder, entry.name) })
        if (batch.length < uploadsMax) continue
        yield batch
        batch = []
      }
    }
  yield batch
}

async function foldersIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.filter((each) => each.isDirectory()).map((each) => each.name)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
