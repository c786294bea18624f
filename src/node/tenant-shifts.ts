// Moves tenants that are busy for long to a worker for busy ones, and back when they are calm. The epoch stays: the tenant
// is closed by one worker and opened by another one of this process, as after a rest.
//
//   supervisor            old worker                    control plane, gateways          new worker
//     │ tenant.yield ───────►│ holds requests, ships, closes
//     │◄──── tenant.yielded? │
//     │ heartbeat ──────────────────────────────────────────►│ the route changes
//     │◄── heard ────────────────────────────────────────────│
//     │ the tenant is the new worker's from here on
//     │ yes ────────────────►│ those who waited: 421 ───────►│ ask for the route ─────────────►│
//     │ tenant.open ───────────────────────────────────────────────────────────────────────────►│ opens it
//
// Where the control plane does not hear of it, or either worker ends before that, the tenant stays where it was: gateways
// could not find it elsewhere. A worker that ends has closed its files, and what it had not shipped is shipped by whoever
// opens the tenant next, by the same rule as after any crash.

import type { Epoch, TenantId } from '../lib/brand.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { OverloadedError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { BusyTenants, Shift, WorkerReading } from './busy-tenants.ts'
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
  readonly busy: Pick<BusyTenants, 'look' | 'shifted'>
  readonly workers: NodeWorkers
  readonly placements: Pick<PlacementCache, 'get'>
  readonly link: Pick<ControlLink, 'heard' | 'leaseMsLeft' | 'isDraining' | 'hurry'>
  readonly clock: Clock
  readonly log: Logger
}

interface Running {
  readonly tenantId: TenantId
  readonly from: WorkerProcess
  /** null: the worker of its placement. */
  readonly to: WorkerProcess | null
  /** Who will serve it; undefined: it has left the node. */
  readonly target: WorkerProcess | undefined
  readonly over: Promise<void>
  /** Whether the old worker may still ask: it does so once. */
  isWanted: boolean
  hasMoved: boolean
}

export class TenantShifts {
  readonly #deps: ShiftsDeps
  /** Orders under way, by tenant; none of these moves. */
  readonly #orders = new Map<TenantId, number>()
  readonly #jobsAtMs = new Map<TenantId, number>()
  #running: Running | null = null
  #waiting = 0
  readonly #closing = new AbortController()
  #cancel: Cancel | null = null
  #working: Promise<void> = Promise.resolve()
  readonly #counts = { busy: 0, ordinary: 0, failed: 0 }

  constructor(deps: ShiftsDeps) {
    this.#deps = deps
    if (deps.workers.mayHaveBusy) this.#lookLater()
  }

  /** Shifts since the start, by where they led. */
  get counts(): Readonly<Record<Shift['to'] | 'failed', number>> {
    return this.#counts
  }

  /** Gives up the shift under way, which leaves its tenant where it is; none begins afterwards. */
  async close(): Promise<void> {
    this.#closing.abort(new OverloadedError('the node is stopping'))
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
    // Where none can move nobody looks, and nobody would forget it.
    if (isJob && this.#deps.workers.mayHaveBusy) this.#jobsAtMs.set(tenantId, this.#deps.clock.monotonic())
    try {
      return await work()
    } finally {
      const left = this.#orders.get(tenantId)! - 1
      if (left === 0) this.#orders.delete(tenantId)
      else this.#orders.set(tenantId, left)
    }
  }

  /**
   * The old worker has closed the tenant and holds its requests.
   *
   * @param worker the index of the worker that says so.
   */
  async yielded(tenantId: TenantId, worker: number): Promise<{ readonly yielded: boolean }> {
    const { workers, link, log } = this.#deps
    const running = this.#running
    if (running?.tenantId !== tenantId || running.from.index !== worker || !running.isWanted) return { yielded: false }
    running.isWanted = false
    const takeBack = workers.announce(tenantId, running.to)
    const isHeard = await link.heard(heardMsMax)
    takeBack()
    if (isHeard && this.#running === running && running.target?.url !== null) {
      workers.assign(tenantId, running.to)
      running.hasMoved = true
      return { yielded: true }
    }
    log.warn('tenant stays with its worker', { tenant: tenantId, worker, isHeard })
    link.hurry() // what was announced may have been heard
    return { yielded: false }
  }

  #lookLater(): void {
    this.#cancel = this.#deps.clock.setTimer(lookMs, () => {
      this.#working = this.#look()
        .catch((error) => this.#deps.log.error('busy tenants could not be looked at', { error }))
        .finally(() => {
          if (!this.#closing.signal.aborted) this.#lookLater()
        })
    })
  }

  async #look(): Promise<void> {
    const { busy, workers, clock, link } = this.#deps
    const nowMs = clock.monotonic()
    for (const [id, atMs] of this.#jobsAtMs) if (nowMs - atMs >= jobRestMs) this.#jobsAtMs.delete(id)
    const shifts = busy.look(nowMs, this.#readings(), new Set(workers.away.keys()))
    // Without the control plane no gateway would learn of it; from a node that empties everybody moves anyway.
    if (link.leaseMsLeft === 0 || link.isDraining) return
    const [shift] = shifts.filter(({ tenantId }) => !this.#orders.has(tenantId) && !this.#jobsAtMs.has(tenantId))
    if (shift !== undefined && !this.#closing.signal.aborted) await this.#shift(shift)
  }

  #readings(): WorkerReading[] {
    return this.#deps.workers.all.flatMap(({ index, load, isForBusy }) =>
      load === null ? [] : [{ worker: index, isForBusy, ...load }],
    )
  }

  async #shift({ tenantId, to }: Shift): Promise<void> {
    const { busy, workers, placements, clock, log } = this.#deps
    const placement = placements.get(tenantId)?.placement
    // Where nothing is known any more, it has left the node: whatever is still open on the worker of busy ones is closed.
    const from = placement === undefined ? workers.away.get(tenantId) : workers.ownerOf(placement)
    const busyWorker = to === 'busy' ? workers.busyWorker() : null
    const target = busyWorker ?? (placement && workers.homeOf(placement.worker))
    if (from === undefined || target?.url === null) return // gone; or the worker starts: a later look finds it
    const startedMs = clock.monotonic()
    const over = Promise.withResolvers<void>()
    const running: Running = {
      ...{ tenantId, from, to: busyWorker, target, over: over.promise },
      ...{ isWanted: true, hasMoved: false },
    }
    this.#running = running
    try {
      await this.#yield(running).catch((error) =>
        log.warn('tenant was not yielded', { tenant: tenantId, hasMoved: running.hasMoved, error }),
      )
      if (running.hasMoved && placement !== undefined) await this.#open(tenantId, placement.epoch, target!)
    } catch (error) {
      log.warn('tenant could not be opened by its new worker yet', { tenant: tenantId, error })
    } finally {
      this.#running = null
      over.resolve()
      busy.shifted(tenantId, clock.monotonic())
    }
    this.#counts[running.hasMoved ? to : 'failed']++
    if (!running.hasMoved) return
    const ms = Math.round(clock.monotonic() - startedMs)
    log.info('tenant changed its worker', { tenant: tenantId, isBusy: to === 'busy', from: from.index, ms })
  }

  async #yield(running: Running): Promise<void> {
    const { tenantId, from } = running
    // Its process has ended and the next one has not begun: nothing is open there, and there is nobody to ask.
    if (running.to === null && from.pid === null) {
      this.#deps.workers.assign(tenantId, running.to)
      running.hasMoved = true
      this.#deps.link.hurry()
    } else await from.order({ type: 'tenant.yield', tenantId }, this.#within(yieldMsMax))
  }

  /** So that its cron jobs go on there, and its upkeep is on the list of that worker once it closes. */
  async #open(tenantId: TenantId, epoch: Epoch, worker: WorkerProcess): Promise<void> {
    await worker.order({ type: 'tenant.open', tenantId, epoch }, this.#within(yieldMsMax))
  }

  #within(timeoutMs: number): AbortSignal {
    return AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal])
  }
}
