// Copies of immutable objects on this disk. One cache serves all tenants of a worker, who share it fairly; losing it costs
// only time.

import { createHash } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FairLru } from '../../../lib/fair-lru.ts'

export interface FileCacheOptions {
  /** Emptied when the cache opens. */
  readonly dir: string
  readonly bytesMax: number
}

/** Content of small files that are asked for again and again, bytes in all; part of a worker's memory. */
const hotBytesMax = 32 * 1024 * 1024
/** Larger files are read from disk each time, bytes. */
const hotFileBytesMax = 1024 * 1024
/** What a copy takes of the disk at least, and what one in memory takes beside its content, bytes: files may be tiny, and many. */
const diskBlockBytes = 4_096
const hotEntryBytes = 512

/** A small file in memory; its bytes are shared and never changed. */
export interface HotFile {
  readonly bytes: Uint8Array
  readonly contentType: string
  readonly modifiedAtMs: number
}

export class FileCache {
  readonly #dir: string
  /** Paths of the copies, by bytes. */
  readonly #entries: FairLru<string>
  readonly #loading = new Map<string, Promise<string>>()
  /** By bytes. What is here may have lost its copy on disk since: it never changes. */
  readonly #hot = new FairLru<HotFile>(hotBytesMax)
  #seq = 0

  private constructor(options: FileCacheOptions) {
    this.#dir = options.dir
    this.#entries = new FairLru(options.bytesMax)
  }

  static async open(options: FileCacheOptions): Promise<FileCache> {
    await rm(options.dir, { recursive: true, force: true })
    await mkdir(options.dir, { recursive: true, mode: 0o700 })
    return new FileCache(options)
  }

  get sizeBytes(): number {
    return this.#entries.size
  }

  /** The path of a copy, or null. It stays readable until the next {@link load} or {@link drop}: open it at once. */
  find(key: string): string | null {
    return this.#entries.get(key)?.value ?? null
  }

  /** The file if it is in memory. */
  findHot(key: string): HotFile | null {
    const file = this.#hot.get(key)?.value ?? null
    if (file !== null) this.find(key) // what is in use in memory is in use on disk
    return file
  }

  /** Keeps a file in memory too, unless it is large or no longer on disk. */
  keepHot(key: string, file: HotFile): void {
    const size = file.bytes.length + hotEntryBytes
    const entry = this.#entries.get(key)
    if (size <= hotFileBytesMax && entry !== undefined) this.#hot.set(key, { owner: entry.owner, value: file, size })
  }

  /**
   * The path of a copy, made by `fetch` when there is none; concurrent callers share one.
   * @param owner whose share of the cache it takes.
   */
  async load(key: string, owner: string, fetch: () => Promise<Uint8Array>): Promise<string> {
    const found = this.find(key)
    if (found !== null) return found
    let loading = this.#loading.get(key)
    if (loading === undefined) {
      loading = this.#fetch(key, owner, fetch).finally(() => this.#loading.delete(key))
      this.#loading.set(key, loading)
    }
    return loading
  }

  async drop(key: string): Promise<void> {
    this.#hot.delete(key)
    const path = this.#entries.delete(key)
    if (path !== undefined) await rm(path, { force: true })
  }

  async #fetch(key: string, owner: string, fetch: () => Promise<Uint8Array>): Promise<string> {
    const bytes = await fetch()
    // A path of its own: what is about to be removed may be an earlier copy of the same object.
    const path = join(this.#dir, `${createHash('sha256').update(key).digest('hex')}.${this.#seq++}`)
    const temporary = `${path}.tmp`
    await Bun.write(temporary, bytes)
    await rename(temporary, path)
    const size = Math.max(bytes.length, diskBlockBytes)
    for (const gone of this.#entries.set(key, { owner, value: path, size })) await rm(gone, { force: true })
    return path
  }
}
