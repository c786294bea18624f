// What nodes and gateways may ask a member.

import { gatewayConversation, nodeConversation } from '../ipc/conversation.ts'
import type { RpcServer } from '../ipc/server.ts'
import type { ControlPlaneTimings } from './config.ts'
import type { NodeService } from './services/nodes.ts'
import type { TenantMoves } from './services/placement/moves.ts'
import type { StandbyKeeper } from './services/placement/standby-keeper.ts'
import { placementOf } from './services/placement/standbys.ts'
import type { Transit } from './services/placement/transit.ts'
import type { RouteTable } from './services/routing/table.ts'
import type { TenantService } from './services/tenants.ts'
import { toldTenant } from './services/told-tenant.ts'
import type { StateReader } from './state/state.ts'

export interface EndpointDeps {
  readonly state: StateReader
  readonly nodes: NodeService
  readonly tenants: TenantService
  readonly moves: TenantMoves
  readonly standbys: StandbyKeeper
  readonly transit: Transit
  readonly routes: RouteTable
  readonly timings: ControlPlaneTimings
  /** A linearizable read: resolves when the state is as new as any acknowledged command. */
  readonly read: () => Promise<void>
}

export function serveEndpoints(server: RpcServer, deps: EndpointDeps): void {
  const { state, nodes, tenants, moves, standbys, transit, routes, timings, read } = deps
  /** An owner without a report for this long has no lease; it is also when its tenants move. */
  const leaseMs = timings.downAfterMs
  server.serve(nodeConversation, {
    'node.register': async (request) => {
      await nodes.register(request)
      return { heartbeatMs: timings.heartbeatMs, leaseMs }
    },
    'node.heartbeat': (request) => ({ known: nodes.heartbeat(request), leaseMs }),
    'placement.get': async ({ nodeId, tenantId }) => {
      await read() // an old answer could send a tenant back to a node that has lost it
      const tenant = state.tenants.get(tenantId)
      const placement = state.placements.get(tenantId)
      const isOwner = placement !== undefined && placement.nodeId === nodeId && !transit.isMoving(tenantId)
      if (tenant === undefined || tenant.status === 'deleted' || !isOwner) return { tenant: null }
      return { tenant: toldTenant(state, tenant), placement: placementOf(state, placement) }
    },
    'replica.moved': async ({ nodeId, tenantId, epoch }) => {
      const isOwner = state.placements.get(tenantId)?.nodeId === nodeId
      return { counts: isOwner && (await tenants.replicaMoved(tenantId, epoch)) }
    },
    'placement.fenced': async (request) => {
      await moves.fenced(request)
      return { ok: true as const }
    },
    'placement.sealed': async (request) => {
      await standbys.sealed(request)
      return { ok: true as const }
    },
  })
  server.serve(gatewayConversation, {
    'route.resolve': ({ key }) => routes.resolve(key),
  })
}
