// From what a request names to the worker that answers it.

import type { GatewayReplies, Route, RouteKey } from '../../../ipc/messages/cp-gateway.ts'
import { isTenantId, type TenantId } from '../../../lib/brand.ts'
import type { StateReader } from '../../state/state.ts'
import type { Tenant } from '../../state/tenants.ts'
import type { NodeService } from '../nodes.ts'

/** Hosts below the base domain that are not tenants. */
export const reservedSlugs: ReadonlySet<string> = new Set(['app', 'admin', 'api', 'www'])

/** An id or a slug, as `X-Tenant-ID` and the API take them; an id wins. Deleted tenants are not found. */
export function findTenant(state: StateReader, reference: string): Tenant | undefined {
  const byId = isTenantId(reference) ? state.tenants.get(reference as TenantId) : undefined
  if (byId !== undefined && byId.status !== 'deleted') return byId
  return state.tenants.bySlug(reference)
}

export class RouteTable {
  readonly #state: StateReader
  readonly #nodes: NodeService
  readonly #isMoving: (id: TenantId) => boolean
  readonly #onUse: (id: TenantId) => void

  /**
   * @param isMoving a tenant between two nodes has no route: its requests wait at the gateway.
   * @param onUse told of every tenant that somebody asks for.
   */
  constructor(
    state: StateReader,
    nodes: NodeService,
    isMoving: (id: TenantId) => boolean,
    onUse: (id: TenantId) => void = () => {},
  ) {
    this.#state = state
    this.#nodes = nodes
    this.#isMoving = isMoving
    this.#onUse = onUse
  }

  resolve(key: RouteKey): GatewayReplies['route.resolve'] {
    const tenant = this.#find(key)
    if (tenant === undefined) return { found: 'unknown' }
    this.#onUse(tenant.id)
    const route = this.routeOf(tenant.id)
    if (typeof route !== 'string') return { found: 'route', route }
    return { found: 'unavailable', tenantId: tenant.id, reason: route }
  }

  /** The route, or why there is none. */
  routeOf(id: TenantId): Route | string {
    const tenant = this.#state.tenants.get(id)
    if (tenant === undefined || tenant.status === 'deleted') return 'deleted'
    if (tenant.status === 'archived') return 'reopening' // whoever asked for it has woken it
    if (tenant.status !== 'active') return tenant.status
    const placement = this.#state.placements.get(id)
    if (placement === undefined) return 'not_placed'
    if (this.#isMoving(id)) return 'moving'
    if (this.#state.operations.get(id)?.type === 'restore') return 'restoring'
    if (this.#nodes.stateOf(placement.nodeId) === 'down') return 'node_down'
    const workers = this.#nodes.workersOf(placement.nodeId)
    const { url = null } =
      this.#nodes.awayOn(placement.nodeId, id) ?? workers[placement.worker % Math.max(1, workers.length)] ?? {}
    if (url === null) return 'node_starting'
    const { slug } = tenant
    return { tenantId: id, slug, epoch: placement.epoch, nodeId: placement.nodeId, workerUrl: url }
  }

  #find(key: RouteKey): Tenant | undefined {
    switch (key.kind) {
      case 'slug':
        return reservedSlugs.has(key.slug) ? undefined : this.#state.tenants.bySlug(key.slug)
      case 'domain':
        return this.#state.tenants.byDomain(key.domain)
      case 'reference':
        return findTenant(this.#state, key.reference)
    }
  }
}
