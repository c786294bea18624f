// The placements this node heard of last, on disk: opening a tenant needs to know that it is ours and under which epoch,
// and that must not depend on a control plane that happens to be away. A stale entry is harmless: whoever was placed
// later has sealed the history, and the object store, not this file, decides who may write.

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NodeReplies } from '../ipc/messages/cp-node.ts'
import { isTenantId, type TenantId } from '../lib/brand.ts'
import type { Logger } from '../lib/obs/log.ts'

export type KnownPlacement = Extract<NodeReplies['placement.get'], { readonly placement: unknown }>

const formatVersion = 1
/** Larger than any real entry (a hundred domains of 253 characters). */
const entryBytesMax = 64 * 1024

export class PlacementCache {
  readonly #dir: string
  readonly #log: Logger
  readonly #known = new Map<TenantId, KnownPlacement>()
  /** Writes of one tenant follow one another. */
  readonly #writing = new Map<TenantId, Promise<void>>()

  constructor(dir: string, log: Logger) {
    this.#dir = dir
    this.#log = log
  }

  /** Reads what an earlier process left; unreadable entries are dropped, for the control plane knows them. */
  static open(dir: string, log: Logger): PlacementCache {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const cache = new PlacementCache(dir, log)
    for (const name of readdirSync(dir)) cache.#load(name)
    return cache
  }

  get(id: TenantId): KnownPlacement | undefined {
    return this.#known.get(id)
  }

  entries(): Iterable<KnownPlacement> {
    return this.#known.values()
  }

  /** Keeps the placement with the highest epoch; resolves once it is on disk. */
  put(next: KnownPlacement): Promise<void> {
    const id = next.tenant.id
    const known = this.#known.get(id)
    if (known !== undefined && known.placement.epoch > next.placement.epoch) return Promise.resolve()
    if (known !== undefined && Bun.deepEquals(known, next)) return this.#writing.get(id) ?? Promise.resolve()
    this.#known.set(id, next)
    return this.#after(id, async () => {
      const path = join(this.#dir, `${id}.json`)
      await writeFile(`${path}.tmp`, JSON.stringify({ version: formatVersion, ...next }), { mode: 0o600 })
      await rename(`${path}.tmp`, path)
    })
  }

  /** The tenant is no longer ours. */
  delete(id: TenantId): Promise<void> {
    if (!this.#known.delete(id)) return Promise.resolve()
    return this.#after(id, async () => rmSync(join(this.#dir, `${id}.json`), { force: true }))
  }

  #after(id: TenantId, work: () => Promise<void>): Promise<void> {
    const before = this.#writing.get(id) ?? Promise.resolve()
    const done = before.then(work).catch((error) => {
      // A cache: without it an outage of the control plane keeps this tenant from opening, nothing worse.
      this.#log.warn('placement could not be kept on disk', { tenant: id, error })
    })
    this.#writing.set(id, done)
    return done.finally(() => {
      if (this.#writing.get(id) === done) this.#writing.delete(id)
    })
  }

  #load(name: string): void {
    const id = name.replace(/\.json$/, '')
    if (!name.endsWith('.json') || !isTenantId(id)) return
    try {
      const text = readFileSync(join(this.#dir, name), 'utf8')
      if (text.length > entryBytesMax) throw new Error('the entry is too long')
      const entry = JSON.parse(text) as {
        version?: unknown
        tenant?: { id?: unknown }
        placement?: { epoch?: unknown }
      }
      if (entry.version !== formatVersion || entry.tenant?.id !== id || typeof entry.placement?.epoch !== 'number')
        throw new Error('the entry has another shape')
      const { version: _version, ...known } = entry
      this.#known.set(id, known as unknown as KnownPlacement) // written by this program, its version checked
    } catch (error) {
      this.#log.warn('cached placement could not be read', { file: name, error })
    }
  }
}
