// Operations that a person started and may watch. Those that change a tenant are in the log before they begin
// (`state/operations.ts`) and are gone on with after any crash; how far they are is in this process's memory only.

import type { JobProgress, JobReports } from '../../ipc/messages/jobs.ts'
import { unreachable } from '../../lib/assert.ts'
import type { TenantId } from '../../lib/brand.ts'
import { type Clock, sleep } from '../../lib/clock.ts'
import { errorCode, errorMessage, OverloadedError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { TenantOperation } from '../state/operations.ts'
import type { StateReader } from '../state/state.ts'
import type { Actor, AuditLog } from './audit.ts'
import { runTenantJob, TenantJobError } from './jobs.ts'
import type { NodeService } from './nodes.ts'
import type { Orders } from './orders.ts'
import type { StandbyKeeper } from './placement/standby-keeper.ts'
import { placementOf } from './placement/standbys.ts'
import type { Propose } from './proposer.ts'
import { toldTenant } from './told-tenant.ts'

export type OperationKind = 'preview' | 'eject' | 'drill' | 'archive' | TenantOperation['type']

export interface OperationView {
  readonly id: string
  readonly tenantId: TenantId
  readonly kind: OperationKind
  readonly state: 'running' | 'done' | 'failed'
  readonly progress: JobProgress
  readonly startedAtMs: number
  readonly endedAtMs: number | null
  /** What was found or done. */
  readonly report: JobReports['preview' | 'restore' | 'fork' | 'eject' | 'drill' | 'archive'] | null
  readonly error: { readonly code: string; readonly message: string } | null
}

/** Operations that are remembered; those that run are never forgotten. */
const viewsMax = 1_000
/** Operations under way. */
const runningMax = 200
/** How long a cancelled job's node may take to hear of it, ms. */
const stopMs = 2_000
/** Between two attempts of an operation that has to be done, ms; a restore closes its tenant for each of them. */
const retryMsMin = 1_000
const retryMsMax = 60_000

/** Failures that another attempt cannot mend, before anything was changed. */
const lastingFailures: ReadonlySet<string> = new Set([
  'no_such_point',
  'ltx_gap',
  'never_shipped',
  'ltx_format',
  'corrupt_database',
  'source_file_gone',
  'ENOSPC',
  'SQLITE_FULL',
  'EDQUOT',
])

export interface OperationDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf'>
  /** Restores: what only standbys hold belongs into the history that the restore is written behind. */
  readonly standbys: Pick<StandbyKeeper, 'ask'>
  readonly audit: AuditLog
  readonly clock: Clock
  readonly log: Logger
}

export class OperationService {
  readonly #deps: OperationDeps
  readonly #views = new Map<string, OperationView>()
  readonly #running = new Map<string, Promise<void>>()
  readonly #closing = new AbortController()

  constructor(deps: OperationDeps) {
    this.#deps = deps
  }

  get(tenantId: TenantId, id: string): OperationView | null {
    const view = this.#views.get(id)
    if (view?.tenantId === tenantId) return view
    const decided = this.#deps.state.operations.get(tenantId)
    return decided?.id === id ? this.#viewOf(decided.id, tenantId, decided.type) : null
  }

  /** Watches `work` as an operation; what it throws becomes its error. Throws OverloadedError when too many run. */
  start(
    facts: { readonly id: string; readonly tenantId: TenantId; readonly kind: OperationKind },
    work: (onProgress: (progress: JobProgress) => void, signal: AbortSignal) => Promise<OperationView['report']>,
  ): OperationView {
    const { clock, log } = this.#deps
    const { id, tenantId, kind } = facts
    if (this.#running.size >= runningMax) throw new OverloadedError(`${runningMax} operations are under way`)
    const view = this.#viewOf(id, tenantId, kind)
    this.#put(view)
    const update = (change: Partial<OperationView>) => this.#put({ ...this.#views.get(id)!, ...change })
    const end = (change: Partial<OperationView>) => update({ ...change, endedAtMs: clock.now() })
    const running = work((progress) => update({ progress }), this.#closing.signal)
      .then(
        (report) => end({ state: 'done', report }),
        (error: unknown) => {
          end({ state: 'failed', error: { code: errorCode(error) ?? 'internal', message: errorMessage(error) } })
          if (!this.#closing.signal.aborted) log.warn('operation failed', { tenant: tenantId, kind, error })
        },
      )
      .finally(() => this.#running.delete(id))
    this.#running.set(id, running)
    return view
  }

  /** Begins or goes on with what was decided. */
  carryOut(operation: TenantOperation): OperationView {
    const { id, tenantId, type } = operation
    if (this.#running.has(id)) return this.#views.get(id)!
    return this.start({ id, tenantId, kind: type }, (onProgress, signal) => this.#finish(operation, onProgress, signal))
  }

  /**
   * Gives up what was decided about a tenant and is not done, and ends it at its node. A restore that had begun to write may leave
   * hooks of then beside records of now, or be done: restore again. A fork leaves no tenant behind, but what it had copied.
   *
   * @returns false when there was nothing to give up.
   */
  async cancel(tenantId: TenantId, by: Actor): Promise<boolean> {
    const { state, nodes, orders, audit, log } = this.#deps
    const operation = state.operations.get(tenantId)
    if (operation === undefined) return false
    const nodeId = state.placements.get(tenantId)?.nodeId
    await audit.note(by, { action: 'tenant.cancel', target: tenantId, details: { kind: operation.type } })
    await this.#end(operation, false)
    if (nodeId === undefined || nodes.stateOf(nodeId) === 'down') return true
    const order = { type: 'job.stop', jobId: operation.id, tenantId } as const
    await orders
      .give<'job.stop'>(nodeId, order, stopMs)
      .catch((error) => log.warn('cancelled job may go on', { node: nodeId, tenant: tenantId, error }))
    return true
  }

  /** Goes on with everything that was decided and that nobody works on here. */
  resumeAll(): void {
    for (const operation of this.#deps.state.operations.all()) {
      if (this.#running.size >= runningMax) return
      if (!this.#running.has(operation.id)) this.carryOut(operation)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new OverloadedError('the control plane is stopping'))
    await Promise.all(this.#running.values())
  }

  /** Until it is done or impossible: the log says that it has to be. */
  async #finish(
    operation: TenantOperation,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ): Promise<OperationView['report']> {
    const { state, clock, log } = this.#deps
    const { id, tenantId } = operation
    for (let pauseMs = retryMsMin; ; pauseMs = Math.min(retryMsMax, pauseMs * 2)) {
      if (state.operations.get(tenantId)?.id !== id) throw new TenantJobError('withdrawn', 'it was cancelled')
      try {
        const report = await this.#run(operation, onProgress, signal)
        await this.#end(operation, true)
        return report
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof TenantJobError && lastingFailures.has(error.code)) {
          await this.#end(operation, false)
          throw error
        }
        log.warn('operation will be tried again', {
          tenant: tenantId,
          kind: operation.type,
          error: errorMessage(error),
        })
      }
      onProgress({ step: 'waiting for the next attempt', done: 0, total: null })
      await sleep(clock, pauseMs, signal)
    }
  }

  async #run(
    operation: TenantOperation,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ): Promise<JobReports['restore' | 'fork']> {
    const { state, nodes, standbys } = this.#deps
    const { id, tenantId, cut } = operation
    const epoch = state.placements.get(tenantId)?.epoch
    if (operation.type === 'restore') await standbys.ask(tenantId)
    const withdrawn = new AbortController() // the tenant was deleted, or another member ended it
    const options = { signal: AbortSignal.any([signal, withdrawn.signal]), onProgress }
    const placed = () => {
      if (state.operations.get(tenantId)?.id !== id) {
        withdrawn.abort(new TenantJobError('withdrawn', 'it was cancelled'))
        return null
      }
      const placement = state.placements.get(tenantId)
      // Standbys of another owner have not been asked: from the beginning.
      if (operation.type === 'restore' && placement?.epoch !== epoch) {
        withdrawn.abort(new OverloadedError(`tenant ${tenantId} has another owner by now`))
        return null
      }
      // While its node is down the tenant is about to move.
      return placement === undefined || nodes.stateOf(placement.nodeId) === 'down'
        ? null
        : placementOf(state, placement)
    }
    switch (operation.type) {
      case 'restore': {
        const where = () => {
          const placement = placed()
          return placement && { nodeId: placement.nodeId, job: { type: 'restore', placement, cut } as const }
        }
        return runTenantJob<'restore'>(this.#deps, { jobId: id, tenantId, where }, options)
      }
      case 'fork': {
        const where = () => {
          const placement = placed()
          const tenant = state.tenants.get(tenantId)
          if (placement === null || tenant === undefined) return null
          const job = {
            type: 'fork',
            tenant: toldTenant(state, tenant),
            placement,
            source: operation.source,
            cut,
          } as const
          return { nodeId: placement.nodeId, job }
        }
        return runTenantJob<'fork'>(this.#deps, { jobId: id, tenantId, where }, options)
      }
      default:
        return unreachable(operation)
    }
  }

  async #end({ id, tenantId, type }: TenantOperation, isDone: boolean): Promise<void> {
    const { propose, clock } = this.#deps
    const atMs = clock.now()
    if (type === 'restore') await propose({ type: 'operation.end', tenantId, id })
    // A fork that cannot be made leaves no tenant behind; its name is free again.
    else if (isDone) await propose({ type: 'tenant.activate', id: tenantId, atMs })
    else await propose({ type: 'tenant.delete', id: tenantId, atMs })
  }

  #viewOf(id: string, tenantId: TenantId, kind: OperationKind): OperationView {
    const progress = { step: 'waiting', done: 0, total: null }
    const startedAtMs = this.#deps.clock.now()
    return { id, tenantId, kind, state: 'running', progress, startedAtMs, endedAtMs: null, report: null, error: null }
  }

  #put(view: OperationView): void {
    this.#views.delete(view.id)
    this.#views.set(view.id, view)
    if (this.#views.size <= viewsMax) return
    for (const [id, each] of this.#views) {
      if (each.state === 'running') continue
      this.#views.delete(id)
      return
    }
  }
}
