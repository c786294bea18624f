// Tenants: make, change, move, take back. Each change is first decided in the log and then carried out at the node; what
// a crash leaves half done, `reconcile` finds in the state and finishes. Every order is idempotent.

import { type AckMode, needsStandbys, type TenantLimits } from '../../ipc/messages/tenant.ts'
import { type Epoch, isSlug, type NodeId, type Slug, type TenantId } from '../../lib/brand.ts'
import { type Clock, sleep } from '../../lib/clock.ts'
import { AppError, errorCode, errorMessage, OverloadedError } from '../../lib/errors.ts'
import { newTenantId, recordId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import type { ControlPlaneConfig, ControlPlaneTimings } from '../config.ts'
import type { TenantActivity } from '../state/activities.ts'
import type { Admin } from '../state/admins.ts'
import type { RejectReason } from '../state/command.ts'
import type { DrillRow } from '../state/drills.ts'
import { type PlacementRow, standbysOf } from '../state/placements.ts'
import type { StateReader } from '../state/state.ts'
import type { Superuser, Tenant } from '../state/tenants.ts'
import type { TenantHistory } from './history.ts'
import type { NodeService } from './nodes.ts'
import type { Orders } from './orders.ts'
import { chooseStandbys, placementOf } from './placement/standbys.ts'
import { type Choice, choosePlace } from './placement/strategy.ts'
import { planDefault, plans } from './plans.ts'
import type { Propose } from './proposer.ts'
import { findTenant, reservedSlugs } from './routing/table.ts'
import { toldTenant } from './told-tenant.ts'

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
  readonly limits?: Partial<TenantLimits>
  readonly metadata?: Readonly<Record<string, string>>
}

export type TenantRefusal =
  | RejectReason
  | 'bad_slug'
  | 'reserved_slug'
  | 'bad_domain'
  | 'unknown_plan'
  | 'password_length'
  | 'no_node'
  | 'same_node'
  | 'not_active'
  | 'not_suspended'
  | 'not_archived'
  | 'already_known'
  | 'history_not_found'

/** The decision stands, the node has not carried it out yet; the reconciler goes on trying. */
export class NodeOrderError extends AppError {
  readonly code = 'node_order_failed'
}

export interface TenantView {
  readonly tenant: Tenant
  readonly placement: PlacementRow | null
  /** The epoch on whose path its histories lie; null on stores that need no such paths. */
  readonly replicaEpoch: number | null
  /** How long every restore point stays, ms; null: as long as everybody's. */
  readonly keepEveryMs: number | null
  /** null before its use was noted for the first time. */
  readonly activity: TenantActivity | null
  /** null before the first drill. */
  readonly drill: DrillRow | null
}

export interface TenantServiceDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: NodeService
  readonly history: TenantHistory
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly timings: ControlPlaneTimings
  readonly config: Pick<ControlPlaneConfig, 'baseDomain' | 'publicUrl' | 'isCreateOnlyAtomic'>
  /** Called when a tenant begins or ends to move, beside the changes of its row. */
  readonly onRouteChange: (id: TenantId) => void
}

/** bcrypt reads no more, so longer ones would be cut (PocketBase refuses them too); and its least. */
const passwordBytesMax = 72
const passwordLengthMin = 8
const bcryptCost = 10
/** How long a new tenant waits for a node to register: after a start they come within a second. */
const nodeWaitMs = 5_000
const nodePollMs = 50
/** Tenants moved at once away from one node. */
const moveConcurrency = 8
/** A copy may take so long before a tenant is moved without one; a person waits for less than a drain does, ms. */
const copyMsOfMigration = 5_000
const copyMsOfDrain = 600_000
/** Copies follow one another until one finds little that came since, and takes no longer than this, ms. */
const copyMsGood = 500
const copiesMax = 4
const copyPollMsMin = 10
const copyPollMsMax = 500
const lossBoundMs = 5_000
/** An owner that is behind by more than this seems to have no store; a tenant that is open should stay open then. */
const storeOutMs = 5_000
const domainPattern = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/

export class TenantService {
  readonly #deps: TenantServiceDeps
  /** Creations and moves under way, so that reconciler and request do not do the same work twice. */
  readonly #creating = new Map<TenantId, Promise<string | null>>()
  readonly #moving = new Set<TenantId>()
  /** About to move, and still served where they are. */
  readonly #copying = new Set<TenantId>()
  #closed = false

  constructor(deps: TenantServiceDeps) {
    this.#deps = deps
  }

  isMoving(id: TenantId): boolean {
    return this.#moving.has(id)
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
  async create(input: CreateTenant): Promise<Result<TenantView & { readonly setupUrl: string | null }, TenantRefusal>> {
    const superuser = input.superuser ? await this.#hashed(input.superuser) : null
    if (superuser === 'password_length') return err(superuser)
    const prepared = await this.prepare(input)
    if (!prepared.ok) return err(prepared.error)
    const { place } = prepared.value
    const tenant: Tenant = { ...prepared.value.tenant, pendingSuperuser: superuser }
    const { propose } = this.#deps
    const outcome = await propose({ type: 'tenant.create', tenant, nodeId: place.nodeId, worker: place.worker })
    if (!outcome.ok) return err(outcome.error)
    const setupPath = await this.#finishCreation(tenant.id)
    await this.#renewStandbys(tenant.id).catch((error) => this.#unfinished('standbys', tenant.id, error))
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
    const place = await this.#waitForPlace(input.region ?? null)
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
      lossBoundMs: input.lossBoundMs ?? lossBoundMs,
      onStoreOutage: input.onStoreOutage ?? 'spool',
      limits: { ...limits, ...input.limits },
      metadata: {},
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      pendingSuperuser: null,
    }
    return ok({ tenant, place })
  }

  async update(reference: string, patch: UpdateTenant): Promise<Result<TenantView, TenantRefusal>> {
    const before = findTenant(this.#deps.state, reference)
    if (before === undefined) return err('not_found')
    const refusal = nameRefusal(patch.slug ?? before.slug, patch.domains ?? [])
    if (refusal !== null) return err(refusal)
    if (patch.plan !== undefined && plans[patch.plan] === undefined) return err('unknown_plan')
    const base = patch.plan === undefined ? before.limits : plans[patch.plan]!
    const outcome = await this.#deps.propose({
      type: 'tenant.update',
      id: before.id,
      slug: (patch.slug as Slug | undefined) ?? null,
      domains: patch.domains ?? null,
      status: patch.status ?? null,
      plan: patch.plan ?? null,
      ackMode: patch.ackMode ?? null,
      limits: patch.plan === undefined && patch.limits === undefined ? null : { ...base, ...patch.limits },
      metadata: patch.metadata ?? null,
      atMs: this.#deps.clock.now(),
    })
    if (!outcome.ok) return err(outcome.error)
    if (patch.lossBoundMs !== undefined || patch.onStoreOutage !== undefined) {
      const kept = await this.#deps.propose({
        type: 'tenant.durability',
        id: before.id,
        lossBoundMs: patch.lossBoundMs ?? null,
        onStoreOutage: patch.onStoreOutage ?? null,
        atMs: this.#deps.clock.now(),
      })
      if (!kept.ok) return err(kept.error)
    }
    if (patch.keepEveryMs !== undefined) {
      const kept = await this.#deps.propose({ type: 'tenant.retention', id: before.id, keepEveryMs: patch.keepEveryMs })
      if (!kept.ok) return err(kept.error)
    }
    const after = this.find(before.id)
    if (after === null) return err('not_found')
    await this.#tellNode(after)
    await this.#renewStandbys(before.id).catch((error) => this.#unfinished('standbys', before.id, error))
    return ok(this.find(before.id) ?? after)
  }

  /** Takes it offline and frees its names. Its objects stay. */
  async delete(reference: string): Promise<Result<null, TenantRefusal>> {
    const tenant = findTenant(this.#deps.state, reference)
    if (tenant === undefined) return err('not_found')
    const outcome = await this.#deps.propose({ type: 'tenant.delete', id: tenant.id, atMs: this.#deps.clock.now() })
    if (!outcome.ok) return err(outcome.error)
    await this.#releaseDeleted(tenant.id).catch((error) =>
      this.#unfinished('release of a deleted tenant', tenant.id, error),
    )
    return ok(null)
  }

  /** Moves a tenant: the old node ships and lets go, then the new one has it under the next epoch. */
  async migrate(reference: string, target: NodeId | null): Promise<Result<TenantView, TenantRefusal>> {
    const { state, nodes } = this.#deps
    const tenant = findTenant(state, reference)
    const placement = tenant && state.placements.get(tenant.id)
    if (tenant === undefined || placement === undefined) return err('not_found')
    if (tenant.status !== 'active' && tenant.status !== 'suspended') return err('not_active')
    if (state.operations.get(tenant.id) !== undefined) return err('operation_pending')
    if (target === placement.nodeId) return err('same_node')
    const candidates = nodes.candidates().filter(({ id }) => target === null || id === target)
    if (target !== null && candidates.length === 0)
      return err(state.nodes.get(target) === undefined ? 'node_not_found' : 'no_node')
    const wish = { region: target === null ? tenant.region : null, excluded: placement.nodeId }
    const place = choosePlace(candidates, wish)
    if (place === null) return err('no_node')
    const moved = await this.#move(tenant.id, placement, place, { copyMs: copyMsOfMigration })
    return moved.ok ? ok(this.find(tenant.id)!) : err(moved.error)
  }

  /** Takes over a tenant whose history lies in the object store and whose row does not lie here. */
  async adopt(reference: string): Promise<Result<TenantView, TenantRefusal>> {
    const { state, history, clock, propose } = this.#deps
    if (findTenant(state, reference) !== undefined) return err('already_known')
    const identity = await history.find(reference)
    if (identity === null) return err('history_not_found')
    if (state.tenants.get(identity.id) !== undefined) return err('already_known')
    const replicaEpoch = await history.replicaEpoch(identity.id)
    const epoch = ((await history.highestEpoch(identity.id, replicaEpoch)) + 1) as Epoch
    const place = await this.#waitForPlace(null)
    if (place === null) return err('no_node')
    const plan = identity.plan !== null && plans[identity.plan] !== undefined ? identity.plan : planDefault
    const nowMs = clock.now()
    const tenant: Tenant = {
      id: identity.id,
      slug: identity.slug as Slug,
      domains: identity.domains,
      status: 'active',
      owner: null,
      plan,
      region: null,
      ackMode: identity.ackMode ?? 'async',
      lossBoundMs,
      onStoreOutage: 'spool',
      limits: identity.limits ?? plans[plan]!,
      metadata: {},
      createdAtMs: identity.createdAtMs ?? nowMs,
      updatedAtMs: nowMs,
      pendingSuperuser: null,
    }
    if (replicaEpoch > 0 || !this.#deps.config.isCreateOnlyAtomic)
      await propose({ type: 'replica.begin', id: tenant.id, epoch: replicaEpoch })
    const outcome = await propose({ type: 'tenant.adopt', tenant, ...place, epoch })
    if (!outcome.ok) return err(outcome.error)
    if (identity.keepEveryMs !== null)
      await propose({ type: 'tenant.retention', id: tenant.id, keepEveryMs: identity.keepEveryMs })
    return ok(this.find(tenant.id)!)
  }

  /** Makes a superuser of the tenant or changes its password. */
  async upsertSuperuser(
    reference: string,
    input: { readonly email: string; readonly password: string },
  ): Promise<Result<{ readonly created: boolean }, TenantRefusal>> {
    const tenant = findTenant(this.#deps.state, reference)
    const placement = tenant && this.#deps.state.placements.get(tenant.id)
    if (tenant === undefined || placement === undefined) return err('not_found')
    if (tenant.status !== 'active') return err('not_active')
    const hashed = await this.#hashed(input)
    if (hashed === 'password_length') return err(hashed)
    const order = { type: 'superuser.upsert', tenantId: tenant.id, ...hashed } as const
    try {
      return ok(await this.#deps.orders.give<'superuser.upsert'>(placement.nodeId, order, this.#deps.timings.orderMs))
    } catch (cause) {
      throw new NodeOrderError(`node ${placement.nodeId} did not change the superuser`, { cause })
    }
  }

  /** The node met a history of a higher epoch than its own: give it one above. */
  async fenced(request: {
    readonly nodeId: NodeId
    readonly tenantId: TenantId
    readonly seenEpoch: Epoch
  }): Promise<void> {
    const placement = this.#deps.state.placements.get(request.tenantId)
    if (placement === undefined || placement.nodeId !== request.nodeId || placement.epoch > request.seenEpoch) return
    const { nodeId, worker, epoch } = placement
    await this.#deps.propose({
      type: 'tenant.place',
      id: request.tenantId,
      nodeId,
      worker,
      expected: epoch,
      seen: request.seenEpoch,
      standbys: standbysOf(placement),
      forget: false,
    })
  }

  /** An owner has asked all earlier standbys, so nobody has to any more. */
  async sealed(request: {
    readonly nodeId: NodeId
    readonly tenantId: TenantId
    readonly epoch: Epoch
  }): Promise<void> {
    const { tenantId: id, nodeId, epoch } = request
    const placement = this.#deps.state.placements.get(id)
    if (placement === undefined || placement.nodeId !== nodeId || placement.epoch !== epoch) return
    if (placement.standbySets.length > 1) await this.#deps.propose({ type: 'tenant.sealed', id, epoch })
  }

  /**
   * Opens a tenant whose standbys do not answer, without asking them: what they alone hold is lost. For an admin who
   * knows that they will not come back; the log says who it was.
   */
  async forceTakeover(reference: string, by: Admin): Promise<Result<TenantView, TenantRefusal>> {
    const { state, propose, nodes, log } = this.#deps
    const tenant = findTenant(state, reference)
    const placement = tenant && state.placements.get(tenant.id)
    if (tenant === undefined || placement === undefined) return err('not_found')
    if (tenant.status !== 'active' && tenant.status !== 'suspended') return err('not_active')
    const { tenantId: id, nodeId, worker, epoch, standbySets } = placement
    const isOwnerGone = nodes.stateOf(nodeId) === 'down'
    const place = isOwnerGone
      ? choosePlace(nodes.candidates(), { region: tenant.region, excluded: nodeId })
      : { nodeId, worker }
    if (place === null) return err('no_node')
    const standbys = this.#standbysFor(id, place.nodeId)
    const outcome = await propose({
      type: 'tenant.place',
      id,
      ...place,
      expected: epoch,
      seen: epoch,
      standbys,
      forget: true,
    })
    if (!outcome.ok) return err(outcome.error)
    const admin = `${by.id} ${by.email}`
    log.warn('takeover was forced, standbys were not asked', { tenant: id, admin, epoch, standbySets })
    const view = this.find(id)!
    await this.#tellNode(view)
    return ok(view)
  }

  /**
   * Before somebody reads the newest state: what only standbys hold of it goes into the history. Throws NodeOrderError when
   * they do not answer; a node that is down is not asked.
   */
  async askStandbys(id: TenantId): Promise<void> {
    const { state, nodes } = this.#deps
    const placement = state.placements.get(id)
    if (placement !== undefined && nodes.stateOf(placement.nodeId) !== 'down') await this.#askStandbys(placement)
  }

  /** One look at everything that is unfinished: creations, deletions, draining nodes, nodes that are down. */
  async reconcile(): Promise<void> {
    const { state, nodes } = this.#deps
    const work: (() => Promise<unknown>)[] = []
    for (const placement of state.placements.all()) {
      const tenant = state.tenants.get(placement.tenantId)
      if (tenant === undefined || this.#moving.has(tenant.id)) continue
      if (tenant.status !== 'deleted') await this.#beginReplica(tenant.id)
      const nodeState = nodes.stateOf(placement.nodeId)
      const mustLeave = nodeState === 'down' || nodes.isDraining(placement.nodeId)
      if (tenant.status === 'deleted') {
        if (nodeState !== 'down') work.push(() => this.#releaseDeleted(tenant.id))
      } else if (mustLeave) {
        work.push(() => this.#moveAway(tenant, placement, nodeState !== 'down'))
      } else if (tenant.status === 'active' && this.#lacksStandbys(tenant, placement)) {
        work.push(() => this.#renewStandbys(tenant.id).catch((error) => this.#shipFirst(error, placement)))
      } else if (tenant.status === 'created') {
        if (state.operations.get(tenant.id) === undefined) work.push(() => this.#finishCreation(tenant.id))
      }
    }
    const next = work.values()
    const run = async () => {
      for (const job of next) {
        if (this.#closed) return
        await job().catch((error) => this.#deps.log.warn('reconciliation failed, will be tried again', { error }))
      }
    }
    await Promise.all(Array.from({ length: Math.min(moveConcurrency, work.length) }, run))
  }

  close(): void {
    this.#closed = true
  }

  #view(tenant: Tenant): TenantView {
    const { placements, drills, activities, replicas, retentions } = this.#deps.state
    const { id } = tenant
    return {
      tenant,
      placement: placements.get(id) ?? null,
      drill: drills.get(id) ?? null,
      activity: activities.get(id) ?? null,
      replicaEpoch: replicas.get(id)?.epoch || null,
      keepEveryMs: retentions.get(id)?.keepEveryMs ?? null,
    }
  }

  #urlOf({ slug }: Tenant): string {
    const { scheme, port } = this.#deps.config.publicUrl
    return `${scheme}://${slug}.${this.#deps.config.baseDomain}${port === null ? '' : `:${port}`}`
  }

  #unfinished(what: string, tenant: TenantId, error: unknown): void {
    this.#deps.log.warn('order failed, will be tried again', { what, tenant, error: errorMessage(error) })
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
    const { state, orders, propose, clock, timings, log } = this.#deps
    const tenant = state.tenants.get(id)
    const placement = state.placements.get(id)
    if (tenant?.status !== 'created' || placement === undefined) return null
    const startedMs = clock.monotonic()
    await this.#beginReplica(id)
    const order = {
      type: 'tenant.create',
      tenant: toldTenant(state, tenant),
      placement: placementOf(state, placement),
      superuser: tenant.pendingSuperuser,
    } as const
    const reply = await orders.give<'tenant.create'>(placement.nodeId, order, timings.orderMs).catch((cause) => {
      throw new NodeOrderError(`node ${placement.nodeId} did not make tenant ${id}`, { cause })
    })
    const outcome = await propose({ type: 'tenant.activate', id, atMs: clock.now() })
    if (outcome.ok)
      log.info('tenant created', { tenant: id, node: placement.nodeId, ms: clock.monotonic() - startedMs })
    return reply.setupPath
  }

  async #releaseDeleted(id: TenantId): Promise<void> {
    const { state, orders, propose, timings } = this.#deps
    const placement = state.placements.get(id)
    if (placement === undefined) return
    if (state.nodes.get(placement.nodeId) !== undefined)
      await orders
        .give<'tenant.release'>(
          placement.nodeId,
          { type: 'tenant.release', tenantId: id, epoch: placement.epoch },
          timings.orderMs,
        )
        .catch((error) => {
          if (errorCode(error) !== 'tail_not_shipped') throw error // of a deleted tenant nobody wants the rest
        })
    await propose({ type: 'placement.remove', id })
  }

  #standbysFor(id: TenantId, owner: NodeId): readonly NodeId[] {
    const { state, nodes } = this.#deps
    const tenant = state.tenants.get(id)
    const placement = state.placements.get(id)
    if (tenant === undefined || !needsStandbys(tenant.ackMode)) return []
    const current = placement === undefined ? [] : standbysOf(placement).filter((node) => this.#standsBy(node))
    const region = state.nodes.get(owner)?.region ?? ''
    return chooseStandbys(nodes.candidates(), { id: owner, region }, current)
  }

  #standsBy(node: NodeId): boolean {
    return this.#deps.nodes.stateOf(node) !== 'down' && !this.#deps.nodes.isDraining(node)
  }

  /** Whether other standbys are needed and can be had. A new set takes effect with a new epoch, which needs the store. */
  #lacksStandbys(tenant: Tenant, placement: PlacementRow): boolean {
    const current = standbysOf(placement)
    const isRight = needsStandbys(tenant.ackMode)
      ? current.length > 0 && current.every((node) => this.#standsBy(node))
      : current.length === 0
    if (isRight) return false
    const lagMs = this.#deps.nodes.view(placement.nodeId)?.load?.replicationLagMsMax ?? 0
    const next = this.#standbysFor(tenant.id, placement.nodeId)
    return lagMs <= storeOutMs && !Bun.deepEquals(next, current)
  }

  /**
   * Under a new epoch, so that a successor knows by the tail's epoch whom to ask. The owner lets go first, with everything
   * in the store: then nobody has to ask the standbys that are gone.
   */
  async #renewStandbys(id: TenantId): Promise<void> {
    const { state, propose, log, onRouteChange } = this.#deps
    const tenant = state.tenants.get(id)
    const placement = state.placements.get(id)
    if (tenant === undefined || placement === undefined || !this.#lacksStandbys(tenant, placement)) return
    if (this.#moving.has(id) || this.#copying.has(id)) return
    const { nodeId, worker, epoch } = placement
    const standbys = this.#standbysFor(id, nodeId)
    const forget = await this.#askStandbys(placement)
    if (this.#moving.has(id) || this.#copying.has(id)) return
    this.#moving.add(id)
    onRouteChange(id)
    try {
      await this.#release(placement)
      const place = { nodeId, worker, expected: epoch, seen: epoch, standbys, forget } as const
      const outcome = await propose({ type: 'tenant.place', id, ...place })
      if (outcome.ok) log.info('standbys changed', { tenant: id, owner: nodeId, standbys })
    } finally {
      this.#moving.delete(id)
      onRouteChange(id)
    }
  }

  /**
   * Has the owner open a tenant whose standbys may hold what the store does not: it asks them and seals. Letting go of what it
   * never opened, it could not say that nobody has to ask them any more.
   *
   * @returns false for a tenant that may not be opened: whoever opens it next asks all of them.
   */
  async #askStandbys({ tenantId, nodeId, epoch, standbySets }: PlacementRow): Promise<boolean> {
    const { state, orders, timings } = this.#deps
    if (standbySets.every(({ nodeIds }) => nodeIds.length === 0)) return true
    if (state.tenants.get(tenantId)?.status !== 'active') return false
    await orders
      .give<'tenant.open'>(nodeId, { type: 'tenant.open', tenantId, epoch }, timings.orderMs)
      .catch((cause) => {
        throw new NodeOrderError(`node ${nodeId} did not ask the standbys of tenant ${tenantId}`, { cause })
      })
    return true
  }

  /** Resolves once the owner has closed the tenant with everything in the store, and will not open it under this epoch. */
  async #release({ tenantId, nodeId, epoch }: PlacementRow): Promise<void> {
    const { orders, timings } = this.#deps
    await orders
      .give<'tenant.release'>(nodeId, { type: 'tenant.release', tenantId, epoch }, timings.orderMs)
      .catch((cause) => {
        throw new NodeOrderError(`node ${nodeId} did not let go of tenant ${tenantId}`, { cause })
      })
  }

  /** From a node that is down without asking it: the next slot in the object store is what makes this safe. */
  async #moveAway(tenant: Tenant, placement: PlacementRow, isAlive: boolean): Promise<void> {
    const wish = { region: tenant.region, excluded: placement.nodeId }
    const place = choosePlace(this.#deps.nodes.candidates(), wish)
    if (place === null) return // nobody else: the same node resumes when it returns
    const copyMs = isAlive && tenant.status !== 'created' ? copyMsOfDrain : null
    await this.#move(tenant.id, placement, place, { copyMs }).catch((error) => this.#shipFirst(error, placement))
  }

  /** A node that holds commits of a crash or an outage lets go once they are shipped, which opening the tenant does. */
  async #shipFirst(error: unknown, { tenantId, nodeId, epoch }: PlacementRow): Promise<never> {
    const { orders, timings } = this.#deps
    if (error instanceof NodeOrderError && errorCode(error.cause) === 'tail_not_shipped')
      await orders
        .give<'tenant.open'>(nodeId, { type: 'tenant.open', tenantId, epoch }, timings.orderMs)
        .catch((cause) => this.#unfinished('shipping what a crash left', tenantId, cause))
    throw error // the next look finds it shipped
  }

  async #move(
    id: TenantId,
    from: PlacementRow,
    to: Choice,
    /** null: the old node is not asked to let go. Else so long may a copy take before it is. */
    { copyMs }: { readonly copyMs: number | null },
  ): Promise<Result<null, RejectReason>> {
    const { propose, clock, log, onRouteChange } = this.#deps
    if (this.#moving.has(id) || this.#copying.has(id)) throw new OverloadedError(`tenant ${id} is moving already`)
    if (copyMs !== null) await this.#copyAhead(id, to, copyMs)
    const isReleased = copyMs !== null
    const forget = isReleased && (await this.#askStandbys(from))
    if (this.#moving.has(id)) throw new OverloadedError(`tenant ${id} is moving already`)
    const startedMs = clock.monotonic()
    this.#moving.add(id)
    onRouteChange(id) // gateways hold its requests from here on
    try {
      if (isReleased) await this.#release(from)
      const outcome = await propose({
        type: 'tenant.place',
        id,
        ...to,
        expected: from.epoch,
        seen: from.epoch,
        standbys: this.#standbysFor(id, to.nodeId),
        forget,
      })
      if (outcome.ok)
        log.info('tenant moved', { tenant: id, from: from.nodeId, to: to.nodeId, ms: clock.monotonic() - startedMs })
      return outcome
    } finally {
      this.#moving.delete(id)
      onRouteChange(id)
    }
  }

  /**
   * Lets the new node copy the tenant while the old one still serves it, so that the pause does not depend on its size. Only
   * a kindness: whatever goes wrong, the new node restores what it lacks.
   */
  async #copyAhead(id: TenantId, to: Choice, deadlineMs: number): Promise<void> {
    const { clock, log, config } = this.#deps
    if (!config.isCreateOnlyAtomic) return // each owner starts a history of its own there
    const endsAtMs = clock.monotonic() + deadlineMs
    this.#copying.add(id)
    try {
      for (let copy = 0; copy < copiesMax; copy++) {
        const startedMs = clock.monotonic()
        await this.#copyOnce(id, to, endsAtMs)
        if (clock.monotonic() - startedMs < copyMsGood) return
      }
    } catch (error) {
      log.warn('tenant moves without a copy', { tenant: id, to: to.nodeId, error: errorMessage(error) })
    } finally {
      this.#copying.delete(id)
    }
  }

  async #copyOnce(id: TenantId, { nodeId, worker }: Choice, endsAtMs: number): Promise<void> {
    const { orders, clock, rng, timings } = this.#deps
    const job = { type: 'warm', worker } as const
    const order = { type: 'job.run', jobId: recordId(rng), tenantId: id, job } as const
    for (let pauseMs = copyPollMsMin; ; pauseMs = Math.min(copyPollMsMax, 2 * pauseMs)) {
      const answer = await orders.give<'job.run'>(nodeId, order, timings.orderMs)
      if (answer.state === 'done') return
      if (answer.state === 'failed') throw new NodeOrderError(`${answer.code}: ${answer.message}`)
      if (this.#closed || clock.monotonic() >= endsAtMs) throw new NodeOrderError('the copy takes too long')
      await sleep(clock, pauseMs)
    }
  }

  /** The node hears of it anyway, from the broadcast; the order makes it certain when the node answers. */
  async #tellNode({ tenant, placement }: TenantView): Promise<void> {
    if (placement === null || this.#deps.nodes.stateOf(placement.nodeId) === 'down') return
    const told = placementOf(this.#deps.state, placement)
    const order = { type: 'tenant.update', tenant: toldTenant(this.#deps.state, tenant), placement: told } as const
    await this.#deps.orders
      .give<'tenant.update'>(placement.nodeId, order, this.#deps.timings.orderMs)
      .catch((error) => this.#unfinished('update', tenant.id, error))
  }

  async #waitForPlace(region: string | null): Promise<Choice | null> {
    const { clock, nodes } = this.#deps
    const endsAtMs = clock.monotonic() + nodeWaitMs
    for (;;) {
      const place = choosePlace(nodes.candidates(), { region })
      if (place !== null || this.#closed || clock.monotonic() >= endsAtMs) return place
      await sleep(clock, nodePollMs)
    }
  }

  /** Off the event loop; the clear text goes no further. */
  async #hashed(input: { readonly email: string; readonly password: string }): Promise<Superuser | 'password_length'> {
    const { email, password } = input
    if (password.length < passwordLengthMin || Buffer.byteLength(password) > passwordBytesMax) return 'password_length'
    return { email, passwordHash: await Bun.password.hash(password, { algorithm: 'bcrypt', cost: bcryptCost }) }
  }
}

function nameRefusal(slug: string, domains: readonly string[]): TenantRefusal | null {
  if (!isSlug(slug)) return 'bad_slug'
  if (reservedSlugs.has(slug)) return 'reserved_slug'
  return domains.every((domain) => domainPattern.test(domain)) ? null : 'bad_domain'
}
