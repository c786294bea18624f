// Moves tenants that are busy for long to a worker for busy ones, and back when they are calm. The epoch stays: the tenant
// is closed by one worker and opened by another one of this process, as after a rest.
//
//   supervisor            old worker                    control plane, gateways          new worker
//     │ tenant.yield ───────►│ holds requests, ships, closes
//     │◄──── tenant.yielded? │
//     │ the tenant is the new worker's from here on
//     │ heartbeat ──────────────────────────────────────────►│ the route changes
//     │ yes ────────────────►│ those who waited: 421 ───────►│ ask for the route ─────────────►│ opens it
//
// Who dies on the way changes nothing: a worker that ends has closed its files, and what it had not shipped is shipped by
// whoever opens the tenant next, by the same rule as after any crash.

import type { Placement } from '../ipc/messages/tenant.ts'
import { assert } from '../lib/assert.ts'
import type { TenantId } from '../lib/brand.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { OverloadedError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { type BusyLimits, BusyTenants, type Shift, type WorkerReading } from './busy-tenants.ts'
import type { ControlLink } from './control-link.ts'
import type { NodeWorkers } from './node-workers.ts'
import type { PlacementCache } from './placement-cache.ts'
import type { WorkerProcess } from './worker-process.ts'

/** Between two looks at who is busy, ms. */
const lookMs = 1_000
/** How long a worker may take to close a tenant, ms: the tail is shipped. Behind this the shift is given up. */
const yieldMsMax = 20_000
/** How long gateways may take to learn of it, ms; less than a worker waits for an answer. */
const heardMsMax = 4_000
/** A tenant for which a job ran so lately stays, ms: jobs are asked for until they are done, and go on where they began. */
const jobRestMs = 60_000
/** Orders that may wait for the shift of one tenant. */
const waitingMax = 100

export interface ShiftsDeps {
  readonly workers: NodeWorkers
  readonly placements: PlacementCache
  readonly link: Pick<ControlLink, 'heard' | 'leaseMsLeft' | 'isDraining' | 'hurry'>
  readonly clock: Clock
  readonly log: Logger
}

interface Running {
  readonly tenantId: TenantId
  /** null: the worker of its placement. */
  readonly to: WorkerProcess | null
  readonly over: Promise<void>
  /** Whether the old worker may still ask: a shift that was given up must not take place behind our back. */
  isWanted: boolean
}

export class TenantShifts {
  readonly #deps: ShiftsDeps
  readonly #busy: BusyTenants
  /** Orders under way, by tenant; none of these moves. */
  readonly #orders = new Map<TenantId, number>()
  readonly #jobsAtMs = new Map<TenantId, number>()
  #running: Running | null = null
  #waiting = 0
  #cancel: Cancel | null = null
  #working: Promise<void> = Promise.resolve()
  #isClosed = false
  readonly #counts = { busy: 0, ordinary: 0, failed: 0 }

  constructor(limits: BusyLimits, deps: ShiftsDeps) {
    this.#deps = deps
    this.#busy = new BusyTenants(limits)
    if (deps.workers.mayHaveBusy) this.#lookLater()
  }

  /** Shifts since the start, by where they led. */
  get counts(): Readonly<Record<Shift['to'] | 'failed', number>> {
    return this.#counts
  }

  /** Resolves once no shift is under way; none begins afterwards. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel?.()
    await this.#working
  }

  /** Carries out an order about a tenant, which stays where it is meanwhile. Rejects with what `work` throws, or OverloadedError. */
  async during<T>(tenantId: TenantId, isJob: boolean, work: () => Promise<T>): Promise<T> {
    while (this.#running?.tenantId === tenantId) {
      if (this.#waiting >= waitingMax) throw new OverloadedError(`${waitingMax} orders wait for a tenant that moves`)
      this.#waiting++
      try {
        await this.#running.over
      } finally {
        this.#waiting--
      }
    }
    this.#orders.set(tenantId, (this.#orders.get(tenantId) ?? 0) + 1)
    if (isJob) this.#jobsAtMs.set(tenantId, this.#deps.clock.monotonic())
    try {
      return await work()
    } finally {
      const left = this.#orders.get(tenantId)! - 1
      if (left === 0) this.#orders.delete(tenantId)
      else this.#orders.set(tenantId, left)
    }
  }

  /** The old worker has closed the tenant and holds its requests. */
  async yielded(tenantId: TenantId): Promise<{ readonly yielded: boolean }> {
    const { workers, link, log } = this.#deps
    const running = this.#running
    if (running?.tenantId !== tenantId || !running.isWanted) return { yielded: false }
    running.isWanted = false
    workers.assign(tenantId, running.to)
    // Unheard of, it stays where it is now: the new worker may have opened it already. Gateways hear of it later.
    if (!(await link.heard(heardMsMax))) log.warn('control plane has not heard where a tenant is', { tenant: tenantId })
    return { yielded: true }
  }

  #lookLater(): void {
    this.#cancel = this.#deps.clock.setTimer(lookMs, () => {
      this.#working = this.#look()
        .catch((error) => this.#deps.log.error('busy tenants could not be looked at', { error }))
        .finally(() => {
          if (!this.#isClosed) this.#lookLater()
        })
    })
  }

  async #look(): Promise<void> {
    const { workers, clock, link } = this.#deps
    const nowMs = clock.monotonic()
    for (const [id, atMs] of this.#jobsAtMs) if (nowMs - atMs >= jobRestMs) this.#jobsAtMs.delete(id)
    const shifts = this.#busy.look(nowMs, this.#readings(), new Set(workers.away.keys()))
    // Without the control plane no gateway would learn of it; from a node that empties everybody moves anyway.
    if (link.leaseMsLeft === 0 || link.isDraining) return
    const [shift] = shifts.filter(({ tenantId }) => !this.#orders.has(tenantId) && !this.#jobsAtMs.has(tenantId))
    if (shift !== undefined && !this.#isClosed) await this.#shift(shift)
  }

  #readings(): WorkerReading[] {
    return this.#deps.workers.all.flatMap(({ index, load, isForBusy }) =>
      load === null ? [] : [{ worker: index, isForBusy, ...load }],
    )
  }

  async #shift({ tenantId, to }: Shift): Promise<void> {
    const { workers, placements, clock, log } = this.#deps
    const placement = placements.get(tenantId)?.placement
    // Where nothing is known any more, it has left the node: whatever is still open on the worker of busy ones is closed.
    const from = placement === undefined ? workers.away.get(tenantId) : workers.ownerOf(placement)
    const target = to === 'busy' ? workers.busyWorker() : null
    if (from === undefined || target?.url === null) return // gone; or the worker starts: the next look finds it
    const startedMs = clock.monotonic()
    const over = Promise.withResolvers<void>()
    this.#running = { tenantId, to: target, over: over.promise, isWanted: true }
    try {
      const { yielded } = await from.order({ type: 'tenant.yield', tenantId }, AbortSignal.timeout(yieldMsMax))
      assert(yielded, 'a worker yields what it was asked for')
      this.#counts[to]++
      const ms = Math.round(clock.monotonic() - startedMs)
      log.info('tenant changed its worker', { tenant: tenantId, isBusy: to === 'busy', from: from.index, ms })
      if (placement !== undefined && to === 'ordinary') await this.#open(placement)
    } catch (error) {
      this.#counts.failed++
      log.warn('tenant could not change its worker', { tenant: tenantId, isBusy: to === 'busy', error })
    } finally {
      this.#running = null
      over.resolve()
      this.#busy.shifted(tenantId, clock.monotonic())
    }
  }

  /** So that its upkeep and its cron jobs are on the list of the worker that it came back to once it closes. */
  async #open({ tenantId, worker, epoch }: Placement): Promise<void> {
    const order = { type: 'tenant.open', tenantId, epoch } as const
    await this.#deps.workers.homeOf(worker).order(order, AbortSignal.timeout(yieldMsMax))
  }
}
