// Where the files of a tenant are: its own bucket while its settings name one, else where the node keeps them. As in
// PocketBase, files do not move when the setting changes. PocketBase: core/base.go, NewFilesystem.

import { ObjectStoreError } from '../../../lib/object-store/object-store.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import { RefusedError } from '../errors.ts'
import { ObjectStorage } from './object-storage.ts'
import type { FileStorage, StoredFile } from './storage.ts'
import type { TenantBucket } from './tenant-bucket.ts'
import type { UploadedFile } from './uploaded-file.ts'

export class TenantStorage implements FileStorage {
  /** Where files are without a bucket in the settings. */
  readonly base: FileStorage
  readonly #bucket: TenantBucket
  readonly #log: Logger

  constructor(base: FileStorage, bucket: TenantBucket, log: Logger) {
    this.base = base
    this.#bucket = bucket
    this.#log = log
  }

  /** No restore point covers a tenant's own bucket. */
  get keepsDeleted(): boolean {
    return !this.#bucket.isEnabled && this.base.keepsDeleted
  }

  async put(key: string, file: UploadedFile): Promise<void> {
    if (!this.#bucket.isEnabled) return this.base.put(key, file)
    try {
      await ((await this.#own()) ?? this.base).put(key, file)
    } catch (error) {
      if (!(error instanceof ObjectStoreError)) throw error
      throw new RefusedError('The file could not be stored in the bucket of the settings.', { cause: error })
    }
  }

  /** A bucket that cannot be read is not found, as PocketBase has it. */
  async open(key: string): Promise<StoredFile | null> {
    if (!this.#bucket.isEnabled) return this.base.open(key)
    try {
      return await ((await this.#own()) ?? this.base).open(key)
    } catch (error) {
      if (!(error instanceof ObjectStoreError)) throw error
      this.#log.warn('bucket of the settings not readable', { error })
      return null
    }
  }

  async stream(key: string): ReturnType<FileStorage['stream']> {
    return ((await this.#own()) ?? this.base).stream(key)
  }

  async delete(key: string): Promise<void> {
    return ((await this.#own()) ?? this.base).delete(key)
  }

  async deletePrefix(prefix: string): Promise<void> {
    return ((await this.#own()) ?? this.base).deletePrefix(prefix)
  }

  async #own(): Promise<FileStorage | null> {
    if (!this.#bucket.isEnabled) return null
    const store = await this.#bucket.store()
    return store === null ? null : new ObjectStorage({ store, prefix: '', cache: null, keepsDeleted: false })
  }
}
