// When the closed tenants of a worker need a retention pass: one list, one timer, and no timer while the list is empty. The
// list lies on disk too; a tenant that it lost is found again when it is opened next.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { isTenantId, type TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorCode, errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { nextPassAtMs } from '../../replicate/retention-pass.ts'
import { changeFacts, type TenantFacts, tenantPrefix } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'
import type { UpkeepDeps } from './tenant-upkeep.ts'

const version = 1
/** Between two looks at the list, ms: nothing on it is urgent. */
const lookMsMin = 60_000
const lookMsMax = 3_600_000
/** A pass that failed is tried again after this, ms. */
const retryMs = 6 * 3_600_000
/** Tenants on the list; one more than a node can have. */
const tenantsMax = 200_000

export interface ScheduleDeps {
  readonly clock: Clock
  readonly log: Logger
  /** The file that holds the list. */
  readonly path: string
  /** Whether the tenant is closed, and still ours to look after. */
  readonly isOurs: (id: TenantId) => Promise<boolean>
  /** Runs the pass; says when the next one is due. */
  readonly pass: (id: TenantId) => Promise<number | null>
}

export class UpkeepSchedule {
  readonly #deps: ScheduleDeps
  readonly #due: Map<TenantId, number>
  #cancel: Cancel | null = null
  #isUnsaved = false
  #isLooking = false
  #isStopped = false

  constructor(deps: ScheduleDeps) {
    this.#deps = deps
    this.#due = readList(deps.path)
    this.#arm()
  }

  /** Tenants that are waited for. */
  get size(): number {
    return this.#due.size
  }

  /** @param dueAtMs ms since the Unix epoch; null takes the tenant off the list. */
  note(id: TenantId, dueAtMs: number | null): void {
    if (dueAtMs === null ? !this.#due.has(id) : this.#due.get(id) === dueAtMs) return
    if (dueAtMs === null) this.#due.delete(id)
    else if (this.#due.size < tenantsMax) this.#due.set(id, dueAtMs)
    this.#isUnsaved = true
    this.#arm()
  }

  stop(): void {
    this.#isStopped = true
    this.#cancel?.()
    this.#cancel = null
    this.#save()
  }

  #arm(): void {
    if (this.#cancel !== null || this.#isLooking || this.#isStopped) return
    if (this.#due.size === 0 && !this.#isUnsaved) return
    const { clock } = this.#deps
    const first = Math.min(...this.#due.values())
    const waitMs = this.#isUnsaved ? lookMsMin : Math.min(lookMsMax, Math.max(lookMsMin, first - clock.now()))
    this.#cancel = clock.setTimer(waitMs, () => void this.#look())
  }

  async #look(): Promise<void> {
    const { clock, log, isOurs, pass } = this.#deps
    this.#cancel = null
    this.#isLooking = true
    this.#save()
    const nowMs = clock.now()
    for (const [id, dueAtMs] of [...this.#due]) {
      if (dueAtMs > nowMs || this.#isStopped) continue
      try {
        // Open, it looks after itself and comes back here when it closes; moved, its new owner does.
        const next = (await isOurs(id)) ? await pass(id) : null
        if (this.#due.get(id) === dueAtMs) this.note(id, next)
      } catch (error) {
        this.note(id, clock.now() + retryMs)
        log.warn('retention pass failed', { tenant: id, error: errorMessage(error) })
      }
    }
    this.#isLooking = false
    this.#arm()
  }

  /** Without fsync: what a power cut takes is found again. */
  #save(): void {
    if (!this.#isUnsaved) return
    const { path, log } = this.#deps
    try {
      writeFileSync(`${path}.tmp`, JSON.stringify({ version, due: Object.fromEntries(this.#due) }), { mode: 0o600 })
      renameSync(`${path}.tmp`, path)
      this.#isUnsaved = false
    } catch (error) {
      log.warn('upkeep list was not written', { path, error: errorMessage(error) })
      this.#isUnsaved = false // with the next change again
    }
  }
}

/** Runs what is due for the histories of a closed tenant, from its manifest alone; @returns when the next pass is. */
export async function passClosed(id: TenantId, deps: Omit<UpkeepDeps, 'log'>): Promise<number | null> {
  const { clock, objectPrefix, upkeep } = deps
  let next: number | null = null
  await changeFacts(deps, id, clock.now(), async (facts) => {
    const databases: { -readonly [Name in keyof TenantFacts['databases']]: TenantFacts['databases'][Name] } = {
      ...facts.databases,
    }
    const due: number[] = []
    let isChanged = false
    for (const name of databaseNames) {
      let manifest = databases[name]
      if (manifest === undefined) continue
      const { txid, timestampMs } = manifest.tail
      let atMs = nextPassAtMs(manifest, txid, timestampMs)
      if (atMs !== null && atMs <= clock.now()) {
        const { candidates, retained } = await upkeep.retain(`${tenantPrefix(objectPrefix, id)}/${name}`, manifest)
        manifest = { ...manifest, candidates, retained }
        databases[name] = manifest
        isChanged = true
        atMs = nextPassAtMs(manifest, txid, timestampMs)
      }
      if (atMs !== null) due.push(atMs)
    }
    next = due.length === 0 ? null : Math.min(...due)
    return isChanged ? { ...facts, databases } : facts
  })
  return next
}

/** Empty when there is none, or one that cannot be read. */
function readList(path: string): Map<TenantId, number> {
  let raw: unknown
  try {
    raw = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' && !(error instanceof SyntaxError)) throw error
    return new Map()
  }
  const { version: found, due } = (raw ?? {}) as Record<string, unknown>
  if (found !== version || typeof due !== 'object' || due === null) return new Map()
  const entries = Object.entries(due).filter(
    (entry): entry is [TenantId, number] => isTenantId(entry[0]) && Number.isSafeInteger(entry[1]),
  )
  return new Map(entries.slice(0, tenantsMax))
}
