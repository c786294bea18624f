// PocketBase's `storage/` tree: `{collectionId}/{recordId}/{filename}`, with `.attrs` beside a file, from which PocketBase
// takes the content type when the directory moves back.

import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errorCode } from '../../../lib/errors.ts'
import { contentTypeOf, isMediaType } from './content-type.ts'
import { assertFileKey, type FileStorage, originalNameMax, type StoredFile, thumbsPrefix } from './storage.ts'
import type { UploadedFile } from './uploaded-file.ts'

const attributesSuffix = '.attrs'

export class LocalStorage implements FileStorage {
  readonly keepsDeleted: boolean = false
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  async put(key: string, file: UploadedFile): Promise<void> {
    const path = this.#path(key)
    await mkdir(dirname(path), { recursive: true })
    if ('path' in file.content) await copyFile(file.content.path, path, constants.COPYFILE_EXCL)
    else await writeNew(path, file.content.bytes)
    try {
      await writeNew(path + attributesSuffix, Buffer.from(attributes(file)))
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return // of an older file with this name; the content decides anyway
      await rm(path, { force: true })
      throw error
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
        contentType: (await storedType(path)) ?? (await contentTypeOf(path, key)),
        async body(range) {
          const file = Bun.file(path)
          return range ? file.slice(range.from, range.to) : file
        },
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return null
      throw error
    }
  }

  async stream(key: string): ReturnType<FileStorage['stream']> {
    const file = await this.open(key)
    return file === null ? null : { sizeBytes: file.sizeBytes, body: Bun.file(this.#path(key)).stream() }
  }

  async delete(key: string): Promise<void> {
    const path = this.#path(key)
    await rm(path, { force: true })
    await rm(path + attributesSuffix, { force: true })
    await rm(this.#path(thumbsPrefix(key)), { recursive: true, force: true })
    await this.#removeIfEmpty(dirname(path))
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

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(bytes)
  } finally {
    await handle.close()
  }
}

function attributes(file: UploadedFile): string {
  return `${JSON.stringify({
    'user.cache_control': '',
    'user.content_disposition': '',
    'user.content_encoding': '',
    'user.content_language': '',
    'user.content_type': file.contentType,
    'user.metadata': { 'original-filename': file.originalName.slice(0, originalNameMax) },
    md5: null,
  })}\n`
}

/** The type noted beside the file; null when nothing usable is there. */
async function storedType(path: string): Promise<string | null> {
  let text: string
  try {
    text = await readFile(path + attributesSuffix, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
  try {
    const type = (JSON.parse(text) as Record<string, unknown> | null)?.['user.content_type']
    return typeof type === 'string' && isMediaType(type) ? type : null
  } catch {
    return null // not ours and not PocketBase's: the content decides
  }
}
