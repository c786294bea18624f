// Files of a folder beside the API, such as a web app: PocketBase's `pb_public` (apis/base.go, Static). What no route of the
// API answers is looked for here.

import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../../lib/errors.ts'
import { sendFile } from '../engine/files/serve.ts'
import type { StoredFile } from '../engine/files/storage.ts'
import { notFound } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'

const indexPage = 'index.html'
/** What stands for "there is none" when a file is looked for: absent, no folder in between, or a name that none can have. */
const missingCodes = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP'])

export interface PublicFilesOptions {
  readonly dir: string
  /** Whether paths without a file get the folder's own index page, as apps with addresses of their own need it. */
  readonly indexFallback: boolean
}

export class PublicFiles {
  readonly #options: PublicFilesOptions

  constructor(options: PublicFilesOptions) {
    this.#options = options
  }

  /** Answers a GET or HEAD. Throws ApiError when there is no such file. */
  async answer(event: RequestEvent): Promise<Response> {
    event.isQuiet = true
    const { path, request } = event
    const name = nameOf(path)
    const found = name === null ? null : await this.#look(name)
    if (name === null || found === null) return this.#fallBack(request)
    if (found.isDirectory()) {
      if (!path.endsWith('/')) return movedTo(`${path}/`)
      return (await this.#sendFile(request, join(name, indexPage))) ?? this.#fallBack(request)
    }
    if (path.endsWith('/')) return movedTo(path.replace(/\/+$/, ''))
    if (path.endsWith(indexPage)) return movedTo(path.slice(0, -indexPage.length))
    return this.#send(request, name, found)
  }

  async #fallBack(request: Request): Promise<Response> {
    const page = this.#options.indexFallback ? await this.#sendFile(request, indexPage) : null
    if (page === null) throw notFound('File not found.')
    return page
  }

  /** Null when there is no such file. */
  async #sendFile(request: Request, name: string): Promise<Response | null> {
    const found = await this.#look(name)
    return found?.isFile() ? this.#send(request, name, found) : null
  }

  /** A file or folder; null for anything else, such as a pipe, and for nothing. */
  async #look(name: string): Promise<Stats | null> {
    try {
      const found = await stat(join(this.#options.dir, name))
      return found.isFile() || found.isDirectory() ? found : null
    } catch (error) {
      if (missingCodes.has(errorCode(error) ?? '')) return null
      throw error
    }
  }

  #send(request: Request, name: string, { size, mtimeMs }: Stats): Promise<Response> {
    const file = Bun.file(join(this.#options.dir, name))
    const stored: StoredFile = {
      sizeBytes: size,
      modifiedAtMs: Math.floor(mtimeMs),
      contentType: file.type,
      body: async (range) => (range ? file.slice(range.from, range.to) : file),
    }
    const lastModified = new Date(stored.modifiedAtMs).toUTCString()
    return sendFile(request, stored, new Headers({ 'content-type': file.type, 'last-modified': lastModified }))
  }
}

/** A path inside the folder; null when it leads out of it, or is none. */
function nameOf(path: string): string | null {
  let text: string
  try {
    text = decodeURIComponent(path)
  } catch {
    return null // no UTF-8: no file of ours is named so
  }
  const parts = text.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.some((part) => part === '..' || part.includes('\\') || part.includes('\0'))) return null
  return parts.join('/')
}

/** To this host only: browsers read two slashes, or backslashes, at the front as another one. */
function movedTo(path: string): Response {
  return new Response(null, { status: 301, headers: { location: path.replace(/^[/\\]+/, '/') || '/' } })
}
