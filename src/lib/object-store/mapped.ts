// A store in which some keys lie elsewhere: whoever uses it need not know.

import type { ListPage, ObjectInfo, ObjectStore } from './object-store.ts'

/** Keys that start with `from` lie below `to` instead. Both end with a slash; no `from` begins another one. */
export interface PrefixRule {
  readonly from: string
  readonly to: string
}

export interface MappedOptions {
  readonly rules: readonly PrefixRule[]
  /** Called after each write of a mapped key, whatever came of it; what it throws takes the place of the outcome. */
  readonly afterPut?: () => void
}

/** Closing it closes the inner one. */
export class MappedObjectStore implements ObjectStore {
  readonly layout: 's3' | 'file'
  readonly description: string
  readonly #inner: ObjectStore
  readonly #options: MappedOptions

  constructor(inner: ObjectStore, options: MappedOptions) {
    this.#inner = inner
    this.#options = options
    this.layout = inner.layout
    this.description = inner.description
  }

  put(...[key, ...rest]: Parameters<ObjectStore['put']>): ReturnType<ObjectStore['put']> {
    return this.#written(key, (mapped) => this.#inner.put(mapped, ...rest))
  }

  putFile(...[key, ...rest]: Parameters<ObjectStore['putFile']>): ReturnType<ObjectStore['putFile']> {
    return this.#written(key, (mapped) => this.#inner.putFile(mapped, ...rest))
  }

  copy(...[from, to, ...rest]: Parameters<ObjectStore['copy']>): ReturnType<ObjectStore['copy']> {
    return this.#inner.copy(this.#map(from), this.#map(to), ...rest)
  }

  get(...[key, ...rest]: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    return this.#inner.get(this.#map(key), ...rest)
  }

  async getStream(...[key, ...rest]: Parameters<ObjectStore['getStream']>): ReturnType<ObjectStore['getStream']> {
    const { info, body } = await this.#inner.getStream(this.#map(key), ...rest)
    return { info: { ...info, key }, body }
  }

  async head(...[key, ...rest]: Parameters<ObjectStore['head']>): ReturnType<ObjectStore['head']> {
    const found = await this.#inner.head(this.#map(key), ...rest)
    return found === null ? null : { ...found, key }
  }

  async list(options: Parameters<ObjectStore['list']>[0]): Promise<ListPage> {
    const { prefix, after } = options
    const page = await this.#inner.list({
      ...options,
      prefix: this.#map(prefix),
      ...(after !== undefined && { after: this.#map(after) }),
    })
    return {
      objects: page.objects.map((each): ObjectInfo => ({ ...each, key: this.#unmap(each.key) })),
      prefixes: page.prefixes.map((each) => this.#unmap(each)),
      next: page.next,
    }
  }

  delete(...[keys, ...rest]: Parameters<ObjectStore['delete']>): ReturnType<ObjectStore['delete']> {
    return this.#inner.delete(
      keys.map((key) => this.#map(key)),
      ...rest,
    )
  }

  endUploads(options: Parameters<ObjectStore['endUploads']>[0]): ReturnType<ObjectStore['endUploads']> {
    return this.#inner.endUploads({ ...options, prefix: this.#map(options.prefix) })
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #written<T>(key: string, write: (mapped: string) => Promise<T>): Promise<T> {
    const mapped = this.#map(key)
    if (mapped === key) return write(key)
    try {
      return await write(mapped)
    } finally {
      this.#options.afterPut?.()
    }
  }

  #map(key: string): string {
    const rule = this.#options.rules.find(({ from }) => key.startsWith(from))
    return rule === undefined ? key : rule.to + key.slice(rule.from.length)
  }

  #unmap(key: string): string {
    const rule = this.#options.rules.find(({ to }) => key.startsWith(to))
    return rule === undefined ? key : rule.from + key.slice(rule.to.length)
  }
}
