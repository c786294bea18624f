// Which second node keeps a tenant warm: chosen when an admin wishes it, anew when that node goes or becomes the owner, and
// the first choice when the tenant moves. Only a kindness: safety and completeness of a takeover do not depend on it.

import { type PlacementRow, standbysOf } from '../../state/placements.ts'
import type { StateReader } from '../../state/state.ts'
import type { Tenant } from '../../state/tenants.ts'
import type { WarmPlace } from '../../state/warm-standbys.ts'
import type { NodeService } from '../nodes.ts'
import type { Propose } from '../proposer.ts'
import type { TenantOrders } from '../tenant-orders.ts'
import { choosePlace } from './strategy.ts'

export interface WarmKeeperDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly nodes: Pick<NodeService, 'candidates' | 'stateOf' | 'isDraining'>
  readonly tenantOrders: Pick<TenantOrders, 'tell'>
}

export class WarmKeeper {
  readonly #deps: WarmKeeperDeps

  constructor(deps: WarmKeeperDeps) {
    this.#deps = deps
  }

  /** The warm copy that may take the tenant over now; null where there is none. */
  successorOf({ tenantId, nodeId }: PlacementRow): WarmPlace | null {
    const place = this.#deps.state.warmStandbys.get(tenantId)?.place ?? null
    return place !== null && place.nodeId !== nodeId && this.#mayTake(place) ? place : null
  }

  /** Whether another node should keep the tenant warm. */
  lacks(tenant: Tenant, placement: PlacementRow): boolean {
    const row = this.#deps.state.warmStandbys.get(tenant.id)
    if (row === undefined || this.#stays(row.place, placement)) return false
    return row.place !== null || this.#choose(tenant, placement) !== null
  }

  /** Chooses a node, where one is lacking, and tells the owner. */
  async renew(tenant: Tenant, placement: PlacementRow): Promise<void> {
    if (!this.lacks(tenant, placement)) return
    const { propose, tenantOrders } = this.#deps
    const warm = { place: this.#choose(tenant, placement) }
    const outcome = await propose({ type: 'tenant.warm', id: tenant.id, warm })
    if (outcome.ok) await tenantOrders.tell(tenant.id)
  }

  /** What to decide when an admin wishes it, or no longer does; null where that is so already. */
  wishOf(tenant: Tenant, isWanted: boolean): { readonly warm: { readonly place: WarmPlace | null } | null } | null {
    const { state } = this.#deps
    if (isWanted === (state.warmStandbys.get(tenant.id) !== undefined)) return null
    const placement = state.placements.get(tenant.id)
    const place = placement === undefined ? null : this.#choose(tenant, placement)
    return { warm: isWanted ? { place } : null }
  }

  /** A standby that holds its last commits anyway, else whoever would get the tenant now; null: there is nobody. */
  #choose({ region }: Tenant, placement: PlacementRow): WarmPlace | null {
    const candidates = this.#deps.nodes.candidates()
    const wish = { region, excluded: placement.nodeId }
    const standbys = standbysOf(placement)
    const among = candidates.filter(({ id }) => standbys.includes(id))
    return choosePlace(among, wish) ?? choosePlace(candidates, wish)
  }

  /** A copy is not made anew for a silence of a second, nor because this process has just begun to listen. */
  #stays(place: WarmPlace | null, owner: PlacementRow): boolean {
    const { nodes } = this.#deps
    if (place === null || place.nodeId === owner.nodeId) return false
    return nodes.stateOf(place.nodeId) !== 'down' && !nodes.isDraining(place.nodeId)
  }

  #mayTake({ nodeId }: WarmPlace): boolean {
    return this.#deps.nodes.candidates().some(({ id }) => id === nodeId)
  }
}
