// Keeps a process within what a bucket allows: requests and bytes a second. Providers count by bucket and source address
// and answer beyond that with errors or for all of their customers more slowly; waiting here costs less.

import { stat } from 'node:fs/promises'
import type { Clock } from '../clock.ts'
import { TokenBucket } from '../token-bucket.ts'
import type { ObjectStore } from './object-store.ts'

/** Uploads up to this size pass larger ones that wait, bytes: most commits are far below, and their clients wait. */
const smallBytesMax = 256 * 1024
/** Of the rate of bytes: what small requests may use while large ones leave nothing. */
const smallShare = 0.25

/** null: no limit. */
export interface StoreRate {
  readonly requestsPerSecond: number | null
  readonly bytesPerSecond: number | null
}

/** A store that waits before each request. Closing it closes the inner one. */
export class ThrottledObjectStore implements ObjectStore {
  readonly layout: 's3' | 'file'
  readonly description: string
  readonly #inner: ObjectStore
  readonly #requests: TokenBucket | null
  readonly #bytes: TokenBucket | null
  /** For small requests alone; what they take is missing from the others' too, so the whole stays within its rate. */
  readonly #smallBytes: TokenBucket | null

  constructor(inner: ObjectStore, rate: StoreRate, clock: Clock) {
    this.#inner = inner
    this.layout = inner.layout
    this.description = inner.description
    this.#requests = rate.requestsPerSecond === null ? null : new TokenBucket(rate.requestsPerSecond, clock)
    this.#bytes = rate.bytesPerSecond === null ? null : new TokenBucket(rate.bytesPerSecond, clock)
    this.#smallBytes =
      rate.bytesPerSecond === null ? null : new TokenBucket(Math.max(1, rate.bytesPerSecond * smallShare), clock)
  }

  async put(...args: Parameters<ObjectStore['put']>): ReturnType<ObjectStore['put']> {
    await this.#pass(args[2]?.signal, args[1].length)
    return this.#inner.put(...args)
  }

  async putFile(...args: Parameters<ObjectStore['putFile']>): ReturnType<ObjectStore['putFile']> {
    await this.#pass(args[2]?.signal, (await stat(args[1])).size)
    return this.#inner.putFile(...args)
  }

  async copy(...args: Parameters<ObjectStore['copy']>): ReturnType<ObjectStore['copy']> {
    await this.#pass(args[2]?.signal)
    return this.#inner.copy(...args)
  }

  async get(...args: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    await this.#passRead(args[1]?.signal)
    const bytes = await this.#inner.get(...args)
    this.#bytes?.charge(bytes.length)
    return bytes
  }

  async getStream(...args: Parameters<ObjectStore['getStream']>): ReturnType<ObjectStore['getStream']> {
    await this.#passRead(args[1]?.signal)
    const { info, body } = await this.#inner.getStream(...args)
    if (this.#bytes === null) return { info, body }
    const paced = new TransformStream<Uint8Array, Uint8Array>({
      transform: async (piece, controller) => {
        await this.#bytes?.take(piece.length, args[1]?.signal)
        controller.enqueue(piece)
      },
    })
    return { info, body: body.pipeThrough(paced) }
  }

  async head(...args: Parameters<ObjectStore['head']>): ReturnType<ObjectStore['head']> {
    await this.#pass(args[1]?.signal)
    return this.#inner.head(...args)
  }

  async list(...args: Parameters<ObjectStore['list']>): ReturnType<ObjectStore['list']> {
    await this.#pass(args[0].signal)
    return this.#inner.list(...args)
  }

  async delete(...args: Parameters<ObjectStore['delete']>): ReturnType<ObjectStore['delete']> {
    await this.#pass(args[1]?.signal)
    return this.#inner.delete(...args)
  }

  async endUploads(options: Parameters<ObjectStore['endUploads']>[0]): ReturnType<ObjectStore['endUploads']> {
    await this.#pass(options.signal)
    return this.#inner.endUploads(options)
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #pass(signal: AbortSignal | undefined, bytes = 0): Promise<void> {
    await this.#requests?.take(1, signal)
    if (this.#bytes === null || this.#bytes.tryTake(bytes)) return
    if (bytes > smallBytesMax) return this.#bytes.take(bytes, signal)
    await this.#smallBytes?.take(bytes, signal)
    this.#bytes.charge(bytes)
  }

  /** How large it is shows when it is there; so what came in before has to be waited for. */
  async #passRead(signal: AbortSignal | undefined): Promise<void> {
    await this.#requests?.take(1, signal)
    await this.#bytes?.take(0, signal)
  }
}
