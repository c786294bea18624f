// Who owns a tenant, and how that changes: planned moves, moves away from nodes that are down or leaving, owners that were
// overtaken, takeovers that an admin forces. Each change is one entry in the log that raises the epoch.

import type { Epoch, NodeId, TenantId } from '../../../lib/brand.ts'
import { type Clock, sleep } from '../../../lib/clock.ts'
import { errorMessage, OverloadedError } from '../../../lib/errors.ts'
import { recordId } from '../../../lib/id.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import { err, ok, type Result } from '../../../lib/result.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { ControlPlaneConfig, ControlPlaneTimings } from '../../config.ts'
import type { AuditFacts } from '../../state/audit.ts'
import type { RejectReason } from '../../state/command.ts'
import { type PlacementRow, standbysOf } from '../../state/placements.ts'
import type { StateReader } from '../../state/state.ts'
import type { Tenant } from '../../state/tenants.ts'
import type { Actor, AuditLog } from '../audit.ts'
import { TenantJobError } from '../jobs.ts'
import type { NodeService } from '../nodes.ts'
import { isTailKept, NodeOrderError, type Orders } from '../orders.ts'
import type { Propose } from '../proposer.ts'
import type { TenantRefusal } from '../refusals.ts'
import { findTenant } from '../routing/table.ts'
import type { TenantOrders } from '../tenant-orders.ts'
import type { PlannedChanges } from './planned-changes.ts'
import type { StandbyKeeper } from './standby-keeper.ts'
import { type Choice, choosePlace } from './strategy.ts'
import type { Transit } from './transit.ts'
import type { WarmKeeper } from './warm-keeper.ts'

export interface MovesDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf' | 'candidates'>
  readonly tenantOrders: TenantOrders
  readonly standbys: Pick<StandbyKeeper, 'chooseFor' | 'askBeforeLettingGo'>
  readonly warm: Pick<WarmKeeper, 'successorOf'>
  readonly transit: Transit
  readonly changes: Pick<PlannedChanges, 'begin'>
  readonly audit: AuditLog
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly timings: ControlPlaneTimings
  readonly config: Pick<ControlPlaneConfig, 'isCreateOnlyAtomic'>
}

/** How long a new tenant waits for a node to register: after a start they come within a second. */
const nodeWaitMs = 5_000
const nodePollMs = 50
/** A copy may take so long before a tenant is moved without one; a person waits for less than a drain does, ms. */
const copyMsOfMigration = 5_000
const copyMsOfDrain = 600_000
/** Copies follow one another until one finds little that came since, and takes no longer than this, ms. */
const copyMsGood = 500
const copiesMax = 4
/** A node that had no room for a tenant is not tried again for it for so long, ms. */
const noRoomMs = 60_000
const copyPollMsMin = 10
const copyPollMsMax = 500

export class TenantMoves {
  readonly #deps: MovesDeps
  /** `tenant node`: where there was no room for whom, and until when that counts, monotonic ms; the oldest first. */
  readonly #noRoomUntilMs = new Map<string, number>()
  #closed = false

  constructor(deps: MovesDeps) {
    this.#deps = deps
  }

  close(): void {
    this.#closed = true
  }

  /** Moves a tenant: the old node ships and lets go, then the new one has it under the next epoch. */
  async migrate(reference: string, target: NodeId | null, by: Actor): Promise<Result<null, TenantRefusal>> {
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
    const copy = this.#deps.warm.successorOf(placement)
    const isWanted = copy !== null && candidates.some((each) => each.id === copy.nodeId)
    const place = isWanted ? copy : choosePlace(candidates, wish)
    if (place === null) return err('no_node')
    const { id, slug } = tenant
    const details = { from: placement.nodeId, to: place.nodeId }
    const record = this.#deps.audit.facts(by, { action: 'tenant.migrate', target: id, targetName: slug, details })
    return this.#move(id, placement, place, { copyMs: copyMsOfMigration, record })
  }

  /** From a node that is down without asking it: the next slot in the object store is what makes this safe. */
  async moveAway(tenant: Tenant, placement: PlacementRow, isAlive: boolean): Promise<void> {
    const wish = { region: tenant.region, excluded: placement.nodeId }
    const { clock, nodes, warm } = this.#deps
    const nowMs = clock.monotonic()
    for (const [key, untilMs] of this.#noRoomUntilMs) {
      if (untilMs > nowMs) break
      this.#noRoomUntilMs.delete(key)
    }
    const keyOf = (node: NodeId) => `${tenant.id} ${node}`
    // Of a node that is down nobody waits for room elsewhere.
    const mayGo = (node: NodeId) => !isAlive || !this.#noRoomUntilMs.has(keyOf(node))
    const successor = warm.successorOf(placement)
    const others = nodes.candidates().filter(({ id }) => mayGo(id))
    const place = successor !== null && mayGo(successor.nodeId) ? successor : choosePlace(others, wish)
    if (place === null) return // nobody else: the same node resumes when it returns
    const copyMs = isAlive && tenant.status !== 'created' ? copyMsOfDrain : null
    const moved = await this.#move(tenant.id, placement, place, { copyMs, record: null }).catch((error) =>
      this.shipFirst(error, placement),
    )
    // It stays, and the next look finds another node.
    if (!moved.ok && moved.error === 'no_room') this.#noRoomUntilMs.set(keyOf(place.nodeId), nowMs + noRoomMs)
  }

  /** A node that holds commits of a crash or an outage lets go once they are shipped, which opening the tenant does. */
  async shipFirst(error: unknown, placement: PlacementRow): Promise<never> {
    const { tenantOrders } = this.#deps
    if (isTailKept(error))
      await tenantOrders
        .open(placement)
        .catch((cause) => tenantOrders.unfinished('shipping what a crash left', placement.tenantId, cause))
    throw error // the next look finds it shipped
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

  /**
   * Opens a tenant whose standbys do not answer, without asking them: what they alone hold is lost. For an admin who
   * knows that they will not come back; the log says who it was.
   */
  async forceTakeover(reference: string, by: Actor): Promise<Result<null, TenantRefusal>> {
    const { state, propose, nodes, standbys: keeper, warm, tenantOrders, audit, log } = this.#deps
    const tenant = findTenant(state, reference)
    const placement = tenant && state.placements.get(tenant.id)
    if (tenant === undefined || placement === undefined) return err('not_found')
    if (tenant.status !== 'active' && tenant.status !== 'suspended') return err('not_active')
    const { tenantId: id, nodeId, worker, epoch, standbySets } = placement
    const isOwnerGone = nodes.stateOf(nodeId) === 'down'
    const place = isOwnerGone
      ? (warm.successorOf(placement) ?? choosePlace(nodes.candidates(), { region: tenant.region, excluded: nodeId }))
      : { nodeId, worker }
    if (place === null) return err('no_node')
    const standbys = keeper.chooseFor(id, place.nodeId)
    const details = { epoch, unasked: standbySets.map(({ nodeIds }) => nodeIds.join('+')).join(' '), to: place.nodeId }
    const outcome = await propose(
      { type: 'tenant.place', id, ...place, expected: epoch, seen: epoch, standbys, forget: true },
      audit.facts(by, { action: 'tenant.force-takeover', target: id, targetName: tenant.slug, details }),
    )
    if (!outcome.ok) return err(outcome.error)
    const admin = by.name
    log.warn('takeover was forced, standbys were not asked', { tenant: id, admin, epoch, standbySets })
    await tenantOrders.tell(id)
    return ok(null)
  }

  /** A place for a new tenant; waits a while for a node to register. */
  async waitForPlace(region: string | null): Promise<Choice | null> {
    const { clock, nodes } = this.#deps
    const endsAtMs = clock.monotonic() + nodeWaitMs
    for (;;) {
      const place = choosePlace(nodes.candidates(), { region })
      if (place !== null || this.#closed || clock.monotonic() >= endsAtMs) return place
      await sleep(clock, nodePollMs)
    }
  }

  async #move(
    id: TenantId,
    from: PlacementRow,
    to: Choice,
    /** null: the old node is not asked to let go. Else so long may a copy take before it is. */
    { copyMs, record }: { readonly copyMs: number | null; readonly record: AuditFacts | null },
  ): Promise<Result<null, RejectReason | 'no_room'>> {
    const { propose, standbys, transit, changes, log } = this.#deps
    if (transit.isBusy(id)) throw new OverloadedError(`tenant ${id} is moving already`)
    const chosen = () => standbys.chooseFor(id, to.nodeId)
    const { epoch } = from
    if (copyMs === null) {
      // Nobody is asked to let go.
      const place = { ...to, expected: epoch, seen: epoch, standbys: chosen(), forget: false }
      const outcome = await transit.whileMoving(id, () => propose({ type: 'tenant.place', id, ...place }, record))
      if (outcome.ok) log.info('tenant moved', { tenant: id, from: from.nodeId, to: to.nodeId })
      return outcome
    }
    if ((await this.#copyAhead(id, to, copyMs)) === 'no_room') return err('no_room')
    const forget = await standbys.askBeforeLettingGo(from)
    return changes.begin(from, { tenantId: id, epoch, ...to, standbys: chosen(), forget, audit: record })
  }

  /**
   * Lets the new node copy the tenant while the old one still serves it, so that the pause does not depend on its size. Only
   * a kindness: whatever goes wrong, the new node restores what it lacks. But a node without room for it could not: then the
   * tenant stays.
   */
  async #copyAhead(id: TenantId, to: Choice, deadlineMs: number): Promise<'no_room' | null> {
    const { transit, clock, log, config } = this.#deps
    if (!config.isCreateOnlyAtomic) return null // each owner starts a history of its own there
    const endsAtMs = clock.monotonic() + deadlineMs
    return transit.whileCopying(id, async () => {
      for (let copy = 0; copy < copiesMax; copy++) {
        const startedMs = clock.monotonic()
        try {
          await this.#copyOnce(id, to, endsAtMs)
        } catch (error) {
          const hasRoom = !(error instanceof TenantJobError && error.code === 'ENOSPC')
          const facts = { tenant: id, to: to.nodeId, error: errorMessage(error) }
          log.warn(hasRoom ? 'tenant moves without a copy' : 'tenant stays: no room on the other node', facts)
          return hasRoom ? null : 'no_room'
        }
        if (clock.monotonic() - startedMs < copyMsGood) break
      }
      return null
    })
  }

  async #copyOnce(id: TenantId, { nodeId, worker }: Choice, endsAtMs: number): Promise<void> {
    const { orders, clock, rng, timings } = this.#deps
    const job = { type: 'warm', worker } as const
    const order = { type: 'job.run', jobId: recordId(rng), tenantId: id, job } as const
    for (let pauseMs = copyPollMsMin; ; pauseMs = Math.min(copyPollMsMax, 2 * pauseMs)) {
      const answer = await orders.give<'job.run'>(nodeId, order, timings.orderMs)
      if (answer.state === 'done') return
      if (answer.state === 'failed') throw new TenantJobError(answer.code, answer.message)
      if (this.#closed || clock.monotonic() >= endsAtMs) {
        // Opening the tenant there would wait for it, and it is of no use to anybody else.
        const stop = { type: 'job.stop', jobId: order.jobId, tenantId: id } as const
        await orders.give<'job.stop'>(nodeId, stop, timings.orderMs)
        throw new NodeOrderError('the copy takes too long')
      }
      await sleep(clock, pauseMs)
    }
  }
}
