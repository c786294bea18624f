// What `tenant import` takes: a `pb_data` directory, or a ZIP of one (a backup of PocketBase's, an export of ours). Both
// are walked, never listed whole, so that a tree of a million files costs no memory.

import { Database as Sqlite } from 'bun:sqlite'
import { createWriteStream, existsSync } from 'node:fs'
import { mkdtemp, opendir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigError, errorCode, errorMessage } from '../lib/errors.ts'
import { type ArchiveEntry, openForReading } from '../node/engine/backups/zip.ts'

export type UploadBody = Blob | ReadableStream<Uint8Array>

export interface SourceFile {
  /** `{collection}/{record}/{name}`; the fleet checks it. */
  readonly key: string
  readonly sizeBytes: number
  /** Opened anew for each attempt. */
  readonly open: () => Promise<UploadBody>
}

export interface ImportSource extends AsyncDisposable {
  /** A consistent copy of `data.db`. */
  readonly database: string
  /** Uploads of records. Thumbs and attribute files are left out: they are made anew where needed. */
  files(): AsyncGenerator<SourceFile>
}

/** Throws ConfigError for what is neither. */
export async function openImportSource(path: string): Promise<ImportSource> {
  const source = resolve(path)
  if (!existsSync(source)) throw new ConfigError(`there is no ${source}`)
  const work = await mkdtemp(join(tmpdir(), 'pocketfleet-import-'))
  const remove = () => rm(work, { recursive: true, force: true })
  try {
    const isDirectory = (await stat(source)).isDirectory()
    const database = join(work, 'data.db')
    return isDirectory ? await ofDirectory(source, database, remove) : await ofArchive(source, database, remove)
  } catch (error) {
    await remove()
    throw error
  }
}

async function ofDirectory(root: string, database: string, remove: () => Promise<void>): Promise<ImportSource> {
  if (!existsSync(join(root, 'data.db'))) throw new ConfigError(`${root} holds no data.db; is it a pb_data?`)
  takeSnapshot(join(root, 'data.db'), database)
  return { database, files: () => filesBelow(join(root, 'storage')), [Symbol.asyncDispose]: remove }
}

/** A consistent copy, whether or not a server writes to the original. */
function takeSnapshot(from: string, to: string): void {
  try {
    const source = new Sqlite(from, { readonly: true })
    try {
      source.run('VACUUM INTO ?', [to])
    } finally {
      source.close()
    }
  } catch (error) {
    throw new ConfigError(`${from} cannot be read as a database: ${errorMessage(error)}`, { cause: error })
  }
}

async function* filesBelow(storage: string): AsyncGenerator<SourceFile> {
  for await (const collection of foldersIn(storage))
    for await (const record of foldersIn(join(storage, collection))) {
      const folder = join(storage, collection, record)
      for await (const entry of await opendir(folder)) {
        if (!entry.isFile() || isSidecar(entry.name)) continue
        const path = join(folder, entry.name)
        const { size } = await stat(path)
        yield { key: `${collection}/${record}/${entry.name}`, sizeBytes: size, open: async () => Bun.file(path) }
      }
    }
}

async function* foldersIn(path: string): AsyncGenerator<string> {
  try {
    for await (const entry of await opendir(path)) if (entry.isDirectory()) yield entry.name
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}

const isSidecar = (name: string) => name.endsWith('.attrs')

async function ofArchive(path: string, database: string, remove: () => Promise<void>): Promise<ImportSource> {
  const archive = await openForReading(path)
  const close = async () => {
    await archive[Symbol.asyncDispose]()
    await remove()
  }
  try {
    let hasDatabase = false
    for await (const entry of archive.entries()) {
      if (entry.name !== 'data.db') continue
      hasDatabase = true
      await pipeline(await entry.open(), createWriteStream(database, { flags: 'wx', mode: 0o600 }))
    }
    if (!hasDatabase) throw new ConfigError(`${path} holds no data.db; is it a backup?`)
    return { database, files: () => filesIn(archive.entries()), [Symbol.asyncDispose]: close }
  } catch (error) {
    await archive[Symbol.asyncDispose]()
    throw error
  }
}

async function* filesIn(entries: AsyncGenerator<ArchiveEntry>): AsyncGenerator<SourceFile> {
  for await (const { name, sizeBytes, open } of entries) {
    const key = /^storage\/([^/]+\/[^/]+\/[^/]+)$/.exec(name)?.[1]
    if (key === undefined || isSidecar(key)) continue // databases, thumbs, and what is none of ours
    yield { key, sizeBytes, open: async () => Readable.toWeb(await open()) }
  }
}
