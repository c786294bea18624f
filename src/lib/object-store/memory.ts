// An object store in memory whose requests can be made to fail, be slow, or succeed and lose their reply.

import { createHash } from 'node:crypto'
import { type Clock, sleep, systemClock } from '../clock.ts'
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
} from './object-store.ts'

export type MemoryOperation = 'put' | 'copy' | 'get' | 'head' | 'list' | 'delete'

/** What happens to one request. `lost-reply` does the work, then answers like a broken connection. */
export type MemoryFault =
  | { readonly type: 'error'; readonly status: number }
  | { readonly type: 'lost-reply' }
  | { readonly type: 'delay'; readonly delayMs: number }

interface Entry {
  readonly info: ObjectInfo
  readonly body: Uint8Array
  readonly metadata: ObjectMetadata
}

export class MemoryObjectStore implements ObjectStore {
  readonly layout: 's3' | 'file'
  readonly description = 'memory'
  readonly #clock: Clock
  readonly #entries = new Map<string, Entry>()
  readonly #counts = new Map<MemoryOperation, number>()
  /** Decides about each request before it is done; null lets it pass. */
  fault: ((operation: MemoryOperation, key: string) => MemoryFault | null) | null = null

  constructor(options: { readonly clock?: Clock; readonly layout?: 's3' | 'file' } = {}) {
    this.#clock = options.clock ?? systemClock
    this.layout = options.layout ?? 's3'
  }

  /** Requests made so far, failed ones included. */
  get requestCount(): number {
    let sum = 0
    for (const count of this.#counts.values()) sum += count
    return sum
  }

  requestCountOf(operation: MemoryOperation): number {
    return this.#counts.get(operation) ?? 0
  }

  /** All keys, sorted; not a request. */
  get keys(): string[] {
    return [...this.#entries.keys()].sort(compareKeys)
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    assertObjectKey(key)
    return this.#request('put', key, options.signal, () => {
      if (options.createOnly && this.#entries.has(key)) throw new ObjectExistsError(key)
      const copy = body.slice()
      const etag = `"${createHash('md5').update(copy).digest('hex')}"`
      const info = {
        key,
        sizeBytes: copy.length,
        modifiedAtMs: this.#clock.now(),
        etag,
        ...(options.storageClass !== undefined && { storageClass: options.storageClass }),
      }
      this.#entries.set(key, { info, body: copy, metadata: { ...options.metadata } })
      return { etag }
    })
  }

  async putFile(key: string, path: string, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    return this.put(key, await Bun.file(path).bytes(), options)
  }

  async copy(from: string, to: string, options: CopyOptions = {}): Promise<void> {
    assertObjectKey(to)
    return this.#request('copy', from, options.signal, () => {
      const { info, body, metadata } = this.#entry(from)
      const { storageClass: _, ...facts } = info
      const copied = { ...facts, key: to, modifiedAtMs: this.#clock.now() }
      const next = options.storageClass === undefined ? copied : { ...copied, storageClass: options.storageClass }
      this.#entries.set(to, { info: next, body, metadata })
    })
  }

  async get(
    key: string,
    options: { readonly range?: { readonly from: number; readonly to: number }; readonly signal?: AbortSignal } = {},
  ): Promise<Uint8Array> {
    return this.#request('get', key, options.signal, () => {
      const { body } = this.#entry(key)
      return options.range === undefined ? body.slice() : body.slice(options.range.from, options.range.to)
    })
  }

  async getStream(
    key: string,
    options: { readonly range?: { readonly from: number; readonly to: number }; readonly signal?: AbortSignal } = {},
  ): Promise<{ readonly info: ObjectInfo; readonly body: ReadableStream<Uint8Array> }> {
    const bytes = await this.get(key, options)
    return { info: this.#entry(key).info, body: new Blob([new Uint8Array(bytes)]).stream() }
  }

  async head(
    key: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<(ObjectInfo & { readonly metadata: ObjectMetadata }) | null> {
    return this.#request('head', key, options.signal, () => {
      const entry = this.#entries.get(key)
      return entry === undefined ? null : { ...entry.info, metadata: entry.metadata }
    })
  }

  async list(options: Parameters<ObjectStore['list']>[0]): Promise<ListPage> {
    return this.#request('list', options.prefix, options.signal, () =>
      pageOf(
        this.keys.map((key) => this.#entry(key).info),
        options,
      ),
    )
  }

  async delete(keys: readonly string[], options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#request('delete', keys[0] ?? '', options.signal, () => {
      for (const key of keys) this.#entries.delete(key)
    })
  }

  /** Nothing is uploaded in parts here. */
  async endUploads(): Promise<number> {
    return 0
  }

  async close(): Promise<void> {}

  #entry(key: string): Entry {
    const entry = this.#entries.get(key)
    if (entry === undefined) throw new ObjectNotFoundError(key)
    return entry
  }

  async #request<T>(
    operation: MemoryOperation,
    key: string,
    signal: AbortSignal | undefined,
    body: () => T,
  ): Promise<T> {
    this.#counts.set(operation, this.requestCountOf(operation) + 1)
    signal?.throwIfAborted()
    const fault = this.fault?.(operation, key) ?? null
    if (fault?.type === 'delay') await sleep(this.#clock, fault.delayMs, signal)
    if (fault?.type === 'error')
      throw new ObjectStoreError(`${operation} ${key} failed with status ${fault.status}`, {
        retryable: fault.status >= 500 || fault.status === 429,
        status: fault.status,
      })
    const result = body()
    if (fault?.type === 'lost-reply')
      throw new ObjectStoreError(`${operation} ${key}: the connection broke`, { retryable: true, status: null })
    return result
  }
}
