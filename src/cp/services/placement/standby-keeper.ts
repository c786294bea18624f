// Which nodes stand by for each tenant: chosen when its owner changes, renewed when one of them goes, asked before somebody
// else reads or opens what they may alone hold.

import { needsStandbys } from '../../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../../lib/brand.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import { type PlacementRow, standbysOf } from '../../state/placements.ts'
import type { StateReader } from '../../state/state.ts'
import type { Tenant } from '../../state/tenants.ts'
import type { NodeService } from '../nodes.ts'
import type { Propose } from '../proposer.ts'
import type { TenantOrders } from '../tenant-orders.ts'
import type { PlannedChanges } from './planned-changes.ts'
import { chooseStandbys } from './standbys.ts'
import type { Transit } from './transit.ts'

export interface StandbyKeeperDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly nodes: Pick<NodeService, 'stateOf' | 'isDraining' | 'candidates' | 'view'>
  readonly tenantOrders: TenantOrders
  readonly transit: Transit
  readonly changes: Pick<PlannedChanges, 'begin'>
  readonly log: Logger
}

/** An owner that is behind by more than this seems to have no store; a tenant that is open should stay open then. */
const storeOutMs = 5_000

export class StandbyKeeper {
  readonly #deps: StandbyKeeperDeps

  constructor(deps: StandbyKeeperDeps) {
    this.#deps = deps
  }

  /** For `owner` as owner; none for a tenant whose mode wants none. */
  chooseFor(id: TenantId, owner: NodeId): readonly NodeId[] {
    const { state, nodes } = this.#deps
    const tenant = state.tenants.get(id)
    const placement = state.placements.get(id)
    if (tenant === undefined || !needsStandbys(tenant.ackMode)) return []
    const current = placement === undefined ? [] : standbysOf(placement).filter((node) => this.#standsBy(node))
    const region = state.nodes.get(owner)?.region ?? ''
    return chooseStandbys(nodes.candidates(), { id: owner, region }, current)
  }

  /** Whether other standbys are needed and can be had. A new set takes effect with a new epoch, which needs the store. */
  lacks(tenant: Tenant, placement: PlacementRow): boolean {
    const current = standbysOf(placement)
    const isRight = needsStandbys(tenant.ackMode)
      ? current.length > 0 && current.every((node) => this.#standsBy(node))
      : current.length === 0
    if (isRight) return false
    const lagMs = this.#deps.nodes.view(placement.nodeId)?.load?.replicationLagMsMax ?? 0
    const next = this.chooseFor(tenant.id, placement.nodeId)
    return lagMs <= storeOutMs && !Bun.deepEquals(next, current)
  }

  /**
   * Under a new epoch, so that a successor knows by the tail's epoch whom to ask. The owner lets go first, with everything
   * in the store: then nobody has to ask the standbys that are gone.
   */
  async renew(id: TenantId): Promise<void> {
    const { state, changes, transit, log } = this.#deps
    const tenant = state.tenants.get(id)
    const placement = state.placements.get(id)
    if (tenant === undefined || placement === undefined || !this.lacks(tenant, placement)) return
    if (transit.isBusy(id)) return
    const { nodeId, worker, epoch } = placement
    const standbys = this.chooseFor(id, nodeId)
    const forget = await this.askBeforeLettingGo(placement)
    if (transit.isBusy(id)) return
    const outcome = await changes.begin(placement, {
      tenantId: id,
      epoch,
      nodeId,
      worker,
      standbys,
      forget,
      audit: null,
    })
    if (outcome.ok) log.info('standbys changed', { tenant: id, owner: nodeId, standbys })
  }

  /**
   * Has the owner open a tenant whose standbys may hold what the store does not: it asks them and seals. Letting go of what it
   * never opened, it could not say that nobody has to ask them any more.
   *
   * @returns false for a tenant that may not be opened: whoever opens it next asks all of them.
   */
  async askBeforeLettingGo(placement: PlacementRow): Promise<boolean> {
    const { state, tenantOrders } = this.#deps
    if (placement.standbySets.every(({ nodeIds }) => nodeIds.length === 0)) return true
    if (state.tenants.get(placement.tenantId)?.status !== 'active') return false
    await tenantOrders.open(placement)
    return true
  }

  /**
   * Before somebody reads the newest state: what only standbys hold of it goes into the history. Throws NodeOrderError when
   * they do not answer; a node that is down is not asked.
   */
  async ask(id: TenantId): Promise<void> {
    const { state, nodes } = this.#deps
    const placement = state.placements.get(id)
    if (placement !== undefined && nodes.stateOf(placement.nodeId) !== 'down') await this.askBeforeLettingGo(placement)
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

  #standsBy(node: NodeId): boolean {
    return this.#deps.nodes.stateOf(node) !== 'down' && !this.#deps.nodes.isDraining(node)
  }
}
