// A directory as an object store, in the layout that `litestream restore file://…` reads: objects are files, written
// beside their place, fsynced and then linked (create-only, atomic by link(2)) or renamed into it. The modification
// time carries `litestream-timestamp`; that is where the official tool looks for it.

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { errorCode } from '../errors.ts'
import { type Rng, systemRng } from '../rng.ts'
import { assertObjectKey, compareKeys, pageOf } from './key.ts'
import {
  type CopyOptions,
  type ListPage,
  ObjectExistsError,
  type ObjectInfo,
  type ObjectMetadata,
  ObjectNotFoundError,
  type ObjectStore,
  ObjectStoreError,
  type PutOptions,
  uploadsEndedMax,
} from './object-store.ts'

/**
 * Temporary names end so, and no key can: it has no backslash. Keys end like anything else, for clients name what they upload.
 * The official tool ignores such names too.
 */
const temporarySuffix = '\\tmp'
/** One piece of a streamed copy, bytes. */
const pieceBytes = 1 << 20
/** How often a folder may vanish under a write before it gives up. */
const folderAttemptsMax = 10

type GetOptions = {
  readonly range?: { readonly from: number; readonly to: number }
  readonly signal?: AbortSignal
}

export class FileObjectStore implements ObjectStore {
  readonly layout = 'file'
  readonly description: string
  readonly #dir: string
  readonly #rng: Rng

  private constructor(dir: string, rng: Rng) {
    this.#dir = dir
    this.#rng = rng
    this.description = dir
  }

  /** Creates the directory when it is missing. */
  static async open(options: { readonly dir: string; readonly rng?: Rng }): Promise<FileObjectStore> {
    await mkdir(options.dir, { recursive: true })
    return new FileObjectStore(resolve(options.dir), options.rng ?? systemRng)
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    const hash = createHash('md5').update(body).digest('hex')
    return this.#write(key, options, async (file) => {
      await file.writeFile(body)
      return hash
    })
  }

  async putFile(key: string, path: string, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    return this.#write(key, options, async (file) => {
      const hash = createHash('md5')
      const source = await open(path, 'r')
      try {
        const piece = new Uint8Array(pieceBytes)
        for (;;) {
          options.signal?.throwIfAborted()
          const { bytesRead } = await source.read(piece, 0, piece.length, null)
          if (bytesRead === 0) break
          const part = piece.subarray(0, bytesRead)
          hash.update(part)
          await file.writeFile(part)
        }
      } finally {
        await source.close()
      }
      return hash.digest('hex')
    })
  }

  /** Objects are never changed in place, so another name for the same bytes is a copy; the classes of S3 mean nothing here. */
  async copy(from: string, to: string, options: CopyOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    const [source, target] = [this.#path(from), this.#path(to)]
    const info = await this.#info(from)
    if (info === null) throw new ObjectNotFoundError(from)
    if (source === target) return
    const temporary = `${target}.${Buffer.from(this.#rng.bytes(8)).toString('hex')}${temporarySuffix}`
    await (await openInFolder(temporary)).close() // makes the folders
    await unlink(temporary)
    try {
      await link(source, temporary)
      await rename(temporary, target)
      await syncFolder(dirname(target))
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw new ObjectNotFoundError(from, { cause: error })
      throw this.#failure('copy', from, error)
    }
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted()
    const file = await this.#openForRead(key)
    try {
      const { size } = await file.stat()
      const from = Math.min(options.range?.from ?? 0, size)
      const to = Math.min(options.range?.to ?? size, size)
      const bytes = new Uint8Array(Math.max(0, to - from))
      let at = 0
      while (at < bytes.length) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at)
        if (bytesRead === 0) break
        at += bytesRead
      }
      return bytes.subarray(0, at)
    } finally {
      await file.close()
    }
  }

  async getStream(
    key: string,
    options: GetOptions = {},
  ): Promise<{ readonly info: ObjectInfo; readonly body: ReadableStream<Uint8Array> }> {
    options.signal?.throwIfAborted()
    const info = await this.head(key)
    if (info === null) throw new ObjectNotFoundError(key)
    const blob = Bun.file(this.#path(key))
    const part = options.range === undefined ? blob : blob.slice(options.range.from, options.range.to)
    return { info, body: part.stream() }
  }

  async head(
    key: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<(ObjectInfo & { readonly metadata: ObjectMetadata }) | null> {
    options.signal?.throwIfAborted()
    const info = await this.#info(key)
    if (info === null) return null
    return { ...info, metadata: { 'litestream-timestamp': new Date(info.modifiedAtMs).toISOString() } }
  }

  async list(options: Parameters<ObjectStore['list']>[0]): Promise<ListPage> {
    options.signal?.throwIfAborted()
    const cut = options.prefix.lastIndexOf('/')
    const keys: string[] = []
    if (options.delimiter === '/') {
      // One level only: whether a folder holds an object at all is settled by the first one found in it.
      for (const entry of await this.#entries(options.prefix.slice(0, cut + 1))) {
        const name = options.prefix.slice(0, cut + 1) + entry.name
        if (!name.startsWith(options.prefix)) continue
        if (!entry.isDirectory) keys.push(name)
        else
          for await (const key of this.#walk(`${name}/`)) {
            keys.push(key)
            break
          }
      }
    } else {
      for await (const key of this.#walk(options.prefix.slice(0, cut + 1))) keys.push(key)
    }
    keys.sort(compareKeys)
    const page = pageOf(
      keys.map((key) => ({ key })),
      options,
    )
    const objects: ObjectInfo[] = []
    for (const { key } of page.objects) {
      const info = await this.#info(key)
      if (info !== null) objects.push(info)
    }
    return { objects, prefixes: page.prefixes, next: page.next }
  }

  async delete(keys: readonly string[], options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    for (const key of keys) {
      options.signal?.throwIfAborted()
      const path = this.#path(key)
      try {
        await unlink(path)
      } catch (error) {
        if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') continue
        throw this.#failure('delete', key, error)
      }
      await this.#removeEmptyFolders(dirname(path))
    }
  }

  async endUploads({ prefix, beforeMs, signal }: Parameters<ObjectStore['endUploads']>[0]): Promise<number> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
    let ended = 0
    for await (const path of this.#temporaries(folder)) {
      signal?.throwIfAborted()
      if (!path.startsWith(join(this.#dir, prefix))) continue
      try {
        if ((await stat(path)).mtimeMs >= beforeMs) continue
        await unlink(path)
      } catch (error) {
        if (errorCode(error) === 'ENOENT') continue // finished meanwhile
        throw this.#failure('delete', path, error)
      }
      ended++
      if (ended === uploadsEndedMax) break
    }
    return ended
  }

  async close(): Promise<void> {}

  async #write(
    key: string,
    options: PutOptions,
    fill: (file: FileHandle) => Promise<string>,
  ): Promise<{ readonly etag: string }> {
    const path = this.#path(key)
    options.signal?.throwIfAborted()
    const suffix = Buffer.from(this.#rng.bytes(8)).toString('hex')
    const temporary = `${path}.${suffix}${temporarySuffix}`
    try {
      const file = await openInFolder(temporary)
      let md5: string
      try {
        md5 = await fill(file)
        const timestamp = Date.parse(options.metadata?.['litestream-timestamp'] ?? '')
        if (Number.isFinite(timestamp)) await file.utimes(timestamp / 1_000, timestamp / 1_000)
        await file.sync()
      } finally {
        await file.close()
      }
      options.signal?.throwIfAborted()
      if (options.createOnly) {
        await link(temporary, path)
        await unlink(temporary)
      } else {
        await rename(temporary, path)
      }
      await syncFolder(dirname(path))
      return { etag: `"${md5}"` }
    } catch (error) {
      await unlink(temporary).catch((cause) => {
        if (errorCode(cause) !== 'ENOENT' && errorCode(cause) !== 'ENOTDIR') throw cause
      })
      if (errorCode(error) === 'EEXIST') throw new ObjectExistsError(key, { cause: error })
      throw this.#failure('put', key, error)
    }
  }

  async #openForRead(key: string): Promise<FileHandle> {
    try {
      const file = await open(this.#path(key), constants.O_RDONLY)
      if ((await file.stat()).isFile()) return file
      await file.close()
      throw new ObjectNotFoundError(key)
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR')
        throw new ObjectNotFoundError(key, { cause: error })
      throw this.#failure('get', key, error)
    }
  }

  async #info(key: string): Promise<ObjectInfo | null> {
    try {
      const facts = await stat(this.#path(key))
      if (!facts.isFile()) return null
      const modifiedAtMs = Math.round(facts.mtimeMs)
      return {
        key,
        sizeBytes: facts.size,
        modifiedAtMs,
        etag: `"${facts.ino.toString(16)}-${facts.size.toString(16)}"`,
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return null
      throw this.#failure('head', key, error)
    }
  }

  /** Keys below a folder (`''` or ending with `/`), in no order. */
  async *#walk(folder: string): AsyncGenerator<string> {
    for (const entry of await this.#entries(folder)) {
      if (entry.isDirectory) yield* this.#walk(`${folder}${entry.name}/`)
      else yield folder + entry.name
    }
  }

  /** Paths of files that are being written, or that a killed process left. */
  async *#temporaries(folder: string): AsyncGenerator<string> {
    const at = join(this.#dir, folder)
    const entries = await readdir(at, { withFileTypes: true }).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return []
      throw this.#failure('list', folder, error)
    })
    for (const entry of entries) {
      if (entry.isDirectory()) yield* this.#temporaries(`${folder}${entry.name}/`)
      else if (entry.isFile() && entry.name.endsWith(temporarySuffix)) yield join(at, entry.name)
    }
  }

  async #entries(folder: string): Promise<{ readonly name: string; readonly isDirectory: boolean }[]> {
    if (folder !== '') assertObjectKey(folder.slice(0, -1))
    try {
      const entries = await readdir(join(this.#dir, folder), { withFileTypes: true })
      return entries
        .filter((entry) => entry.isDirectory() || (entry.isFile() && !entry.name.endsWith(temporarySuffix)))
        .map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }))
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return []
      throw this.#failure('list', folder, error)
    }
  }

  /** A folder without objects is none of S3's; another writer may be filling it right now, which rmdir refuses. */
  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let at = folder; at.startsWith(`${this.#dir}/`); at = dirname(at)) {
      try {
        await rmdir(at)
      } catch (error) {
        const code = errorCode(error)
        if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return
        throw error
      }
    }
  }

  #path(key: string): string {
    assertObjectKey(key)
    return join(this.#dir, key)
  }

  #failure(operation: string, key: string, error: unknown): Error {
    if (error instanceof ObjectNotFoundError || error instanceof ObjectStoreError) return error
    if (error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')) return error
    const full = errorCode(error) === 'ENOSPC' || errorCode(error) === 'EIO'
    return new ObjectStoreError(
      `${operation} ${key} in ${this.#dir} failed`,
      { retryable: full, status: null },
      { cause: error },
    )
  }
}

/** Creates a file and its folders. A delete may remove an empty folder just before the file is made: then once more. */
async function openInFolder(path: string): Promise<FileHandle> {
  for (let attempt = 1; ; attempt++) {
    const folder = dirname(path)
    const first = await mkdir(folder, { recursive: true })
    try {
      // A new folder is only as durable as its name in the folder above.
      if (first !== undefined)
        for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at))
      return await open(path, 'wx')
    } catch (error) {
      if (errorCode(error) !== 'ENOENT' || attempt === folderAttemptsMax) throw error
    }
  }
}

/** Makes a new name in a folder survive a power cut. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
