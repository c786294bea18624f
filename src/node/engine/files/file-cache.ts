// Copies of immutable objects on this disk, dropped least recently used first. One cache serves all tenants of a worker;
// losing it costs only time.

import { createHash } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

export interface FileCacheOptions {
  /** Emptied when the cache opens. */
  readonly dir: string
  readonly bytesMax: number
}

interface Entry {
  readonly path: string
  readonly sizeBytes: number
}

/** Content of small files that are asked for again and again, bytes in all; part of a worker's memory. */
const hotBytesMax = 32 * 1024 * 1024
/** Larger files are read from disk each time, bytes. */
const hotFileBytesMax = 1024 * 1024

/** A small file in memory; its bytes are shared and never changed. */
export interface HotFile {
  readonly bytes: Uint8Array
  readonly contentType: string
  readonly modifiedAtMs: number
}

export class FileCache {
  readonly #dir: string
  readonly #bytesMax: number
  /** In order of last use. */
  readonly #entries = new Map<string, Entry>()
  readonly #loading = new Map<string, Promise<Entry>>()
  /** In order of last use; every key has an entry on disk too. */
  readonly #hot = new Map<string, HotFile>()
  #hotBytes = 0
  #bytes = 0
  #seq = 0

  private constructor(options: FileCacheOptions) {
    this.#dir = options.dir
    this.#bytesMax = options.bytesMax
  }

  static async open(options: FileCacheOptions): Promise<FileCache> {
    await rm(options.dir, { recursive: true, force: true })
    await mkdir(options.dir, { recursive: true, mode: 0o700 })
    return new FileCache(options)
  }

  get sizeBytes(): number {
    return this.#bytes
  }

  /** The path of a copy, or null. It stays readable until the next {@link load} or {@link drop}: open it at once. */
  find(key: string): string | null {
    const entry = this.#entries.get(key)
    if (entry === undefined) return null
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.path
  }

  /** The file if it is in memory. */
  findHot(key: string): HotFile | null {
    const file = this.#hot.get(key)
    if (file === undefined) return null
    this.#hot.delete(key)
    this.#hot.set(key, file)
    this.find(key) // what is in use in memory is in use on disk
    return file
  }

  /** Keeps a file in memory too, unless it is large or no longer on disk. */
  keepHot(key: string, file: HotFile): void {
    if (file.bytes.length > hotFileBytesMax || !this.#entries.has(key)) return
    this.#cool(key)
    this.#hot.set(key, file)
    this.#hotBytes += file.bytes.length
    for (const [oldest] of this.#hot) {
      if (this.#hotBytes <= hotBytesMax) break
      this.#cool(oldest)
    }
  }

  #cool(key: string): void {
    this.#hotBytes -= this.#hot.get(key)?.bytes.length ?? 0
    this.#hot.delete(key)
  }

  /** The path of a copy, made by `fetch` when there is none; concurrent callers share one. */
  async load(key: string, fetch: () => Promise<Uint8Array>): Promise<string> {
    const found = this.find(key)
    if (found !== null) return found
    let loading = this.#loading.get(key)
    if (loading === undefined) {
      loading = this.#fetch(key, fetch).finally(() => this.#loading.delete(key))
      this.#loading.set(key, loading)
    }
    return (await loading).path
  }

  async drop(key: string): Promise<void> {
    this.#cool(key)
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#bytes -= entry.sizeBytes
    await rm(entry.path, { force: true })
  }

  async #fetch(key: string, fetch: () => Promise<Uint8Array>): Promise<Entry> {
    const bytes = await fetch()
    const path = join(this.#dir, createHash('sha256').update(key).digest('hex'))
    const temporary = `${path}.${this.#seq++}.tmp`
    await Bun.write(temporary, bytes)
    await rename(temporary, path)
    const entry = { path, sizeBytes: bytes.length }
    this.#entries.set(key, entry)
    this.#bytes += entry.sizeBytes
    for (const [oldest] of this.#entries) {
      if (this.#bytes <= this.#bytesMax || oldest === key) break
      await this.drop(oldest)
    }
    return entry
  }
}
