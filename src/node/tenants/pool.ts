// The tenants of one worker process: opens them on their first request, closes them when they rest or when their place
// is needed, and lets requests in. A request for an open tenant costs one signature check and one look-up.

import {
  type RouteHeader,
  type RouteHeaderFailure,
  type RouteHeaderKeys,
  RouteHeaderVerifier,
  routeHeaderName,
} from '../../ipc/messages/route-header.ts'
import type { Placement, TenantSpec } from '../../ipc/messages/tenant.ts'
import { assert } from '../../lib/assert.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { sleep } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import { inParallel, Lane } from '../../lib/lane.ts'
import { LruMap } from '../../lib/lru.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { MaybePromise } from '../../lib/result.ts'
import type { Engine } from '../engine/engine.ts'
import { OpeningFailures } from './opening-failures.ts'
import { type Candidate, chooseToClose } from './pool-score.ts'
import { nextState, type TenantInput, type TenantState, takesRequests } from './states.ts'
import { TenantInactiveError, WrongOwnerError } from './tenant-errors.ts'

/** A tenant whose databases are open. Whoever opened it closes it. */
export interface OpenTenant {
  readonly spec: TenantSpec
  readonly placement: Placement
  readonly engine: Engine
  readonly lagMs: number
  readonly footprintBytes: number
  /** Calls once when another owner has taken the history; at once when that happened already. */
  onFenced(listener: (seenEpoch: Epoch) => void): void
  /** Takes over what does not need the databases to be opened again; the epoch must be the same. */
  update(spec: TenantSpec, placement: Placement): Promise<void>
  /** Ships everything that was committed before the call, of every database. Throws what shipping throws. */
  flush(): Promise<void>
  /** Ships the tail, then closes every file. A tail that could not be shipped stays on disk, in a folder that is not clean. */
  close(): Promise<void>
}

export interface PoolOptions {
  readonly tenantsMax: number
  readonly idleMs: number
  /** Resident memory above which resting tenants are closed, bytes. */
  readonly memoryBytesMax: number
}

export interface PoolDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly keys: RouteHeaderKeys
  /**
   * Opens a tenant that is placed here under `epochMin` or later, or leaves nothing behind.
   * Throws WrongOwnerError, TenantInactiveError, or what the object store and the control plane threw.
   */
  readonly open: (id: TenantId, epochMin: Epoch) => Promise<OpenTenant>
  readonly onFenced: (tenant: OpenTenant, seenEpoch: Epoch) => void
  readonly memoryBytes: () => number
}

export interface PoolLease {
  readonly engine: Engine
  readonly remoteAddress: string
  readonly scheme: 'http' | 'https'
  release(): void
}

/** Loads that run at once; each is bound by the network and one core for decoding. */
const loadsMax = 16
/** Loads that wait for their turn; beyond them callers are told to come back. */
const loadsWaitingMax = 512
/** Requests that wait for one load. */
const waitersMax = 1_000
/** Between two looks at who rests, ms. Shorter only where tests ask for a shorter idle time. */
const sweepMsMax = 5_000
/** Tenants closed at once by a sweep or at the end: each ships a tail. */
const closesMax = 16
/** Share of the open tenants that memory pressure closes in one sweep. */
const pressureShare = 0.1
/** How long requests under way may go on once the pool closes, ms. */
const drainMs = 10_000
const drainPollMs = 10
const retryAfterSeconds = 1
/** Weight of the last sweep in the request rate. */
const rateWeight = 0.3
/** What a request counts besides what the engine counts for its tenant: reading it, answering it, ms. */
const requestMs = 0.15
/** Tenants that were released, remembered until the control plane has placed them elsewhere. */
const releasedMax = 100_000

interface Entry extends Candidate {
  readonly id: TenantId
  state: TenantState
  tenant: OpenTenant | null
  /** The load or the close under way. */
  pending: Promise<unknown> | null
  waiters: number
  requests: number
  streams: number
  served: number
  servedInAll: number
  /** What {@link TenantPool.busiest} has told of it. */
  toldMs: number
  lastUsedAtMs: number
  requestsPerSecond: number
  footprintBytes: number
}

export class TenantPool {
  readonly #options: PoolOptions
  readonly #deps: PoolDeps
  /** Every tenant that is loading, open or closing. */
  readonly #entries = new Map<TenantId, Entry>()
  readonly #released = new LruMap<TenantId, Epoch>(releasedMax)
  readonly #failures: OpeningFailures
  /** Tenants whose files somebody else works on; everybody waits for it. */
  readonly #holds = new Map<TenantId, { readonly over: Promise<void>; waiters: number }>()
  readonly #loads = new Lane(loadsMax)
  readonly #verifier: RouteHeaderVerifier
  #requests = 0
  #evictions = 0
  #cancelSweep: Cancel | null = null
  #sweptAtMs = 0
  #closed = false

  constructor(options: PoolOptions, deps: PoolDeps) {
    this.#options = options
    this.#deps = deps
    this.#failures = new OpeningFailures(deps.clock)
    this.#verifier = new RouteHeaderVerifier(deps.keys)
  }

  get tenantsOpen(): number {
    return this.#entries.size
  }

  /** Requests let in since the start. */
  get requests(): number {
    return this.#requests
  }

  /** Tenants closed to make room since the start. */
  get evictions(): number {
    return this.#evictions
  }

  get lagMsMax(): number {
    let max = 0
    for (const { tenant } of this.#entries.values()) if (tenant !== null) max = Math.max(max, tenant.lagMs)
    return max
  }

  /** Those that used most of the thread since the last call, with what each used since it was opened. */
  busiest(countMax: number): { readonly tenantId: TenantId; readonly usedMs: number }[] {
    const used: { readonly tenantId: TenantId; readonly usedMs: number; readonly sinceMs: number }[] = []
    for (const entry of this.#entries.values()) {
      if (entry.tenant === null) continue
      const usedMs = entry.tenant.engine.usage.usedMs + entry.servedInAll * requestMs
      const sinceMs = usedMs - entry.toldMs
      if (sinceMs > 0) used.push({ tenantId: entry.id, usedMs, sinceMs })
      entry.toldMs = usedMs
    }
    used.sort((a, b) => b.sinceMs - a.sinceMs)
    return used.slice(0, countMax).map(({ tenantId, usedMs }) => ({ tenantId, usedMs }))
  }

  /** The tenant a request names in its signed header, or the answer to a request that gets none. */
  acquire(request: Request): MaybePromise<PoolLease | Response> {
    const text = request.headers.get(routeHeaderName)
    if (text === null) return refusal(401, 'This address serves the gateways of the fleet only.')
    const verified = this.#verifier.verify(text, this.#deps.clock.now())
    if (!verified.ok) return refusal(403, headerProblem[verified.error])
    const header = verified.value
    const entry = this.#entries.get(header.tenantId)
    const isStream = request.headers.get('accept')?.includes('text/event-stream') ?? false
    if (entry !== undefined && takesRequests(entry.state) && !this.#holds.has(header.tenantId)) {
      const { epoch } = entry.tenant!.placement
      if (epoch === header.epoch && !this.#closed) return this.#lease(entry, header, isStream)
      if (epoch > header.epoch) return wrongOwner()
    }
    if (this.#closed) return refusal(503, 'The node is stopping.', retryAfterSeconds)
    return this.#acquireLater(header, isStream)
  }

  /** Runs `body` with an open tenant; for orders. Throws what opening throws. */
  async use<T>(id: TenantId, epochMin: Epoch, body: (tenant: OpenTenant) => MaybePromise<T>): Promise<T> {
    const entry = await this.#opened(id, epochMin)
    this.#begin(entry, false)
    try {
      return await body(entry.tenant!)
    } finally {
      this.#end(entry, false)
    }
  }

  /** The open tenant, if it is open. */
  peek(id: TenantId): OpenTenant | null {
    const entry = this.#entries.get(id)
    return entry !== undefined && takesRequests(entry.state) ? entry.tenant : null
  }

  /** Ships and closes a tenant held under `epoch` or an earlier one, and keeps it closed under those. */
  async release(id: TenantId, epoch: Epoch): Promise<void> {
    const before = this.#released.get(id)
    if (before === undefined || before < epoch) this.#released.set(id, epoch)
    for (let entry = this.#entries.get(id); entry !== undefined; entry = this.#entries.get(id)) {
      if (entry.pending !== null) {
        await entry.pending.catch(() => {}) // whoever started it reports it
        continue
      }
      if (entry.tenant!.placement.epoch > epoch) return
      await this.#close(entry, true)
    }
  }

  /** Takes back a release that did not get through to its end. */
  keep(id: TenantId, epoch: Epoch): void {
    if (this.#released.get(id) === epoch) this.#released.delete(id)
  }

  /** Ships and closes a tenant if it is open; the next request opens it anew. */
  async closeNow(id: TenantId): Promise<void> {
    const entry = this.#entries.get(id)
    if (entry !== undefined && entry.pending === null && entry.tenant !== null) await this.#close(entry, true)
  }

  /**
   * Runs `work` on the local files of a tenant while it is closed and cannot open.
   *
   * @returns null, without running it, when the tenant is loading, open or closing.
   */
  async whileClosed<T>(id: TenantId, work: () => Promise<T>): Promise<T | null> {
    if (this.#entries.has(id)) return null
    const entry = this.#blank(id)
    this.#entries.set(id, entry)
    const working = work().finally(() => {
      entry.pending = null
      this.#entries.delete(id)
    })
    entry.pending = working.catch(() => {}) // reported to our caller alone
    return working
  }

  /**
   * Ships and closes a tenant where it is open, runs `work` on its files, and lets requests, which wait meanwhile, open it
   * again. Requests under way get some seconds to end.
   *
   * @param waitMsMax cuts nobody off: when requests under way take longer than this, it throws OverloadedError instead.
   */
  async exclusively<T>(
    id: TenantId,
    work: () => Promise<T>,
    { waitMsMax = null }: { readonly waitMsMax?: number | null } = {},
  ): Promise<T> {
    for (let hold = this.#holds.get(id); hold !== undefined; hold = this.#holds.get(id)) await hold.over
    const over = Promise.withResolvers<void>()
    this.#holds.set(id, { over: over.promise, waiters: 0 })
    try {
      await this.#drain([id], waitMsMax ?? drainMs)
      if (waitMsMax !== null && this.#isServing(id)) throw new OverloadedError(`requests of tenant ${id} take long`)
      for (let entry = this.#entries.get(id); entry !== undefined; entry = this.#entries.get(id)) {
        if (entry.pending === null) await this.#close(entry, true)
        else await entry.pending.catch(() => {}) // whoever started it reports it
      }
      const done = await this.whileClosed(id, async () => ({ value: await work() }))
      assert(done !== null, 'nobody opens a tenant that is held')
      return done.value
    } finally {
      this.#holds.delete(id)
      over.resolve()
    }
  }

  /** The placement moved on to a later epoch here: earlier releases no longer bind. */
  isReleased(id: TenantId, epoch: Epoch): boolean {
    const released = this.#released.get(id)
    return released !== undefined && epoch <= released
  }

  /** Lets requests under way end, ships every tail and closes everything; a tail that cannot be shipped stays on disk. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancelSweep?.()
    this.#cancelSweep = null
    this.#loads.open()
    const { log } = this.#deps
    await this.#drain([...this.#entries.keys()])
    await inParallel(closesMax, [...this.#entries.values()], async (entry) => {
      await entry.pending?.catch(() => {}) // a load that fails leaves nothing to close
      if (entry.tenant === null || !this.#entries.has(entry.id)) return
      await this.#close(entry, true).catch((error) =>
        log.error('tenant could not be closed', { tenant: entry.id, error }),
      )
    })
  }

  /** Waits for requests under way, for a while; there must come no new ones. */
  async #drain(ids: readonly TenantId[], waitMs = drainMs): Promise<void> {
    const { clock } = this.#deps
    const endsAtMs = clock.monotonic() + waitMs
    while (clock.monotonic() < endsAtMs && ids.some((id) => this.#isServing(id))) await sleep(clock, drainPollMs)
  }

  #isServing(id: TenantId): boolean {
    return (this.#entries.get(id)?.requests ?? 0) > 0
  }

  #lease(entry: Entry, header: RouteHeader, isStream: boolean): PoolLease {
    this.#begin(entry, isStream)
    this.#requests++
    let held = true
    return {
      engine: entry.tenant!.engine,
      remoteAddress: header.clientAddress,
      scheme: header.scheme,
      release: () => {
        if (!held) return
        held = false
        this.#end(entry, isStream)
      },
    }
  }

  async #acquireLater(header: RouteHeader, isStream: boolean): Promise<PoolLease | Response> {
    try {
      const entry = await this.#opened(header.tenantId, header.epoch)
      return entry.tenant!.placement.epoch === header.epoch ? this.#lease(entry, header, isStream) : wrongOwner()
    } catch (error) {
      if (error instanceof WrongOwnerError) return wrongOwner()
      if (error instanceof TenantInactiveError) return refusal(403, 'The tenant is not active.')
      if (!(error instanceof OverloadedError))
        this.#deps.log.warn('tenant could not be opened', { tenant: header.tenantId, error })
      return refusal(503, 'The tenant cannot be opened now. Try again later.', retryAfterSeconds)
    }
  }

  /** An entry that takes requests under `epochMin` or later; loads it where needed, once for all who ask. */
  async #opened(id: TenantId, epochMin: Epoch): Promise<Entry> {
    for (;;) {
      if (this.#closed) throw new OverloadedError('the node is stopping')
      const hold = this.#holds.get(id)
      if (hold !== undefined) {
        if (hold.waiters >= waitersMax) throw new OverloadedError(`${waitersMax} requests wait for one tenant`)
        hold.waiters++
        await hold.over
        continue
      }
      const entry = this.#entries.get(id)
      if (entry === undefined) {
        this.#failures.throwIfResting(id)
        await this.#load(id, epochMin)
        continue
      }
      if (entry.pending !== null) {
        if (entry.waiters >= waitersMax) throw new OverloadedError(`${waitersMax} requests wait for one tenant`)
        entry.waiters++
        const isLoad = entry.state === 'deploying'
        try {
          await (isLoad ? entry.pending : entry.pending.catch(() => {})) // a failed close is reported where it began
        } finally {
          entry.waiters--
        }
        continue
      }
      assert(takesRequests(entry.state), `a tenant that is ${entry.state} has work under way`)
      if (entry.tenant!.placement.epoch >= epochMin) return entry
      await this.#close(entry, false) // placed here anew under a later epoch: open it under that
    }
  }

  #load(id: TenantId, epochMin: Epoch): Promise<void> {
    const entry = this.#blank(id)
    step(entry, 'open')
    this.#entries.set(id, entry)
    const load = this.#loadInTurn(entry, epochMin)
      .then(
        () => this.#failures.forget(id),
        (error: unknown) => {
          this.#failures.note(id, error)
          throw error
        },
      )
      .finally(() => {
        entry.pending = null
      })
    entry.pending = load
    return load
  }

  #blank(id: TenantId): Entry {
    return {
      id,
      state: 'closed',
      tenant: null,
      pending: null,
      waiters: 0,
      requests: 0,
      streams: 0,
      served: 0,
      servedInAll: 0,
      toldMs: 0,
      lastUsedAtMs: this.#deps.clock.monotonic(),
      requestsPerSecond: 0,
      footprintBytes: 0,
    }
  }

  async #loadInTurn(entry: Entry, epochMin: Epoch): Promise<void> {
    const { clock, log, open, onFenced } = this.#deps
    try {
      await this.#takeTurn()
      try {
        await this.#makeRoom()
        const startedAtMs = clock.monotonic()
        const tenant = await open(entry.id, epochMin)
        entry.tenant = tenant
        entry.footprintBytes = tenant.footprintBytes
        entry.lastUsedAtMs = clock.monotonic()
        step(entry, 'opened')
        this.#sweepLater()
        log.info('tenant opened', {
          tenant: entry.id,
          epoch: tenant.placement.epoch,
          loadMs: Math.round(clock.monotonic() - startedAtMs),
        })
        tenant.onFenced((seenEpoch) => {
          if (entry.tenant !== tenant) return
          onFenced(tenant, seenEpoch)
          void this.#closeFenced(entry)
        })
      } finally {
        this.#loads.leave()
      }
    } catch (error) {
      if (entry.tenant === null) this.#entries.delete(entry.id)
      throw error
    }
  }

  async #takeTurn(): Promise<void> {
    if (this.#loads.waiting >= loadsWaitingMax) throw new OverloadedError(`${loadsWaitingMax} loads wait already`)
    await this.#loads.enter()
    if (!this.#closed) return
    this.#loads.leave()
    throw new OverloadedError('the node is stopping')
  }

  /** Closes as many resting tenants as the limit needs; throws OverloadedError when all are in use. */
  async #makeRoom(): Promise<void> {
    while (this.#entries.size > this.#options.tenantsMax) {
      const [victim] = this.#chooseToClose(1)
      if (victim === undefined) throw new OverloadedError(`${this.#options.tenantsMax} tenants are open and in use`)
      this.#evictions++
      await this.#close(victim, false)
    }
  }

  #chooseToClose(count: number): Entry[] {
    const resting = [...this.#entries.values()].filter(({ state, pending }) => takesRequests(state) && pending === null)
    return chooseToClose(resting, count, this.#deps.clock.monotonic())
  }

  #begin(entry: Entry, isStream: boolean): void {
    if (isStream) entry.streams++
    else entry.requests++
    entry.served++
    entry.servedInAll++
    if (entry.state === 'idle') step(entry, 'use')
  }

  #end(entry: Entry, isStream: boolean): void {
    if (isStream) entry.streams--
    else entry.requests--
    entry.lastUsedAtMs = this.#deps.clock.monotonic()
    if (entry.requests + entry.streams === 0 && entry.state === 'active') step(entry, 'rest')
  }

  /** @param mustFree the entry goes even when its tail could not be shipped: the files stay, the next open ships it. */
  #close(entry: Entry, mustFree: boolean): Promise<void> {
    assert(entry.pending === null, 'a tenant is closed once')
    const tenant = entry.tenant!
    step(entry, 'close')
    const closing = tenant.close().finally(() => {
      entry.pending = null
      entry.tenant = null
      // Also when the tail could not be shipped: no file is open any more, and the next open ships it first.
      if (entry.state === 'closing' || entry.state === 'fenced') step(entry, 'closed')
      this.#entries.delete(entry.id)
    })
    const reported = closing.catch((error) => {
      this.#deps.log.warn('tail of a tenant was not shipped at close', { tenant: entry.id, error })
      if (mustFree) throw error
    })
    entry.pending = reported
    return reported
  }

  async #closeFenced(entry: Entry): Promise<void> {
    step(entry, 'fence')
    if (entry.pending !== null || entry.tenant === null) return // the close under way ends it
    const { log } = this.#deps
    const closing = entry.tenant
      .close()
      .catch((error) => log.warn('fenced tenant was closed with a tail of its own', { tenant: entry.id, error }))
      .finally(() => {
        entry.pending = null
        entry.tenant = null
        step(entry, 'closed')
        this.#entries.delete(entry.id)
      })
    entry.pending = closing
    await closing
  }

  /** One timer for all tenants, and none when none is open. */
  #sweepLater(): void {
    if (this.#cancelSweep !== null || this.#closed || this.#entries.size === 0) return
    const delayMs = Math.min(sweepMsMax, Math.max(50, this.#options.idleMs / 4))
    this.#sweptAtMs = this.#deps.clock.monotonic()
    this.#cancelSweep = this.#deps.clock.setTimer(delayMs, () => void this.#sweep())
  }

  async #sweep(): Promise<void> {
    const { clock, log, memoryBytes } = this.#deps
    const nowMs = clock.monotonic()
    const passedSeconds = Math.max(0.001, (nowMs - this.#sweptAtMs) / 1_000)
    const resting: Entry[] = []
    for (const entry of this.#entries.values()) {
      entry.requestsPerSecond = (1 - rateWeight) * entry.requestsPerSecond + (rateWeight * entry.served) / passedSeconds
      entry.served = 0
      if (entry.tenant !== null) entry.footprintBytes = entry.tenant.footprintBytes
      if (entry.state === 'idle' && entry.pending === null && nowMs - entry.lastUsedAtMs >= this.#options.idleMs)
        resting.push(entry)
    }
    if (memoryBytes() > this.#options.memoryBytesMax) {
      const pressed = this.#chooseToClose(Math.ceil(this.#entries.size * pressureShare))
      for (const entry of pressed) if (!resting.includes(entry)) resting.push(entry)
      this.#evictions += pressed.length
      log.warn('memory is short, closing tenants', { count: pressed.length, memoryBytes: memoryBytes() })
    }
    await inParallel(closesMax, resting, async (entry) => {
      // While others were closed, this one may have been used or closed.
      if (this.#entries.get(entry.id) !== entry || entry.pending !== null || entry.requests > 0) return
      if (takesRequests(entry.state)) await this.#close(entry, false)
    })
    this.#cancelSweep = null
    this.#sweepLater()
  }
}

const headerProblem: Readonly<Record<RouteHeaderFailure, string>> = {
  malformed: 'The route header is not valid.',
  forged: 'The route header is not signed by this fleet.',
  expired: 'The route header has expired.',
}

/** The one answer that makes a gateway ask for the route again. */
const wrongOwner = () => refusal(421, 'wrong owner')

function refusal(status: 401 | 403 | 421 | 503, message: string, retryAfter?: number): Response {
  const headers: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }
  return Response.json({ status, message, data: {} }, { status, headers })
}

function step(entry: Entry, input: TenantInput): void {
  const result = nextState(entry.state, input)
  assert(result.ok, `${input} makes no sense for a tenant that is ${entry.state}`)
  entry.state = result.value
}
