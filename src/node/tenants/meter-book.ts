// What each tenant asked of the object store through this worker: requests by kind, and bytes. Kept across restarts in one
// small file, written now and then and at the end: a crash loses the last minutes of counting, never of data.

import { renameSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isTenantId, type TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorCode } from '../../lib/errors.ts'
import { LruMap } from '../../lib/lru.ts'
import {
  addReadings,
  MeteredObjectStore,
  type MeteredOperation,
  type MeterReading,
  meteredOperations,
  noReading,
} from '../../lib/object-store/metered.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'

/** Tenants that are counted; the one that was opened least recently is forgotten first. */
const tenantsMax = 100_000
/** Between two writes of the file, while there is something new, ms. */
const writeEveryMs = 120_000
const version = 1

interface Account {
  /** Of earlier processes, and of work that other processes did for the tenant. */
  base: MeterReading
  store: MeteredObjectStore | null
}

/** Where the worker of this index keeps its counts. */
export function meterPath(dir: string, worker: number): string {
  return join(dir, `meter-${worker}.json`)
}

/**
 * What the next {@link MeterBook} on this file would say of a tenant when it opens.
 *
 * @param nowMs wall clock: since when it would count, where there is no file or a damaged one.
 */
export async function storedMeter(
  path: string,
  id: TenantId,
  nowMs: number,
): Promise<{ readonly sinceMs: number; readonly reading: MeterReading }> {
  const stored = await readStored(path)
  if (stored === 'missing' || stored === 'damaged') return { sinceMs: nowMs, reading: noReading }
  return { sinceMs: stored.sinceMs, reading: stored.readings.find(([each]) => each === id)?.[1] ?? noReading }
}

export class MeterBook {
  readonly #deps: { readonly store: ObjectStore; readonly path: string; readonly clock: Clock; readonly log: Logger }
  readonly #store: MeteredObjectStore
  readonly #accounts = new LruMap<TenantId, Account>(tenantsMax)
  /** When counting began, wall clock, ms. */
  readonly sinceMs: number
  /** What other processes did, since the start. */
  #elsewhere = noReading
  #written = ''
  #cancel: Cancel | null = null

  private constructor(
    deps: { readonly store: ObjectStore; readonly path: string; readonly clock: Clock; readonly log: Logger },
    sinceMs: number,
  ) {
    this.#deps = deps
    this.#store = new MeteredObjectStore(deps.store)
    this.sinceMs = sinceMs
  }

  /** A file that is missing or cannot be read begins a new count. */
  static async open(deps: {
    readonly store: ObjectStore
    readonly path: string
    readonly clock: Clock
    readonly log: Logger
  }): Promise<MeterBook> {
    const stored = await readStored(deps.path)
    if (stored === 'damaged') deps.log.warn('meter could not be read, counting begins anew', { path: deps.path })
    if (stored === 'missing' || stored === 'damaged') return new MeterBook(deps, deps.clock.now())
    const book = new MeterBook(deps, stored.sinceMs)
    for (const [id, base] of stored.readings) book.#accounts.set(id, { base, store: null })
    return book
  }

  /** The store as this tenant uses it. */
  storeOf(id: TenantId): ObjectStore {
    const account = this.#account(id)
    return (account.store ??= new MeteredObjectStore(this.#store))
  }

  /** Counts what another process did for the tenant. */
  add(id: TenantId, reading: MeterReading): void {
    const account = this.#account(id)
    account.base = addReadings(account.base, reading)
    this.#elsewhere = addReadings(this.#elsewhere, reading)
  }

  readingOf(id: TenantId): MeterReading {
    const account = this.#accounts.get(id)
    return account === undefined ? noReading : readingOf(account)
  }

  /** Of all tenants, since this process started. */
  get total(): MeterReading {
    return addReadings(this.#elsewhere, this.#store.reading)
  }

  /** Writes what is new, and stops. */
  close(): void {
    this.#cancel?.()
    this.#write()
  }

  #account(id: TenantId): Account {
    let account = this.#accounts.get(id)
    if (account === undefined) this.#accounts.set(id, (account = { base: noReading, store: null }))
    this.#cancel ??= this.#deps.clock.setTimer(writeEveryMs, () => {
      this.#cancel = null
      this.#write()
    })
    return account
  }

  #write(): void {
    const { path, log } = this.#deps
    const tenants = Object.fromEntries([...this.#accounts.entries()].map(([id, each]) => [id, packed(readingOf(each))]))
    const text = JSON.stringify({ version, sinceMs: this.sinceMs, tenants })
    if (text === this.#written) return
    try {
      writeFileSync(`${path}.tmp`, text, { mode: 0o600 })
      renameSync(`${path}.tmp`, path)
      this.#written = text
    } catch (error) {
      log.warn('meter could not be written', { path, error })
    }
  }
}

function readingOf({ base, store }: Account): MeterReading {
  return store === null ? base : addReadings(base, store.reading)
}

/** Calls by kind, failures by kind, bytes sent, bytes received. */
function packed({ calls, failures, bytesSent, bytesReceived }: MeterReading): number[] {
  return [
    ...meteredOperations.map((each) => calls[each]),
    ...meteredOperations.map((each) => failures[each]),
    bytesSent,
    bytesReceived,
  ]
}

function unpacked(raw: unknown): MeterReading | null {
  const count = meteredOperations.length
  if (!Array.isArray(raw) || raw.length !== 2 * count + 2) return null
  if (!raw.every((each): each is number => Number.isSafeInteger(each) && each >= 0)) return null
  const byKind = (from: number) =>
    Object.fromEntries(meteredOperations.map((each, at) => [each, raw[from + at]])) as Record<MeteredOperation, number>
  return { calls: byKind(0), failures: byKind(count), bytesSent: raw[2 * count]!, bytesReceived: raw[2 * count + 1]! }
}

async function readStored(
  path: string,
): Promise<
  { readonly sinceMs: number; readonly readings: readonly [TenantId, MeterReading][] } | 'missing' | 'damaged'
> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 'missing'
    throw error
  }
  try {
    const raw = JSON.parse(text) as { version?: unknown; sinceMs?: unknown; tenants?: Record<string, unknown> }
    if (raw.version !== version || !Number.isSafeInteger(raw.sinceMs)) return 'damaged'
    const readings: [TenantId, MeterReading][] = []
    for (const [id, each] of Object.entries(raw.tenants ?? {})) {
      const reading = unpacked(each)
      if (isTenantId(id) && reading !== null) readings.push([id, reading])
    }
    return { sinceMs: raw.sinceMs as number, readings }
  } catch {
    return 'damaged' // half written by a crash
  }
}
