// Going back in time, and forks: what can be restored, what it would change, doing it. The moment that was meant is looked
// up first, so that an impossible wish is refused at once; then the decision goes into the log.

import type {
  Cut,
  JobReports,
  PointWish,
  RestorePointsReport,
  TenantJob,
  UsageReport,
} from '../../ipc/messages/jobs.ts'
import type { NodeId, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { TimeoutError } from '../../lib/errors.ts'
import { recordId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import type { StateReader } from '../state/state.ts'
import type { Tenant } from '../state/tenants.ts'
import type { Actor, AuditLog } from './audit.ts'
import { runTenantJob } from './jobs.ts'
import type { NodeService } from './nodes.ts'
import type { OperationService, OperationView } from './operations.ts'
import type { Orders } from './orders.ts'
import type { StandbyKeeper } from './placement/standby-keeper.ts'
import type { Propose } from './proposer.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant } from './routing/table.ts'
import type { CreateTenant, TenantService } from './tenants.ts'

export interface TimeTravelDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf' | 'candidates'>
  readonly tenants: Pick<TenantService, 'prepare'>
  readonly standbys: Pick<StandbyKeeper, 'ask'>
  readonly operations: Pick<OperationService, 'start' | 'carryOut'>
  readonly audit: AuditLog
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
}

/** Looking something up in a history; more than that is an operation of its own. */
const lookUpMs = 30_000

export class TimeTravel {
  readonly #deps: TimeTravelDeps

  constructor(deps: TimeTravelDeps) {
    this.#deps = deps
  }

  async points(reference: string, latestMax: number): Promise<Result<RestorePointsReport, TenantRefusal>> {
    const tenant = this.#find(reference)
    return tenant === null ? err('not_found') : ok(await this.#lookUp(tenant.id, { type: 'points', latestMax }))
  }

  preview(reference: string, wish: PointWish): Result<OperationView, TenantRefusal> {
    const { operations, rng } = this.#deps
    const tenant = this.#find(reference)
    if (tenant === null) return err('not_found')
    const id = recordId(rng)
    const question = { jobId: id, tenantId: tenant.id, where: () => this.#near(tenant.id, { type: 'preview', wish }) }
    return ok(
      operations.start({ id, tenantId: tenant.id, kind: 'preview' }, (onProgress, signal) =>
        runTenantJob<'preview'>(this.#deps, question, { signal, onProgress }),
      ),
    )
  }

  /** Throws TenantJobError (`no_such_point`) when there is no such moment. */
  async restore(reference: string, wish: PointWish, by: Actor): Promise<Result<OperationView, TenantRefusal>> {
    const { state, propose, operations, clock, rng } = this.#deps
    const tenant = this.#find(reference)
    if (tenant === null) return err('not_found')
    if (tenant.status !== 'active' && tenant.status !== 'suspended') return err('not_active')
    if (state.operations.get(tenant.id) !== undefined) return err('operation_pending')
    if (state.handOvers.get(tenant.id) !== undefined) return err('handed_over')
    const cut = await this.cut(tenant.id, wish)
    const operation = { type: 'restore', id: recordId(rng), tenantId: tenant.id, cut, atMs: clock.now() } as const
    const record = { action: 'tenant.restore', target: tenant.id, targetName: tenant.slug, details: cutDetails(cut) }
    const outcome = await propose({ type: 'operation.begin', operation }, this.#deps.audit.facts(by, record))
    return outcome.ok ? ok(operations.carryOut(operation)) : err(outcome.error)
  }

  /**
   * Where the databases stand, after everything is shipped. With `isHandedOver` a stopped tenant's histories are left as the
   * official replicator needs them.
   */
  async eject(reference: string, isHandedOver: boolean, by: Actor): Promise<Result<OperationView, TenantRefusal>> {
    const { operations, state, rng } = this.#deps
    const tenant = this.#find(reference)
    if (tenant === null) return err('not_found')
    // Two kinds of writer on one history would overwrite each other.
    if (isHandedOver && tenant.status !== 'suspended') return err('not_suspended')
    if (state.operations.get(tenant.id) !== undefined) return err('operation_pending')
    const { audit, propose, clock } = this.#deps
    const act = { target: tenant.id, targetName: tenant.slug }
    if (isHandedOver) {
      // Remembered first: what fails half-way has to be taken back too.
      const handOver = { type: 'tenant.hand-over', id: tenant.id, atMs: clock.now() } as const
      const outcome = await propose(handOver, audit.facts(by, { action: 'tenant.hand-over', ...act }))
      if (!outcome.ok) return err(outcome.error)
    } else await audit.note(by, { action: 'tenant.eject', ...act })
    const id = recordId(rng)
    const job = { type: 'eject', isHandedOver } as const
    // Its own node alone can close it: a tenant that somebody has open is not handed over.
    const where = () => (isHandedOver ? this.#own<'eject'>(tenant.id, job) : this.#near<'eject'>(tenant.id, job))
    const question = { jobId: id, tenantId: tenant.id, where }
    return ok(
      operations.start({ id, tenantId: tenant.id, kind: 'eject' }, (onProgress, signal) =>
        runTenantJob<'eject'>(this.#deps, question, { signal, onProgress }),
      ),
    )
  }

  /**
   * A new tenant with the content of another at a moment, and its durability unless told otherwise. Throws as {@link restore} does.
   */
  async fork(
    reference: string,
    wish: PointWish,
    input: Pick<CreateTenant, 'slug' | 'domains' | 'owner' | 'region' | 'ackMode' | 'lossBoundMs' | 'onStoreOutage'>,
    by: Actor,
  ): Promise<Result<{ readonly tenant: Tenant; readonly operation: OperationView }, TenantRefusal>> {
    const { propose, operations, tenants, clock, rng } = this.#deps
    const source = this.#find(reference)
    if (source === null) return err('not_found')
    if (source.status === 'created') return err('not_active')
    const prepared = await tenants.prepare({
      region: source.region,
      ackMode: source.ackMode,
      lossBoundMs: source.lossBoundMs,
      onStoreOutage: source.onStoreOutage,
      ...input,
      plan: source.plan,
      limits: source.limits,
    })
    if (!prepared.ok) return err(prepared.error)
    const cut = await this.cut(source.id, wish)
    const { tenant, place } = prepared.value
    const facts = { id: recordId(rng), tenantId: tenant.id, source: source.id, cut, atMs: clock.now() }
    const operation = { type: 'fork', ...facts } as const
    const details = { source: source.id, sourceName: source.slug, ...cutDetails(cut) }
    const outcome = await propose(
      { type: 'tenant.fork', tenant, nodeId: place.nodeId, worker: place.worker, operation },
      this.#deps.audit.facts(by, { action: 'tenant.fork', target: tenant.id, targetName: tenant.slug, details }),
    )
    return outcome.ok ? ok({ tenant, operation: operations.carryOut(operation) }) : err(outcome.error)
  }

  /** What lies in the store for the tenant. */
  usage(tenantId: TenantId): Promise<UsageReport> {
    return this.#lookUp(tenantId, { type: 'usage' })
  }

  /** Throws NodeOrderError when standbys of a dead owner do not answer. */
  async cut(tenantId: TenantId, wish: PointWish): Promise<Cut> {
    await this.#deps.standbys.ask(tenantId)
    return this.#lookUp(tenantId, { type: 'cut', wish })
  }

  #find(reference: string): Tenant | null {
    return findTenant(this.#deps.state, reference) ?? null
  }

  async #lookUp<T extends 'points' | 'cut' | 'usage'>(
    tenantId: TenantId,
    job: Extract<TenantJob, { readonly type: T }>,
  ): Promise<JobReports[T]> {
    const { clock, rng } = this.#deps
    const deadline = new AbortController()
    const cancel = clock.setTimer(lookUpMs, () =>
      deadline.abort(new TimeoutError(`no node looked it up within ${lookUpMs} ms`)),
    )
    try {
      const question = { jobId: recordId(rng), tenantId, where: () => this.#near<T>(tenantId, job) }
      return await runTenantJob<T>(this.#deps, question, { signal: deadline.signal })
    } finally {
      cancel()
    }
  }

  /** Its own node, which ships what it holds first; any other when that one is down. */
  #near<T extends TenantJob['type']>(
    tenantId: TenantId,
    job: Extract<TenantJob, { readonly type: T }>,
  ): { readonly nodeId: NodeId; readonly job: Extract<TenantJob, { readonly type: T }> } | null {
    const own = this.#own<T>(tenantId, job)
    if (own !== null) return own
    const other = this.#deps.nodes.candidates()[0]
    return other === undefined ? null : { nodeId: other.id, job }
  }

  /** Its own node; null while that one is down. */
  #own<T extends TenantJob['type']>(
    tenantId: TenantId,
    job: Extract<TenantJob, { readonly type: T }>,
  ): { readonly nodeId: NodeId; readonly job: Extract<TenantJob, { readonly type: T }> } | null {
    const { state, nodes } = this.#deps
    const owner = state.placements.get(tenantId)?.nodeId
    return owner !== undefined && nodes.stateOf(owner) !== 'down' ? { nodeId: owner, job } : null
  }
}

/** A moment as the record of an act has it. */
function cutDetails({ atMs, data }: Cut): { readonly at: string; readonly dataTxid: number } {
  return { at: new Date(atMs).toISOString(), dataTxid: data }
}
