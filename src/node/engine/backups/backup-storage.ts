// Where the backups of a tenant lie: PocketBase's `backups/` folder, objects beside a fleet's tenant, or the bucket that
// the tenant's settings name. PocketBase: core/base.go, NewBackupsFilesystem.

import { constants, createWriteStream } from 'node:fs'
import { copyFile, link, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream as NodeStream } from 'node:stream/web'
import { errorCode } from '../../../lib/errors.ts'
import { isObjectKey } from '../../../lib/object-store/key.ts'
import {
  ObjectExistsError,
  ObjectNotFoundError,
  type ObjectStore,
  ObjectStoreError,
} from '../../../lib/object-store/object-store.ts'
import { RefusedError } from '../errors.ts'
import { assertFileKey, FileKeyError, type StoredFile } from '../files/storage.ts'
import type { TenantBucket } from '../files/tenant-bucket.ts'

/** Backups that a list shows; more than that are not looked for. */
const listedMax = 10_000
const zipType = 'application/zip'

export interface BackupInfo {
  readonly key: string
  readonly sizeBytes: number
  /** ms since the Unix epoch. */
  readonly modifiedAtMs: number
}

/** Keys are plain file names; anything else is a FileKeyError. */
export interface BackupStorage {
  /** By name, or in the order of the store. */
  list(): Promise<BackupInfo[]>
  /** null when there is none. */
  open(key: string): Promise<StoredFile | null>
  /** Stores a complete file; throws FileKeyError when the name is taken. The file at `path` stays the caller's. */
  put(key: string, path: string): Promise<void>
  /** @returns false when there was none. */
  delete(key: string): Promise<boolean>
  /** Brings a backup to a path of this disk, where it is only read. @returns null when there is none. */
  fetch(key: string, scratchPath: string): Promise<string | null>
}

/** A name from a client: no folder, no parent, nothing that a disk or a store would take for something else. */
function checkKey(key: string): void {
  assertFileKey(key)
  if (key.includes('/') || !isObjectKey(key)) throw new FileKeyError('a backup has no folder')
}

/** A folder on this disk. */
export class FolderBackups implements BackupStorage {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  async list(): Promise<BackupInfo[]> {
    let names: string[]
    try {
      const entries = await readdir(this.#folder, { withFileTypes: true })
      names = entries.filter((each) => each.isFile() && !each.name.endsWith('.attrs')).map((each) => each.name)
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return []
      throw error
    }
    const backups: BackupInfo[] = []
    for (const key of names.sort().slice(0, listedMax)) {
      const info = await stat(join(this.#folder, key))
      backups.push({ key, sizeBytes: info.size, modifiedAtMs: Math.floor(info.mtimeMs) })
    }
    return backups
  }

  async open(key: string): Promise<StoredFile | null> {
    const path = this.#path(key)
    try {
      const info = await stat(path)
      if (!info.isFile()) return null
      return {
        sizeBytes: info.size,
        modifiedAtMs: Math.floor(info.mtimeMs),
        contentType: zipType,
        body: async (range) => (range ? Bun.file(path).slice(range.from, range.to) : Bun.file(path)),
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null
      throw error
    }
  }

  async put(key: string, path: string): Promise<void> {
    const target = this.#path(key)
    await mkdir(this.#folder, { recursive: true })
    try {
      await linkOrCopy(path, target)
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error
      throw new FileKeyError(`${key} exists already`, { cause: error })
    }
  }

  async delete(key: string): Promise<boolean> {
    if ((await this.open(key)) === null) return false
    const path = this.#path(key)
    await rm(path, { force: true })
    await rm(`${path}.attrs`, { force: true })
    return true
  }

  async fetch(key: string): Promise<string | null> {
    return (await this.open(key)) === null ? null : this.#path(key)
  }

  #path(key: string): string {
    checkKey(key)
    return join(this.#folder, key)
  }
}

/** Gives a file a second name, complete at once; only where the file system cannot, its bytes are copied. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK'].includes(errorCode(error) ?? '')) throw error
    await copyFile(from, to, constants.COPYFILE_EXCL)
  }
}

export interface ObjectBackupsOptions {
  readonly store: ObjectStore
  /** Empty, or ends in `/`. */
  readonly prefix: string
  /** Whether the store keeps two writers of one name apart; a tenant's own need not. */
  readonly createOnly: boolean
}

/** Objects below a prefix. */
export class ObjectBackups implements BackupStorage {
  readonly #options: ObjectBackupsOptions

  constructor(options: ObjectBackupsOptions) {
    this.#options = options
  }

  async list(): Promise<BackupInfo[]> {
    const { store, prefix } = this.#options
    const backups: BackupInfo[] = []
    for (let next: string | null = null; ; ) {
      const page = await store.list({ prefix, delimiter: '/', next })
      for (const { key, sizeBytes, modifiedAtMs } of page.objects)
        backups.push({ key: key.slice(prefix.length), sizeBytes, modifiedAtMs })
      next = page.next
      if (next === null || backups.length >= listedMax) return backups.slice(0, listedMax)
    }
  }

  async open(key: string): Promise<StoredFile | null> {
    const { store } = this.#options
    const object = this.#object(key)
    const info = await store.head(object)
    if (info === null) return null
    return {
      sizeBytes: info.sizeBytes,
      modifiedAtMs: info.modifiedAtMs,
      contentType: zipType,
      body: async (range) => (await store.getStream(object, range ? { range } : {})).body,
    }
  }

  async put(key: string, path: string): Promise<void> {
    const { store, createOnly } = this.#options
    try {
      await store.putFile(this.#object(key), path, { contentType: zipType, createOnly })
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error
      throw new FileKeyError(`${key} exists already`, { cause: error })
    }
  }

  async delete(key: string): Promise<boolean> {
    if ((await this.open(key)) === null) return false
    await this.#options.store.delete([this.#object(key)])
    return true
  }

  async fetch(key: string, scratchPath: string): Promise<string | null> {
    try {
      const { body, info } = await this.#options.store.getStream(this.#object(key))
      const file = createWriteStream(scratchPath, { flags: 'wx', mode: 0o600 })
      await pipeline(Readable.fromWeb(body as unknown as NodeStream<Uint8Array>), file)
      const { size } = await stat(scratchPath)
      if (size !== info.sizeBytes)
        throw new ObjectStoreError(`backup ${key}: got ${size} of ${info.sizeBytes} bytes`, {
          retryable: true,
          status: null,
        })
      return scratchPath
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }

  #object(key: string): string {
    checkKey(key)
    return this.#options.prefix + key
  }
}

/** The bucket that the settings name, or where backups lie without one. What a tenant's bucket refuses is its own matter. */
export class TenantBackups implements BackupStorage {
  readonly #base: BackupStorage
  readonly #bucket: TenantBucket

  constructor(base: BackupStorage, bucket: TenantBucket) {
    this.#base = base
    this.#bucket = bucket
  }

  list(): Promise<BackupInfo[]> {
    return this.#in((storage) => storage.list())
  }

  open(key: string): Promise<StoredFile | null> {
    return this.#in((storage) => storage.open(key))
  }

  put(key: string, path: string): Promise<void> {
    return this.#in((storage) => storage.put(key, path))
  }

  delete(key: string): Promise<boolean> {
    return this.#in((storage) => storage.delete(key))
  }

  fetch(key: string, scratchPath: string): Promise<string | null> {
    return this.#in((storage) => storage.fetch(key, scratchPath))
  }

  async #in<T>(work: (storage: BackupStorage) => Promise<T>): Promise<T> {
    if (!this.#bucket.isEnabled) return work(this.#base)
    try {
      const store = await this.#bucket.store()
      return await work(store === null ? this.#base : new ObjectBackups({ store, prefix: '', createOnly: false }))
    } catch (error) {
      if (!(error instanceof ObjectStoreError)) throw error
      throw new RefusedError('The bucket of the backups cannot be used.', { cause: error })
    }
  }
}
