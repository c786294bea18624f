// What one tenant's node is told about it. The decision is in the log before; every order may be repeated.

import type { NodeId, TenantId } from '../../lib/brand.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { ControlPlaneTimings } from '../config.ts'
import type { PlacementRow } from '../state/placements.ts'
import type { StateReader } from '../state/state.ts'
import type { Superuser } from '../state/tenants.ts'
import type { NodeService } from './nodes.ts'
import { NodeOrderError, type Orders } from './orders.ts'
import { placementOf } from './placement/standbys.ts'
import { toldTenant } from './told-tenant.ts'

export interface TenantOrdersDeps {
  readonly state: StateReader
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf'>
  readonly timings: ControlPlaneTimings
  readonly log: Logger
}

/** Rejects with NodeOrderError, whose cause is what the node or the way to it failed with. */
export class TenantOrders {
  readonly #deps: TenantOrdersDeps
  /**
   * Tenants of whose last change the owner was not told, as it did not answer or was down. Only in memory: an owner that
   * starts anew asks, and a control plane that does leaves what it could not tell to the tenant's next opening.
   */
  readonly #untold = new Set<TenantId>()
  #telling: Promise<void> | null = null
  #closed = false

  constructor(deps: TenantOrdersDeps) {
    this.#deps = deps
  }

  /** Makes the databases and slot 1 of each. Resolves with the path of the one-time link, when one was made. */
  async create(placement: PlacementRow): Promise<string | null> {
    const { state, orders, timings } = this.#deps
    const { tenantId, nodeId } = placement
    const tenant = state.tenants.get(tenantId)!
    const order = {
      type: 'tenant.create',
      tenant: toldTenant(state, tenant),
      placement: placementOf(state, placement),
      superuser: tenant.pendingSuperuser,
    } as const
    const reply = await orders
      .give<'tenant.create'>(nodeId, order, timings.orderMs)
      .catch(failed(`node ${nodeId} did not make tenant ${tenantId}`))
    return reply.setupPath
  }

  /** Resolves once the owner has closed the tenant with everything in the store, and will not open it under this epoch. */
  async release({ tenantId, nodeId, epoch }: PlacementRow): Promise<void> {
    const { orders, timings } = this.#deps
    await orders
      .give<'tenant.release'>(nodeId, { type: 'tenant.release', tenantId, epoch }, timings.orderMs)
      .catch(failed(`node ${nodeId} did not let go of tenant ${tenantId}`))
  }

  async open({ tenantId, nodeId, epoch }: PlacementRow): Promise<void> {
    const { orders, timings } = this.#deps
    await orders
      .give<'tenant.open'>(nodeId, { type: 'tenant.open', tenantId, epoch }, timings.orderMs)
      .catch(failed(`node ${nodeId} did not open tenant ${tenantId}`))
  }

  upsertSuperuser({ tenantId, nodeId }: PlacementRow, superuser: Superuser): Promise<{ readonly created: boolean }> {
    const { orders, timings } = this.#deps
    return orders
      .give<'superuser.upsert'>(nodeId, { type: 'superuser.upsert', tenantId, ...superuser }, timings.orderMs)
      .catch(failed(`node ${nodeId} did not change the superuser`))
  }

  /** Begins to tell again who has not heard, unless that is under way: nobody waits for a node that does not answer. */
  tellAgain(): void {
    if (this.#untold.size === 0 || this.#closed) return
    this.#telling ??= this.#tellUntold().finally(() => {
      this.#telling = null
    })
  }

  /** Resolves once nobody is told any more; who gives the orders is closed before. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#telling
  }

  async #tellUntold(): Promise<void> {
    const silent = new Set<NodeId>()
    for (const id of [...this.#untold]) {
      const nodeId = this.#deps.state.placements.get(id)?.nodeId
      if (this.#closed) return
      if (nodeId !== undefined && silent.has(nodeId)) continue
      await this.tell(id)
      if (nodeId !== undefined && this.#untold.has(id)) silent.add(nodeId)
    }
  }

  /** Tells the owner how the tenant is now; when it does not hear, it is told again later. Never rejects. */
  async tell(id: TenantId): Promise<void> {
    const { state, nodes, orders, timings } = this.#deps
    const [tenant, placement] = [state.tenants.get(id), state.placements.get(id)]
    this.#untold.delete(id)
    if (tenant === undefined || tenant.status === 'deleted' || placement === undefined) return
    if (nodes.stateOf(placement.nodeId) === 'down') {
      this.#untold.add(id)
      return
    }
    const told = placementOf(state, placement)
    const order = { type: 'tenant.update', tenant: toldTenant(state, tenant), placement: told } as const
    await orders.give<'tenant.update'>(placement.nodeId, order, timings.orderMs).catch((error) => {
      this.#untold.add(id)
      this.unfinished('update', id, error)
    })
  }

  /** Notes an order that failed and that the reconciler tries again. */
  unfinished(what: string, tenant: TenantId, error: unknown): void {
    this.#deps.log.warn('order failed, will be tried again', { what, tenant, error: errorMessage(error) })
  }
}

function failed(message: string): (cause: unknown) => never {
  return (cause) => {
    throw new NodeOrderError(message, { cause })
  }
}
