// Counts what is asked of a store: calls, failures and bytes. One call may be several HTTP requests (attempts, parts);
// bills and "an idle database asks for nothing" are read from here.

import { stat } from 'node:fs/promises'
import { ObjectExistsError, ObjectNotFoundError, type ObjectStore } from './object-store.ts'

export const meteredOperations = ['put', 'copy', 'get', 'head', 'list', 'delete'] as const
export type MeteredOperation = (typeof meteredOperations)[number]

export interface MeterReading {
  readonly calls: Readonly<Record<MeteredOperation, number>>
  /** Calls that failed. "Exists already" and "not found" are answers, not failures. */
  readonly failures: Readonly<Record<MeteredOperation, number>>
  readonly bytesSent: number
  readonly bytesReceived: number
}

export const noReading: MeterReading = { calls: zeros(), failures: zeros(), bytesSent: 0, bytesReceived: 0 }

export function addReadings(a: MeterReading, b: MeterReading): MeterReading {
  const sum = (of: 'calls' | 'failures') =>
    Object.fromEntries(meteredOperations.map((each) => [each, a[of][each] + b[of][each]])) as MeterReading['calls']
  return {
    calls: sum('calls'),
    failures: sum('failures'),
    bytesSent: a.bytesSent + b.bytesSent,
    bytesReceived: a.bytesReceived + b.bytesReceived,
  }
}

/** A store that does what the inner one does, and counts. Closing it closes the inner one. */
export class MeteredObjectStore implements ObjectStore {
  readonly layout: 's3' | 'file'
  readonly description: string
  readonly #inner: ObjectStore
  readonly #calls = zeros()
  readonly #failures = zeros()
  #bytesSent = 0
  #bytesReceived = 0

  constructor(inner: ObjectStore) {
    this.#inner = inner
    this.layout = inner.layout
    this.description = inner.description
  }

  /** Sums since the store was opened; a copy. */
  get reading(): MeterReading {
    return {
      calls: { ...this.#calls },
      failures: { ...this.#failures },
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
    }
  }

  async put(...args: Parameters<ObjectStore['put']>): ReturnType<ObjectStore['put']> {
    const answer = await this.#count('put', () => this.#inner.put(...args))
    this.#bytesSent += args[1].length
    return answer
  }

  async putFile(...args: Parameters<ObjectStore['putFile']>): ReturnType<ObjectStore['putFile']> {
    const answer = await this.#count('put', () => this.#inner.putFile(...args))
    this.#bytesSent += (await stat(args[1])).size
    return answer
  }

  copy(...args: Parameters<ObjectStore['copy']>): ReturnType<ObjectStore['copy']> {
    return this.#count('copy', () => this.#inner.copy(...args))
  }

  async get(...args: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    const bytes = await this.#count('get', () => this.#inner.get(...args))
    this.#bytesReceived += bytes.length
    return bytes
  }

  /** Counts the bytes that reach the reader, so a body that is given up half-way counts as half. */
  async getStream(...args: Parameters<ObjectStore['getStream']>): ReturnType<ObjectStore['getStream']> {
    const { info, body } = await this.#count('get', () => this.#inner.getStream(...args))
    const counted = new TransformStream<Uint8Array, Uint8Array>({
      transform: (piece, controller) => {
        this.#bytesReceived += piece.length
        controller.enqueue(piece)
      },
    })
    return { info, body: body.pipeThrough(counted) }
  }

  head(...args: Parameters<ObjectStore['head']>): ReturnType<ObjectStore['head']> {
    return this.#count('head', () => this.#inner.head(...args))
  }

  list(...args: Parameters<ObjectStore['list']>): ReturnType<ObjectStore['list']> {
    return this.#count('list', () => this.#inner.list(...args))
  }

  delete(...args: Parameters<ObjectStore['delete']>): ReturnType<ObjectStore['delete']> {
    return this.#count('delete', () => this.#inner.delete(...args))
  }

  endUploads(...args: Parameters<ObjectStore['endUploads']>): ReturnType<ObjectStore['endUploads']> {
    return this.#count('delete', () => this.#inner.endUploads(...args))
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #count<T>(operation: MeteredOperation, call: () => Promise<T>): Promise<T> {
    this.#calls[operation]++
    try {
      return await call()
    } catch (error) {
      const isAnswer = error instanceof ObjectExistsError || error instanceof ObjectNotFoundError
      if (!isAnswer) this.#failures[operation]++
      throw error
    }
  }
}

function zeros(): Record<MeteredOperation, number> {
  return { put: 0, copy: 0, get: 0, head: 0, list: 0, delete: 0 }
}
