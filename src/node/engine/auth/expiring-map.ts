// A small memory of things that happened lately: who was sent a mail, what a provider told us once. Bounded in time and
// size, and needs no timer: what is over goes when something new comes.

import type { Clock } from '../../../lib/clock.ts'

export class ExpiringMap<V> {
  readonly #clock: Clock
  readonly #ttlMs: number
  readonly #sizeMax: number
  /** The oldest first. */
  readonly #entries = new Map<string, { readonly value: V; readonly endsAtMs: number }>()

  /** @param sizeMax past it the oldest entry is forgotten early. */
  constructor(clock: Clock, options: { readonly ttlMs: number; readonly sizeMax: number }) {
    this.#clock = clock
    this.#ttlMs = options.ttlMs
    this.#sizeMax = options.sizeMax
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.endsAtMs > this.#clock.monotonic()) return entry.value
    this.#entries.delete(key)
    return undefined
  }

  has(key: string): boolean {
    return this.get(key) !== undefined
  }

  set(key: string, value: V): void {
    const nowMs = this.#clock.monotonic()
    this.#entries.delete(key)
    for (const [oldKey, { endsAtMs }] of this.#entries) {
      if (endsAtMs > nowMs && this.#entries.size < this.#sizeMax) break
      this.#entries.delete(oldKey)
    }
    this.#entries.set(key, { value, endsAtMs: nowMs + this.#ttlMs })
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }
}
