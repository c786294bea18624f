// Files of a fleet's tenant: each is one object, created once and never changed, so a copy on this disk is good for as
// long as it lies there. Small files are read through a cache bounded by bytes; large ones stream from the store.

import { stat } from 'node:fs/promises'
import { empty } from '../../../lib/bytes.ts'
import { errorCode } from '../../../lib/errors.ts'
import {
  ObjectExistsError,
  type ObjectHead,
  type ObjectMetadata,
  ObjectNotFoundError,
  type ObjectStore,
} from '../../../lib/object-store/object-store.ts'
import { contentTypeOf, isMediaType, sniffBytes, sniffContentType } from './content-type.ts'
import type { FileCache, HotFile } from './file-cache.ts'
import {
  assertFileKey,
  type FilePage,
  type FileStorage,
  originalNameMax,
  type StoredFile,
  thumbsPrefix,
} from './storage.ts'
import type { UploadedFile } from './uploaded-file.ts'

/** Larger files do not enter the cache, bytes: one of them would push out hundreds of small ones. */
const cachedBytesMax = 8 * 1024 * 1024
/** Keys of one delete request; what S3 takes. */
const deleteKeysMax = 1_000

export interface ObjectStorageOptions {
  readonly store: ObjectStore
  /** Ends in `/`: `{prefix}/t/{tenantId}/files/` in a fleet. */
  readonly prefix: string
  /** null: every read goes to the store, which then must keep content types. */
  readonly cache: FileCache | null
  /**
   * False for a tenant's own bucket, which no point-in-time restore covers. Such a bucket need not know create-only
   * writes: its names are random.
   */
  readonly keepsDeleted: boolean
}

export class ObjectStorage implements FileStorage {
  readonly keepsDeleted: boolean
  readonly #store: ObjectStore
  readonly #prefix: string
  readonly #cache: FileCache | null

  constructor(options: ObjectStorageOptions) {
    this.keepsDeleted = options.keepsDeleted
    this.#store = options.store
    this.#prefix = options.prefix
    this.#cache = options.cache
  }

  async put(key: string, file: UploadedFile): Promise<void> {
    const object = this.#object(key)
    const options = this.keepsDeleted
      ? { createOnly: true, contentType: file.contentType }
      : { contentType: file.contentType, metadata: originalName(file) }
    try {
      if ('path' in file.content) await this.#store.putFile(object, file.content.path, options)
      else await this.#store.put(object, file.content.bytes, options)
    } catch (error) {
      // The name is random: an object of the same size is our own, of a try whose answer was lost.
      if (!(error instanceof ObjectExistsError)) throw error
      if ((await this.#store.head(object))?.sizeBytes !== file.sizeBytes) throw error
    }
  }

  async open(key: string): Promise<StoredFile | null> {
    const object = this.#object(key)
    const cache = this.#cache
    const hot = cache?.findHot(object) ?? null
    if (hot !== null) return storedFile(hot)
    const found = cache?.find(object) ?? null
    if (cache !== null && found !== null) {
      const copy = await cachedFile(cache, object, found)
      if (copy !== null) return copy
      await cache.drop(object)
    }
    try {
      const info = await this.#store.head(object)
      if (info === null) return null
      if (cache !== null && info.sizeBytes <= cachedBytesMax) {
        const path = await cache.load(object, this.#prefix, () => this.#store.get(object))
        const copy = await cachedFile(cache, object, path)
        if (copy !== null) return copy
      }
      return {
        sizeBytes: info.sizeBytes,
        modifiedAtMs: info.modifiedAtMs,
        contentType: (cache === null ? keptType(info) : null) ?? (await this.#sniff(key, object, info.sizeBytes)),
        body: async (range) => (await this.#store.getStream(object, range ? { range } : {})).body,
      }
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }

  async stream(key: string): ReturnType<FileStorage['stream']> {
    try {
      const { info, body } = await this.#store.getStream(this.#object(key))
      return { sizeBytes: info.sizeBytes, body }
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }

  async list(next: string | null): Promise<FilePage> {
    const page = await this.#store.list({ prefix: this.#prefix, next })
    const files = page.objects.map(({ key, sizeBytes }) => ({ key: key.slice(this.#prefix.length), sizeBytes }))
    return { files, next: page.next }
  }

  async delete(key: string): Promise<void> {
    const object = this.#object(key)
    await this.#store.delete([object])
    await this.#cache?.drop(object)
    await this.deletePrefix(thumbsPrefix(key))
  }

  async deletePrefix(prefix: string): Promise<void> {
    const objects = `${this.#object(prefix).replace(/\/$/, '')}/`
    for (;;) {
      const page = await this.#store.list({ prefix: objects })
      const keys = page.objects.map((each) => each.key).slice(0, deleteKeysMax)
      if (keys.length === 0) return
      await this.#store.delete(keys)
      for (const key of keys) await this.#cache?.drop(key)
      if (page.next === null) return
    }
  }

  async #sniff(key: string, object: string, sizeBytes: number): Promise<string> {
    const head = sizeBytes === 0 ? empty : await this.#store.get(object, { range: { from: 0, to: sniffBytes } })
    return sniffContentType(head, key)
  }

  #object(key: string): string {
    assertFileKey(key)
    return this.#prefix + key
  }
}

/** The type that an object was put with, where it is one; it becomes a header of an answer. */
function keptType({ contentType }: ObjectHead): string | null {
  return contentType && isMediaType(contentType) ? contentType : null
}

/** What PocketBase notes at an object, escaped as it does. */
function originalName(file: UploadedFile): ObjectMetadata {
  return { 'original-filename': encodeURIComponent(file.originalName.slice(0, originalNameMax)) }
}

/**
 * A copy on disk, in memory from now on: the cache may unlink the path before it is sent. Null when it has gone already:
 * others needed the room, or somebody emptied the folder. The object is still there.
 */
async function cachedFile(cache: FileCache, object: string, path: string): Promise<StoredFile | null> {
  try {
    const info = await stat(path)
    const contentType = await contentTypeOf(path, object)
    const bytes = await Bun.file(path).bytes()
    const file = { bytes, contentType, modifiedAtMs: Math.floor(info.mtimeMs) }
    cache.keepHot(object, file)
    return storedFile(file)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    return null
  }
}

function storedFile({ bytes, contentType, modifiedAtMs }: HotFile): StoredFile {
  return {
    sizeBytes: bytes.length,
    modifiedAtMs,
    contentType,
    async body(range) {
      return new Blob([range ? bytes.subarray(range.from, range.to) : bytes])
    },
  }
}
