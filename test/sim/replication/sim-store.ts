// An object store whose requests wait until the simulation says what becomes of each: done, failed before or after it was
// done, or never answered. What is done is checked at once against the rules of a history.

import type { MemoryObjectStore, MemoryOperation } from '../../../src/lib/object-store/memory.ts'
import { type ObjectStore, ObjectStoreError, type PutOptions } from '../../../src/lib/object-store/object-store.ts'
import { shorterPage } from '../../support/short-pages.ts'

export type Fate = 'done' | 'failed' | 'lost-reply'

export interface PendingRequest {
  readonly operation: MemoryOperation
  readonly key: string
  readonly client: SimClient
  /** Does the request, or not, and answers, or not. */
  settle(fate: Fate): Promise<void>
  /** The client is dead: the request may still be done, and nobody hears the answer. */
  drop(isDone: boolean): Promise<void>
}

/** A rule of histories was broken; ends the simulation. */
export class BrokenRuleError extends Error {}

interface SimCall {
  readonly client: SimClient
  readonly operation: MemoryOperation
  readonly key: string
  readonly signal?: AbortSignal | undefined
}

/** Throws BrokenRuleError. */
export interface SimObserver {
  /** Before a request is done. */
  beforePut(key: string, body: Uint8Array, isCreateOnly: boolean, exists: boolean): void
  afterPut(key: string, body: Uint8Array): void
  beforeDelete(keys: readonly string[]): void
}

export class SimStore {
  readonly inner: MemoryObjectStore
  /** Entries of a page of a listing. */
  readonly pageMax: number
  readonly pending: PendingRequest[] = []
  /** Counts everything that happens, so that the simulation sees when nothing does. */
  activity = 0
  readonly #observer: SimObserver
  readonly #unheard: ((reason: Error) => void)[] = []
  #isOver = false

  constructor(inner: MemoryObjectStore, observer: SimObserver, pageMax: number) {
    this.inner = inner
    this.pageMax = pageMax
    this.#observer = observer
  }

  /** The store as one process sees it. */
  client(name: string): SimClient {
    return new SimClient(this, name)
  }

  request<T>(call: SimCall, run: () => Promise<T>): Promise<T> {
    this.activity++
    const { client, operation, key, signal } = call
    if (this.#isOver) return Promise.reject(new Error('the simulation is over'))
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (client.isDead) {
      this.#unheard.push(reject) // a dead process hears nothing
      return promise
    }
    const remove = () => {
      this.pending.splice(this.pending.indexOf(request), 1)
      this.activity++
    }
    // Whoever gives up does not undo it: the request may still be done, much later.
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
    const request: PendingRequest = {
      ...call,
      settle: async (fate) => {
        remove()
        const failure = new ObjectStoreError(`${operation} ${key}: injected`, { retryable: true, status: 503 })
        if (fate === 'failed') return reject(failure)
        try {
          const value = await run()
          if (fate === 'done') resolve(value)
          else reject(failure)
        } catch (error) {
          if (error instanceof BrokenRuleError) throw error
          reject(error)
        }
      },
      drop: async (isDone) => {
        remove()
        this.#unheard.push(reject)
        try {
          if (isDone) await run()
        } catch (error) {
          if (error instanceof BrokenRuleError) throw error
        }
      },
    }
    this.pending.push(request)
    return promise
  }

  /** Lets everybody go who waits for an answer, so that files can be closed. */
  end(): void {
    this.#isOver = true
    const reason = new Error('the simulation is over')
    for (const request of [...this.pending]) void request.drop(false)
    for (const reject of this.#unheard.splice(0)) reject(reason)
  }

  async put(key: string, body: Uint8Array, options: PutOptions): Promise<{ readonly etag: string }> {
    this.#observer.beforePut(key, body, options.createOnly ?? false, this.inner.keys.includes(key))
    const { signal: _, ...rest } = options // whoever gives up does not undo it
    const answer = await this.inner.put(key, body, rest)
    this.#observer.afterPut(key, body)
    return answer
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.#observer.beforeDelete(keys)
    await this.inner.delete(keys)
  }
}

export class SimClient implements ObjectStore {
  readonly layout = 's3'
  readonly description = 'simulation'
  readonly name: string
  isDead = false
  readonly #sim: SimStore

  constructor(sim: SimStore, name: string) {
    this.#sim = sim
    this.name = name
  }

  put(key: string, body: Uint8Array, options: PutOptions = {}): ReturnType<ObjectStore['put']> {
    const copy = body.slice()
    return this.#ask('put', key, options.signal, () => this.#sim.put(key, copy, options))
  }

  async putFile(key: string, path: string, options: PutOptions = {}): ReturnType<ObjectStore['putFile']> {
    return this.put(key, await Bun.file(path).bytes(), options)
  }

  copy(from: string, to: string): Promise<void> {
    return this.#ask('copy', from, undefined, () => this.#sim.inner.copy(from, to))
  }

  get(...args: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    const [key, { range, signal } = {}] = args
    return this.#ask('get', key, signal, () => this.#sim.inner.get(key, range && { range }))
  }

  getStream(...args: Parameters<ObjectStore['getStream']>): ReturnType<ObjectStore['getStream']> {
    const [key, { range, signal } = {}] = args
    return this.#ask('get', key, signal, () => this.#sim.inner.getStream(key, range && { range }))
  }

  head(key: string, { signal }: { readonly signal?: AbortSignal } = {}): ReturnType<ObjectStore['head']> {
    return this.#ask('head', key, signal, () => this.#sim.inner.head(key))
  }

  list({ signal, ...options }: Parameters<ObjectStore['list']>[0]): ReturnType<ObjectStore['list']> {
    const { inner, pageMax } = this.#sim
    return this.#ask('list', options.prefix, signal, async () => shorterPage(await inner.list(options), pageMax))
  }

  delete(...[keys, { signal } = {}]: Parameters<ObjectStore['delete']>): ReturnType<ObjectStore['delete']> {
    return this.#ask('delete', keys[0] ?? '', signal, () => this.#sim.delete(keys))
  }

  async endUploads(): Promise<number> {
    return 0
  }

  async close(): Promise<void> {}

  #ask<T>(operation: MemoryOperation, key: string, signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    return this.#sim.request({ client: this, operation, key, signal }, run)
  }
}
