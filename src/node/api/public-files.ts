// Files of a folder beside the API, such as a web app: PocketBase's `pb_public` (apis/base.go, Static). What no route of the
// API answers is looked for here.

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../../lib/errors.ts'
import { sendFile } from '../engine/files/serve.ts'
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

  /** Answers a GET or HEAD; throws ApiError when there is no such file. */
  async answer(event: RequestEvent): Promise<Response> {
    event.isQuiet = true
    const { path } = event
    const name = nameOf(path)
    const found = name === null ? null : await this.#look(name)
    if (found === 'folder') {
      if (!path.endsWith('/')) return movedTo(`${path}/`)
      if ((await this.#look(join(name!, indexPage))) === 'file') return this.#send(event, join(name!, indexPage))
      return this.#fallBack(event)
    }
    if (found === null) return this.#fallBack(event)
    if (path.endsWith('/')) return movedTo(path.replace(/\/+$/, ''))
    if (path.endsWith(indexPage)) return movedTo(path.slice(0, -indexPage.length))
    return this.#send(event, name!)
  }

  async #fallBack(event: RequestEvent): Promise<Response> {
    if (this.#options.indexFallback && (await this.#look(indexPage)) === 'file') return this.#send(event, indexPage)
    throw notFound('File not found.')
  }

  async #look(name: string): Promise<'file' | 'folder' | null> {
    try {
      const info = await stat(join(this.#options.dir, name))
      return info.isFile() ? 'file' : info.isDirectory() ? 'folder' : null
    } catch (error) {
      if (missingCodes.has(errorCode(error) ?? '')) return null
      throw error
    }
  }

  async #send({ request }: RequestEvent, name: string): Promise<Response> {
    const path = join(this.#options.dir, name)
    const info = await stat(path)
    const file = Bun.file(path)
    const stored = {
      sizeBytes: info.size,
      modifiedAtMs: Math.floor(info.mtimeMs),
      contentType: file.type,
      body: async (range?: { readonly from: number; readonly to: number }) =>
        range ? file.slice(range.from, range.to) : file,
    }
    const headers = new Headers({
      'content-type': file.type,
      'last-modified': new Date(stored.modifiedAtMs).toUTCString(),
    })
    return sendFile(request, stored, headers)
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
