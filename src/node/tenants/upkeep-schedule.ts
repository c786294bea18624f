// When the closed tenants of a worker need something done: a retention pass, a cron job. One list, one timer, and no timer
// while the list is empty. The list lies on disk too; a tenant that it lost is found again when it is opened next.

import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isTenantId, type TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorCode, errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { nextPassAtMs } from '../../replicate/retention-pass.ts'
import { changeFacts, type TenantFacts, tenantPrefix } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'
import type { UpkeepDeps } from './tenant-upkeep.ts'

const version = 1
const lookMsMinDefault = 60_000
const lookMsMax = 3_600_000
const retryMsDefault = 6 * 3_600_000
/** Tenants on the list; one more than a node can have. */
const tenantsMax = 200_000

export interface ScheduleDeps {
  readonly clock: Clock
  readonly log: Logger
  /** The file that holds the list. */
  readonly path: string
  /** Whether the tenant is still ours to look after. */
  readonly isOurs: (id: TenantId) => Promise<boolean>
  /** Does what was due; says when something is due next. */
  readonly pass: (id: TenantId, dueAtMs: number) => Promise<number | null>
  /** Between two looks at the list, ms; default: a minute, for what is not urgent. */
  readonly lookMsMin?: number
  /** Tenants that are looked after at a time; default: one. */
  readonly atOnceMax?: number
  /** After a failure, ms; default: six hours. */
  readonly retryMs?: number
}

export class UpkeepSchedule {
  readonly #deps: ScheduleDeps
  readonly #due: Map<TenantId, number>
  /** Those that failed are not tried again before; what was due when stays as it is, for that is what must be made up for. */
  readonly #restsUntilMs = new Map<TenantId, number>()
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
    this.#restsUntilMs.delete(id)
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
    const { clock, lookMsMin = lookMsMinDefault } = this.#deps
    let first = Number.POSITIVE_INFINITY
    for (const [id, dueAtMs] of this.#due) first = Math.min(first, this.#looksAtMs(id, dueAtMs))
    const waitMs = this.#isUnsaved ? lookMsMin : Math.min(lookMsMax, Math.max(lookMsMin, first - clock.now()))
    this.#cancel = clock.setTimer(waitMs, () => void this.#look())
  }

  #looksAtMs(id: TenantId, dueAtMs: number): number {
    return Math.max(dueAtMs, this.#restsUntilMs.get(id) ?? dueAtMs)
  }

  async #look(): Promise<void> {
    const { clock, atOnceMax = 1 } = this.#deps
    this.#cancel = null
    this.#isLooking = true
    this.#save()
    const nowMs = clock.now()
    const due = [...this.#due].filter(([id, dueAtMs]) => this.#looksAtMs(id, dueAtMs) <= nowMs)
    const queue = due.values()
    const lane = async () => {
      for (const [id, dueAtMs] of queue) if (!this.#isStopped) await this.#lookAfter(id, dueAtMs)
    }
    if (due.length > 0) await Promise.all(Array.from({ length: Math.min(atOnceMax, due.length) }, lane))
    this.#isLooking = false
    this.#arm()
  }

  async #lookAfter(id: TenantId, dueAtMs: number): Promise<void> {
    const { clock, log, isOurs, pass, retryMs = retryMsDefault } = this.#deps
    try {
      // Moved, its new owner looks after it.
      const next = (await isOurs(id)) ? await pass(id, dueAtMs) : null
      if (this.#due.get(id) === dueAtMs) this.note(id, next)
    } catch (error) {
      if (this.#due.get(id) === dueAtMs) this.#restsUntilMs.set(id, clock.now() + retryMs)
      log.warn('what was due for a closed tenant failed', { tenant: id, error: errorMessage(error) })
    }
  }

  /** Without fsync: what a power cut takes is found again. */
  #save(): void {
    if (!this.#isUnsaved) return
    const { path, log } = this.#deps
    try {
      writeList(path, this.#due)
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
  await changeFacts(deps, id, clock.now(), async (facts, tenant) => {
    const keepEveryMs = isDuration(tenant.keepEveryMs) ? tenant.keepEveryMs : undefined
    const databases: { -readonly [Name in keyof TenantFacts['databases']]: TenantFacts['databases'][Name] } = {
      ...facts.databases,
    }
    const due: number[] = []
    let isChanged = false
    for (const name of databaseNames) {
      const manifest = databases[name]
      if (manifest === undefined || manifest.retained === null) continue
      const { txid } = manifest.tail
      const { restoreMsMax } = manifest
      let atMs = nextPassAtMs({ ...manifest, retained: manifest.retained }, txid)
      if (atMs !== null && atMs <= clock.now()) {
        const { candidates, retained } = await upkeep.retain(`${tenantPrefix(objectPrefix, id)}/${name}`, {
          ...manifest,
          ...(keepEveryMs !== undefined && { keepEveryMs }),
        })
        databases[name] = { ...manifest, candidates, retained }
        isChanged = true
        atMs = nextPassAtMs({ candidates, retained, restoreMsMax }, txid)
      }
      if (atMs !== null) due.push(atMs)
    }
    next = due.length === 0 ? null : Math.min(...due)
    return isChanged ? { ...facts, databases } : facts
  })
  return next
}

function isDuration(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

/**
 * Before any worker of a node runs: gives the tenants on the lists `{kind}-{worker}.json` to the workers that look after
 * them now. While a tenant was busy another worker had it on its list, and with another number of workers others serve it.
 *
 * @param workerOf null: not known here; it stays on its list.
 */
export function dealLists(dir: string, kind: string, workerOf: (id: TenantId) => number | null): void {
  const names = new RegExp(`^${kind}-(\\d+)\\.json$`)
  const pathOf = (worker: number) => join(dir, `${kind}-${worker}.json`)
  const found = readdirSync(dir).flatMap((name) => names.exec(name)?.[1] ?? [])
  const lists = new Map(found.map((worker) => [Number(worker), readList(pathOf(Number(worker)))]))
  const dealt = new Map([...lists.keys()].map((worker) => [worker, new Map<TenantId, number>()]))
  let isSame = true
  for (const [worker, due] of lists)
    for (const [id, dueAtMs] of due) {
      const to = workerOf(id) ?? worker
      if (to !== worker) isSame = false
      const list = dealt.get(to) ?? new Map<TenantId, number>()
      dealt.set(to, list)
      list.set(id, Math.max(dueAtMs, list.get(id) ?? dueAtMs)) // on two lists: the later time was found out later
    }
  // The lists of workers for busy tenants, which lose what others win, come last.
  if (!isSame)
    for (const worker of [...dealt.keys()].sort((a, b) => a - b)) writeList(pathOf(worker), dealt.get(worker)!)
}

function writeList(path: string, due: ReadonlyMap<TenantId, number>): void {
  writeFileSync(`${path}.tmp`, JSON.stringify({ version, due: Object.fromEntries(due) }), { mode: 0o600 })
  renameSync(`${path}.tmp`, path)
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
