// PocketBase's `storage/` tree: `{collectionId}/{recordId}/{filename}`, with optional `.attrs` beside a file.

import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errorCode } from '../../../lib/errors.ts'
import { contentTypeOf } from './content-type.ts'
import { assertFileKey, type FileStorage, type StoredFile } from './storage.ts'
import type { UploadedFile } from './uploaded-file.ts'

export class LocalStorage implements FileStorage {
  readonly keepsDeleted = false
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  async put(key: string, file: UploadedFile): Promise<void> {
    const path = this.#path(key)
    await mkdir(dirname(path), { recursive: true })
    if ('path' in file.content) await copyFile(file.content.path, path, constants.COPYFILE_EXCL)
    else {
      const handle = await open(path, 'wx')
      try {
        await handle.writeFile(file.content.bytes)
      } finally {
        await handle.close()
      }
    }
  }

  async open(key: string): Promise<StoredFile | null> {
    const path = this.#path(key)
    try {
      const info = await stat(path)
      if (!info.isFile()) return null
      return {
        sizeBytes: info.size,
        modifiedAtMs: Math.floor(info.mtimeMs),
        contentType: await contentTypeOf(path),
        async stream(range) {
          const file = Bun.file(path)
          return (range ? file.slice(range.from, range.to) : file).stream()
        },
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return null
      throw error
    }
  }

  async delete(key: string): Promise<void> {
    const path = this.#path(key)
    await rm(path, { force: true })
    await rm(`${path}.attrs`, { force: true })
    const folder = dirname(path)
    await rm(join(folder, `thumbs_${key.slice(key.lastIndexOf('/') + 1)}`), { recursive: true, force: true })
    await this.#removeIfEmpty(folder)
  }

  async deletePrefix(prefix: string): Promise<void> {
    await rm(this.#path(prefix.replace(/\/$/, '')), { recursive: true, force: true })
  }

  async #removeIfEmpty(folder: string): Promise<void> {
    try {
      if ((await readdir(folder)).length === 0) await rmdir(folder)
    } catch (error) {
      if (errorCode(error) !== 'ENOENT' && errorCode(error) !== 'ENOTEMPTY') throw error
    }
  }

  #path(key: string): string {
    assertFileKey(key)
    return join(this.#root, key)
  }
}
