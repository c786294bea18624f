// The life of a tenant: made, changed, deleted. Each change is first decided in the log and then carried out at the node;
// what a crash leaves half done, `reconcile` finds in the state and finishes. Every order is idempotent. Where a tenant is
// and how it moves is decided in `placement/moves.ts`, who stands by for it in `placement/standby-keeper.ts`.

import type { AckMode, TenantLimits } from '../../ipc/messages/tenant.ts'
import { type Epoch, isSlug, type Slug, type TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { newTenantId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import type { ControlPlaneConfig } from '../config.ts'
import type { TenantActivity } from '../state/activities.ts'
import type { DrillRow } from '../state/drills.ts'
import type { PlacementRow } from '../state/placements.ts'
import type { StateReader } from '../state/state.ts'
import type { Superuser, Tenant } from '../state/tenants.ts'
import type { WarmStandbyRow } from '../state/warm-standbys.ts'
import type { Actor, AuditLog } from './audit.ts'
import type { NodeService } from './nodes.ts'
import { isTailKept } from './orders.ts'
import type { TenantMoves } from './placement/moves.ts'
import type { PlannedChanges } from './placement/planned-changes.ts'
import type { StandbyKeeper } from './placement/standby-keeper.ts'
import type { Choice } from './placement/strategy.ts'
import type { Transit } from './placement/transit.ts'
import type { WarmKeeper } from './placement/warm-keeper.ts'
import { planDefault, plans } from './plans.ts'
import type { Propose } from './proposer.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant, reservedSlugs } from './routing/table.ts'
import type { TenantOrders } from './tenant-orders.ts'

export interface CreateTenant {
  readonly slug: string
  readonly domains?: readonly string[]
  readonly owner?: string | null
  readonly plan?: string
  readonly region?: string | null
  readonly ackMode?: AckMode
  readonly lossBoundMs?: number
  readonly onStoreOutage?: 'spool' | 'refuse'
  readonly limits?: Partial<TenantLimits>
  readonly superuser?: { readonly email: string; readonly password: string } | null
}

export interface UpdateTenant {
  readonly slug?: string
  readonly domains?: readonly string[]
  readonly status?: 'active' | 'suspended'
  readonly plan?: string
  readonly ackMode?: AckMode
  readonly lossBoundMs?: number
  readonly onStoreOutage?: 'spool' | 'refuse'
  /** null: as long as everybody's. */
  readonly keepEveryMs?: number | null
  readonly warmStandby?: boolean
  readonly limits?: Partial<TenantLimits>
  readonly metadata?: Readonly<Record<string, string>>
}

export interface TenantView {
  readonly tenant: Tenant
  readonly placement: PlacementRow | null
  /** The worker for busy tenants that serves it now; null: the worker of its placement does. */
  readonly busyWorker: number | null
  /** The epoch on whose path its histories lie; null on stores that need no such paths. */
  readonly replicaEpoch: number | null
  /** How long every restore point stays, ms; null: as long as everybody's. */
  readonly keepEveryMs: number | null
  /** null: no second node shall keep it warm. */
  readonly warmStandby: WarmStandbyRow | null
  /** null before its use was noted for the first time. */
  readonly activity: TenantActivity | null
  /** Since when another program writes its histories; null: none does. */
  readonly handedOverAtMs: number | null
  /** null before the first drill. */
  readonly drill: DrillRow | null
}

export interface TenantServiceDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly nodes: NodeService
  readonly tenantOrders: TenantOrders
  readonly moves: TenantMoves
  readonly changes: Pick<PlannedChanges, 'isBegun' | 'resume'>
  readonly standbys: StandbyKeeper
  readonly warm: WarmKeeper
  readonly transit: Transit
  readonly audit: AuditLog
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly config: Pick<ControlPlaneConfig, 'baseDomain' | 'publicUrl' | 'isCreateOnlyAtomic'>
}

/** bcrypt reads no more, so longer ones would be cut (PocketBase refuses them too); and its least. */
const passwordBytesMax = 72
const passwordLengthMin = 8
const bcryptCost = 10
/** Unfinished pieces of work carried on at once. */
const reconcileConcurrency = 8
/** An owner of `async` commits that is further behind lets writes wait, ms. */
export const lossBoundMsDefault = 5_000
const domainPattern = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/

export class TenantService {
  readonly #deps: TenantServiceDeps
  /** Creations under way, so that reconciler and request do not do the same work twice. */
  readonly #creating = new Map<TenantId, Promise<string | null>>()
  #closed = false

  constructor(deps: TenantServiceDeps) {
    this.#deps = deps
  }

  find(reference: string): TenantView | null {
    const tenant = findTenant(this.#deps.state, reference)
    return tenant === undefined ? null : this.#view(tenant)
  }

  list(): TenantView[] {
    return [...this.#deps.state.tenants.all()].map((tenant) => this.#view(tenant))
  }

  /**
   * Makes a tenant and resolves once its first files are durable and it answers. Throws NodeOrderError when the node
   * fails: the tenant exists with status `created` and is finished later.
   */
  async create(
    input: CreateTenant,
    by: Actor,
  ): Promise<Result<TenantView & { readonly setupUrl: string | null }, TenantRefusal>> {
    const superuser = input.superuser ? await this.#hashed(input.superuser) : null
    if (superuser === 'password_length') return err(superuser)
    const prepared = await this.prepare(input)
    if (!prepared.ok) return err(prepared.error)
    const { place } = prepared.value
    const tenant: Tenant = { ...prepared.value.tenant, pendingSuperuser: superuser }
    const { propose, standbys, tenantOrders, audit } = this.#deps
    const { id: target, slug: targetName, plan, ackMode, region, owner } = tenant
    const outcome = await propose(
      { type: 'tenant.create', tenant, nodeId: place.nodeId, worker: place.worker },
      audit.facts(by, { action: 'tenant.create', target, targetName, details: { plan, ackMode, region, owner } }),
    )
    if (!outcome.ok) return err(outcome.error)
    const setupPath = await this.#finishCreation(tenant.id)
    await standbys.renew(tenant.id).catch((error) => tenantOrders.unfinished('standbys', tenant.id, error))
    const made = this.find(tenant.id)
    if (made === null) return err('not_found') // deleted in the meantime
    return ok({ ...made, setupUrl: setupPath === null ? null : this.#urlOf(made.tenant) + setupPath })
  }

  /** The row of a new tenant and a place for it; nothing is decided yet. */
  async prepare(
    input: Omit<CreateTenant, 'superuser'>,
  ): Promise<Result<{ readonly tenant: Tenant; readonly place: Choice }, TenantRefusal>> {
    const { clock, rng } = this.#deps
    const refusal = nameRefusal(input.slug, input.domains ?? [])
    if (refusal !== null) return err(refusal)
    const plan = input.plan ?? planDefault
    const limits = plans[plan]
    if (limits === undefined) return err('unknown_plan')
    const place = await this.#deps.moves.waitForPlace(input.region ?? null)
    if (place === null) return err('no_node')
    const nowMs = clock.now()
    const tenant: Tenant = {
      id: newTenantId(rng),
      slug: input.slug as Slug,
      domains: input.domains ?? [],
      status: 'created',
      owner: input.owner ?? null,
      plan,
      region: input.region ?? null,
      ackMode: input.ackMode ?? 'async',
      lossBoundMs: input.lossBoundMs ?? lossBoundMsDefault,
      onStoreOutage: input.onStoreOutage ?? 'spool',
      limits: { ...limits, ...input.limits },
      metadata: {},
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      pendingSuperuser: null,
    }
    return ok({ tenant, place })
  }

  async update(reference: string, patch: UpdateTenant, by: Actor): Promise<Result<TenantView, TenantRefusal>> {
    const { standbys, warm, tenantOrders, audit } = this.#deps
    const before = findTenant(this.#deps.state, reference)
    if (before === undefined) return err('not_found')
    const refusal = nameRefusal(patch.slug ?? before.slug, patch.domains ?? [])
    if (refusal !== null) return err(refusal)
    if (patch.plan !== undefined && plans[patch.plan] === undefined) return err('unknown_plan')
    if (patch.warmStandby === true && !this.#deps.config.isCreateOnlyAtomic) return err('no_warm_standby')
    const base = patch.plan === undefined ? before.limits : plans[patch.plan]!
    const act = { action: 'tenant.update', target: before.id, targetName: before.slug }
    const { retentions, warmStandbys } = this.#deps.state
    const keepEveryMs = retentions.get(before.id)?.keepEveryMs ?? null
    const warmStandby = warmStandbys.get(before.id) !== undefined
    const changes = changesOf({ ...before, keepEveryMs, warmStandby }, patch)
    // One entry: a crash leaves all of it or nothing.
    const outcome = await this.#deps.propose(
      {
        type: 'tenant.change',
        id: before.id,
        slug: (patch.slug as Slug | undefined) ?? null,
        domains: patch.domains ?? null,
        status: patch.status ?? null,
        plan: patch.plan ?? null,
        ackMode: patch.ackMode ?? null,
        limits: patch.plan === undefined && patch.limits === undefined ? null : { ...base, ...patch.limits },
        metadata: patch.metadata ?? null,
        lossBoundMs: patch.lossBoundMs ?? null,
        onStoreOutage: patch.onStoreOutage ?? null,
        retention: patch.keepEveryMs === undefined ? null : { keepEveryMs: patch.keepEveryMs },
        standby: patch.warmStandby === undefined ? null : warm.wishOf(before, patch.warmStandby),
        atMs: this.#deps.clock.now(),
      },
      Object.keys(changes).length === 0 ? null : audit.facts(by, { ...act, details: changes }),
    )
    if (!outcome.ok) return err(outcome.error)
    const after = this.find(before.id)
    if (after === null) return err('not_found')
    await tenantOrders.tell(before.id)
    await standbys.renew(before.id).catch((error) => tenantOrders.unfinished('standbys', before.id, error))
    return ok(this.find(before.id) ?? after)
  }

  /** Takes it offline and frees its names. Its objects stay. */
  async delete(reference: string, by: Actor): Promise<Result<null, TenantRefusal>> {
    const tenant = findTenant(this.#deps.state, reference)
    if (tenant === undefined) return err('not_found')
    const { propose, audit, clock } = this.#deps
    const outcome = await propose(
      { type: 'tenant.delete', id: tenant.id, atMs: clock.now() },
      audit.facts(by, { action: 'tenant.delete', target: tenant.id, targetName: tenant.slug }),
    )
    if (!outcome.ok) return err(outcome.error)
    await this.#releaseDeleted(tenant.id).catch((error) =>
      this.#deps.tenantOrders.unfinished('release of a deleted tenant', tenant.id, error),
    )
    return ok(null)
  }

  /** Serves a tenant again whose histories another program wrote; the admin knows that it has stopped. */
  async takeBack(reference: string, by: Actor): Promise<Result<null, TenantRefusal>> {
    const { state, propose, audit, clock, tenantOrders } = this.#deps
    const tenant = findTenant(state, reference)
    if (tenant === undefined) return err('not_found')
    const outcome = await propose(
      { type: 'tenant.take-back', id: tenant.id, atMs: clock.now() },
      audit.facts(by, { action: 'tenant.take-back', target: tenant.id, targetName: tenant.slug }),
    )
    if (!outcome.ok) return err(outcome.error)
    await tenantOrders.tell(tenant.id)
    // Its owner's seal comes next, and what is due for it is known again.
    const placement = state.placements.get(tenant.id)
    if (placement !== undefined)
      await tenantOrders.open(placement).catch((error) => tenantOrders.unfinished('opening', tenant.id, error))
    return ok(null)
  }

  /** Makes a superuser of the tenant or changes its password. */
  async upsertSuperuser(
    reference: string,
    input: { readonly email: string; readonly password: string },
    by: Actor,
  ): Promise<Result<{ readonly created: boolean }, TenantRefusal>> {
    const tenant = findTenant(this.#deps.state, reference)
    const placement = tenant && this.#deps.state.placements.get(tenant.id)
    if (tenant === undefined || placement === undefined) return err('not_found')
    if (tenant.status !== 'active') return err('not_active')
    const hashed = await this.#hashed(input)
    if (hashed === 'password_length') return err(hashed)
    await this.#deps.audit.note(by, {
      action: 'tenant.superuser',
      target: tenant.id,
      targetName: tenant.slug,
      details: { email: input.email },
    })
    return ok(await this.#deps.tenantOrders.upsertSuperuser(placement, hashed))
  }

  /** One look at everything that is unfinished: creations, deletions, draining nodes, nodes that are down, owners to tell. */
  async reconcile(): Promise<void> {
    const { state, nodes, moves, changes, standbys, warm, transit, tenantOrders } = this.#deps
    const work: (() => Promise<unknown>)[] = []
    for (const placement of state.placements.all()) {
      const tenant = state.tenants.get(placement.tenantId)
      if (tenant === undefined || transit.isMoving(tenant.id)) continue
      if (tenant.status !== 'deleted') await this.#beginReplica(tenant.id)
      const nodeState = nodes.stateOf(placement.nodeId)
      const mustLeave = nodeState === 'down' || nodes.isDraining(placement.nodeId)
      if (tenant.status === 'deleted') {
        work.push(() => this.#releaseDeleted(tenant.id))
      } else if (nodeState !== 'down' && changes.isBegun(placement)) {
        work.push(() => changes.resume(placement))
      } else if (mustLeave) {
        work.push(() => moves.moveAway(tenant, placement, nodeState !== 'down'))
      } else if (tenant.status === 'active' && standbys.lacks(tenant, placement)) {
        work.push(() => standbys.renew(tenant.id).catch((error) => moves.shipFirst(error, placement)))
      } else if (tenant.status === 'active' && warm.lacks(tenant, placement)) {
        work.push(() => warm.renew(tenant, placement))
      } else if (tenant.status === 'created') {
        if (state.operations.get(tenant.id) === undefined) work.push(() => this.#finishCreation(tenant.id))
      }
    }
    tenantOrders.tellAgain()
    const next = work.values()
    const run = async () => {
      for (const job of next) {
        if (this.#closed) return
        await job().catch((error) => this.#deps.log.warn('reconciliation failed, will be tried again', { error }))
      }
    }
    await Promise.all(Array.from({ length: Math.min(reconcileConcurrency, work.length) }, run))
  }

  close(): void {
    this.#closed = true
  }

  #view(tenant: Tenant): TenantView {
    const { placements, drills, activities, replicas, retentions, warmStandbys } = this.#deps.state
    const { id } = tenant
    const placement = placements.get(id) ?? null
    return {
      tenant,
      placement,
      busyWorker: (placement && this.#deps.nodes.awayOn(placement.nodeId, id)?.worker) ?? null,
      drill: drills.get(id) ?? null,
      activity: activities.get(id) ?? null,
      replicaEpoch: replicas.get(id)?.epoch || null,
      keepEveryMs: retentions.get(id)?.keepEveryMs ?? null,
      handedOverAtMs: this.#deps.state.handOvers.get(id)?.atMs ?? null,
      warmStandby: warmStandbys.get(id) ?? null,
    }
  }

  #urlOf({ slug }: Tenant): string {
    const { scheme, port } = this.#deps.config.publicUrl
    return `${scheme}://${slug}.${this.#deps.config.baseDomain}${port === null ? '' : `:${port}`}`
  }

  /** Joins a creation that is under way. Resolves with the path of the one-time link, when one was made. */
  #finishCreation(id: TenantId): Promise<string | null> {
    const underWay = this.#creating.get(id)
    if (underWay !== undefined) return underWay
    const started = this.#orderCreation(id).finally(() => this.#creating.delete(id))
    this.#creating.set(id, started)
    return started
  }

  /** Without atomic create-only writes, epochs need paths of their own; see `src/node/tenants/replica-path.ts`. */
  async #beginReplica(id: TenantId): Promise<void> {
    const { state, config, propose } = this.#deps
    if (!config.isCreateOnlyAtomic && state.replicas.get(id) === undefined)
      await propose({ type: 'replica.begin', id, epoch: 0 })
  }

  /** The node's copy of the newest state counts from here on, unless another owner came meanwhile. */
  async replicaMoved(id: TenantId, epoch: Epoch): Promise<boolean> {
    return (await this.#deps.propose({ type: 'replica.move', id, epoch })).ok
  }

  async #orderCreation(id: TenantId): Promise<string | null> {
    const { state, tenantOrders, propose, clock, log } = this.#deps
    const placement = state.placements.get(id)
    if (state.tenants.get(id)?.status !== 'created' || placement === undefined) return null
    const startedMs = clock.monotonic()
    await this.#beginReplica(id)
    const setupPath = await tenantOrders.create(placement)
    const outcome = await propose({ type: 'tenant.activate', id, atMs: clock.now() })
    if (outcome.ok)
      log.info('tenant created', { tenant: id, node: placement.nodeId, ms: clock.monotonic() - startedMs })
    return setupPath
  }

  async #releaseDeleted(id: TenantId): Promise<void> {
    const { state, nodes, tenantOrders, propose } = this.#deps
    const placement = state.placements.get(id)
    if (placement === undefined) return
    // One that is down may never come back. Should it still write, whoever sweeps or takes the tenant back finds that.
    if (nodes.stateOf(placement.nodeId) !== 'down')
      await tenantOrders.release(placement).catch((error) => {
        if (!isTailKept(error)) throw error // of a deleted tenant nobody wants the rest
      })
    await propose({ type: 'placement.remove', id })
  }

  /** Off the event loop; the clear text goes no further. */
  async #hashed(input: { readonly email: string; readonly password: string }): Promise<Superuser | 'password_length'> {
    const { email, password } = input
    if (password.length < passwordLengthMin || Buffer.byteLength(password) > passwordBytesMax) return 'password_length'
    return { email, passwordHash: await Bun.password.hash(password, { algorithm: 'bcrypt', cost: bcryptCost }) }
  }
}

/** What a patch changes, for the record: `from → to` of each setting, and only the names of what may be long. */
function changesOf(
  before: Tenant & { readonly keepEveryMs: number | null; readonly warmStandby: boolean },
  patch: UpdateTenant,
): Record<string, string> {
  const changes: Record<string, string> = {}
  for (const name of [
    'slug',
    'status',
    'plan',
    'ackMode',
    'lossBoundMs',
    'onStoreOutage',
    'keepEveryMs',
    'warmStandby',
    'domains',
  ] as const) {
    const to = patch[name]
    if (to !== undefined && String(to) !== String(before[name])) changes[name] = `${before[name]} → ${to}`
  }
  for (const [name, to] of Object.entries(patch.limits ?? {})) {
    const from = before.limits[name as keyof TenantLimits]
    if (from !== to) changes[name] = `${from} → ${to}`
  }
  if (patch.metadata !== undefined) changes['metadata'] = 'replaced' // its values are the admin's own
  return changes
}

function nameRefusal(slug: string, domains: readonly string[]): TenantRefusal | null {
  if (!isSlug(slug)) return 'bad_slug'
  if (reservedSlugs.has(slug)) return 'reserved_slug'
  return domains.every((domain) => domainPattern.test(domain)) ? null : 'bad_domain'
}
