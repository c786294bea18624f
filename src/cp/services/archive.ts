// Tenants that nobody uses become cheap, in two steps, and come back with their first request. A request is what gateways ask
// a route for; who is used is remembered in memory and noted in the log once a day. The work is done by nodes, few pieces at a
// time; a step that was interrupted is found again by the next sweep.

import type { ArchiveReport, ArchiveStage } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorCode, errorMessage, OverloadedError } from '../../lib/errors.ts'
import { recordId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { CounterMetric, HistogramMetric } from '../../lib/obs/metrics.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import type { ArchivePolicy } from '../config.ts'
import type { TenantActivity } from '../state/activities.ts'
import type { StateReader } from '../state/state.ts'
import type { Tenant } from '../state/tenants.ts'
import type { Actor, AuditLog } from './audit.ts'
import { runTenantJob } from './jobs.ts'
import type { NodeService } from './nodes.ts'
import type { OperationService, OperationView } from './operations.ts'
import type { Orders } from './orders.ts'
import { placementOf } from './placement/standbys.ts'
import type { Propose } from './proposer.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant } from './routing/table.ts'
import { toldTenant } from './told-tenant.ts'

export interface ArchiveDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf' | 'candidates'>
  readonly operations: Pick<OperationService, 'start'>
  readonly audit: AuditLog
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly policy: ArchivePolicy
  readonly transitions: CounterMetric
  readonly reopenSeconds: HistogramMetric
}

const dayMs = 86_400_000
/** Between two sweeps over all tenants, ms. */
const sweepEveryMs = 3_600_000
/** Steps of one sweep; the rest waits for the next: nothing is urgent, and nodes have better things to do. */
const stepsPerSweepMax = 500
const stepsAtOnce = 2
/** One step may take this long, ms; then the next sweep tries again. */
const stepMs = 30 * 60_000
/** Tenants noted by one command. */
const noteBatch = 10_000
/** Opening what was archived, ms. */
const openMs = 60_000

export class ArchiveService {
  readonly #deps: ArchiveDeps
  /** Used since it was noted last. */
  readonly #used = new Map<TenantId, number>()
  readonly #waking = new Map<TenantId, Promise<void>>()
  readonly #closing = new AbortController()
  #cancel: Cancel = () => {}
  #sweeping: Promise<void> = Promise.resolve()

  constructor(deps: ArchiveDeps) {
    this.#deps = deps
  }

  /** Sweeps now and then until it is closed. */
  start(): void {
    this.#cancel = this.#deps.clock.setTimer(sweepEveryMs, () => {
      this.#sweeping = this.sweep()
        .catch((error) => this.#deps.log.warn('archive sweep failed', { error }))
        .finally(() => {
          if (!this.#closing.signal.aborted) this.start()
        })
    })
  }

  async close(): Promise<void> {
    this.#cancel()
    this.#closing.abort(new OverloadedError('the control plane is stopping'))
    await this.#sweeping
    await Promise.all(this.#waking.values())
    await this.#note().catch((error) => this.#deps.log.warn('use of tenants was not noted', { error }))
  }

  /** Somebody asks for the tenant. An archived one comes back. */
  used(id: TenantId): void {
    this.#used.set(id, this.#deps.clock.now())
    if (this.#deps.state.tenants.get(id)?.status === 'archived') void this.wake(id)
  }

  isWaking(id: TenantId): boolean {
    return this.#waking.has(id)
  }

  activityOf(tenant: Tenant): TenantActivity {
    const noted = this.#deps.state.activities.get(tenant.id)
    const usedAtMs = Math.max(this.#used.get(tenant.id) ?? 0, noted?.usedAtMs ?? tenant.createdAtMs)
    if (noted !== undefined) return { ...noted, usedAtMs }
    return { tenantId: tenant.id, usedAtMs, stage: 'warm', stageAtMs: tenant.createdAtMs, reopenMs: null }
  }

  /** Archives a tenant now, whenever it was used last. */
  async archive(reference: string, by: Actor): Promise<Result<OperationView, TenantRefusal>> {
    const { state, operations, rng } = this.#deps
    const tenant = findTenant(state, reference)
    if (tenant === undefined) return err('not_found')
    if (state.operations.get(tenant.id) !== undefined) return err('operation_pending')
    await this.#deps.audit.note(by, { action: 'tenant.archive', target: tenant.id, targetName: tenant.slug })
    if (tenant.status !== 'archived') {
      const closed = await this.#takeOffline(tenant)
      if (!closed.ok) return closed
    }
    const facts = { id: recordId(rng), tenantId: tenant.id, kind: 'archive' } as const
    return ok(operations.start(facts, (onProgress, signal) => this.#step(tenant.id, 'archived', signal, onProgress)))
  }

  /** Brings an archived tenant back; resolves once it answers. */
  async resume(reference: string, by: Actor): Promise<Result<null, TenantRefusal>> {
    const tenant = findTenant(this.#deps.state, reference)
    if (tenant === undefined) return err('not_found')
    if (tenant.status !== 'archived') return err('not_archived')
    await this.#deps.audit.note(by, { action: 'tenant.resume', target: tenant.id, targetName: tenant.slug })
    await this.wake(tenant.id)
    return ok(null)
  }

  /** Joins a reopening that is under way. Never rejects: the next request tries again. */
  wake(id: TenantId): Promise<void> {
    const underWay = this.#waking.get(id)
    if (underWay !== undefined) return underWay
    const { log } = this.#deps
    const waking = this.#reopen(id)
      .catch((error) => log.warn('archived tenant did not come back', { tenant: id, error: errorMessage(error) }))
      .finally(() => this.#waking.delete(id))
    this.#waking.set(id, waking)
    return waking
  }

  /** One look at every tenant. */
  async sweep(): Promise<void> {
    const { state, log } = this.#deps
    await this.#note()
    const due: (() => Promise<unknown>)[] = []
    for (const tenant of state.tenants.all()) {
      if (due.length === stepsPerSweepMax) break
      const stage = this.#dueStage(tenant)
      if (stage !== null) due.push(() => this.#sweepStep(tenant, stage))
    }
    const queue = due.values()
    const lane = async () => {
      for (const step of queue) {
        if (this.#closing.signal.aborted) return
        await step().catch((error) => log.warn('archiving will be tried again', { error: errorMessage(error) }))
      }
    }
    await Promise.all(Array.from({ length: stepsAtOnce }, lane))
  }

  #dueStage(tenant: Tenant): ArchiveStage | null {
    const { policy, clock, state } = this.#deps
    if (state.operations.get(tenant.id) !== undefined) return null
    const { usedAtMs, stage } = this.activityOf(tenant)
    if (tenant.status === 'archived') return stage === 'archived' ? null : 'archived' // it was interrupted
    if (tenant.status !== 'active') return null
    const days = (clock.now() - usedAtMs) / dayMs
    if (policy.archiveAfterDays > 0 && days >= policy.archiveAfterDays) return 'archived'
    const isDue = policy.infrequentAfterDays > 0 && days >= policy.infrequentAfterDays
    return isDue && stage === 'warm' && policy.infrequentClass !== null ? 'infrequent' : null
  }

  async #sweepStep(tenant: Tenant, stage: ArchiveStage): Promise<void> {
    const { clock } = this.#deps
    if (stage === 'archived' && tenant.status === 'active') {
      const closed = await this.#takeOffline(tenant)
      if (!closed.ok) return // it was changed meanwhile: the next sweep looks again
    }
    const deadline = new AbortController()
    const cancel = clock.setTimer(stepMs, () => deadline.abort(new OverloadedError(`not done within ${stepMs} ms`)))
    try {
      await this.#step(tenant.id, stage, AbortSignal.any([deadline.signal, this.#closing.signal]))
    } finally {
      cancel()
    }
  }

  /** The decision first; then its node ships the tail and lets go. */
  async #takeOffline({ id }: Tenant): Promise<Result<null, TenantRefusal>> {
    const { state, propose, orders, clock } = this.#deps
    const outcome = await propose({ type: 'tenant.archive', id, atMs: clock.now() })
    if (!outcome.ok) return err(outcome.error)
    const [tenant, placement] = [state.tenants.get(id), state.placements.get(id)]
    if (tenant !== undefined && placement !== undefined)
      await orders.give<'tenant.update'>(
        placement.nodeId,
        { type: 'tenant.update', tenant: toldTenant(state, tenant), placement: placementOf(state, placement) },
        openMs,
      )
    return ok(null)
  }

  async #step(
    id: TenantId,
    stage: ArchiveStage,
    signal: AbortSignal,
    onProgress?: Parameters<Parameters<OperationService['start']>[1]>[0],
  ): Promise<ArchiveReport> {
    const { state, nodes, policy, propose, clock, rng, log, transitions } = this.#deps
    const storageClass = stage === 'archived' ? policy.archiveClass : policy.infrequentClass
    const job = { type: 'archive', stage, storageClass } as const
    // Its own node, which has its files; any other when that one is gone.
    const where = () => {
      const owner = state.placements.get(id)?.nodeId
      const nodeId = owner !== undefined && nodes.stateOf(owner) !== 'down' ? owner : nodes.candidates()[0]?.id
      return nodeId === undefined ? null : { nodeId, job }
    }
    let report: ArchiveReport
    try {
      const options = { signal, ...(onProgress && { onProgress }) }
      report = await runTenantJob<'archive'>(this.#deps, { jobId: recordId(rng), tenantId: id, where }, options)
    } catch (error) {
      if (errorCode(error) === 'tenant_in_use') this.#used.set(id, clock.now())
      throw error
    }
    const tenant = state.tenants.get(id)
    if (tenant === undefined) return report
    const before = this.activityOf(tenant)
    // It came back while it was being archived: then it is as warm as before.
    if (stage === 'archived' && tenant.status !== 'archived') return report
    await propose({ type: 'activity.put', activity: { ...before, stage, stageAtMs: clock.now() } })
    transitions.inc({ to: stage })
    log.info('tenant archived', { tenant: id, stage, ...report })
    return report
  }

  async #reopen(id: TenantId): Promise<void> {
    const { state, propose, orders, clock, log, reopenSeconds, transitions } = this.#deps
    const startedMs = clock.monotonic()
    const nowMs = clock.now()
    const outcome = await propose({ type: 'tenant.resume', id, atMs: nowMs })
    const [tenant, placement] = [state.tenants.get(id), state.placements.get(id)]
    if (!outcome.ok || tenant === undefined || placement === undefined) return
    const order = {
      type: 'tenant.update',
      tenant: toldTenant(state, tenant),
      placement: placementOf(state, placement),
    } as const
    await orders.give<'tenant.update'>(placement.nodeId, order, openMs)
    await orders.give<'tenant.open'>(
      placement.nodeId,
      { type: 'tenant.open', tenantId: id, epoch: placement.epoch },
      openMs,
    )
    const reopenMs = Math.round(clock.monotonic() - startedMs)
    const before = this.activityOf(tenant)
    await propose({
      type: 'activity.put',
      activity: { ...before, usedAtMs: nowMs, stage: 'warm', stageAtMs: nowMs, reopenMs },
    })
    reopenSeconds.observe(reopenMs / 1_000)
    transitions.inc({ to: 'warm' })
    log.info('archived tenant came back', { tenant: id, ms: reopenMs })
  }

  /** Once a day and tenant, so that the log does not grow with every request. */
  async #note(): Promise<void> {
    const { state, propose } = this.#deps
    for (const id of this.#used.keys()) if (state.tenants.get(id)?.status === 'deleted') this.#used.delete(id)
    const news = [...this.#used].filter(([id, usedAtMs]) => {
      const noted = state.activities.get(id)
      return noted === undefined || usedAtMs - noted.usedAtMs >= dayMs || noted.stage === 'infrequent'
    })
    for (let from = 0; from < news.length; from += noteBatch) {
      const used = news.slice(from, from + noteBatch).map(([tenantId, usedAtMs]) => ({ tenantId, usedAtMs }))
      await propose({ type: 'activity.note', used })
      for (const { tenantId, usedAtMs } of used) if (this.#used.get(tenantId) === usedAtMs) this.#used.delete(tenantId)
    }
  }
}
