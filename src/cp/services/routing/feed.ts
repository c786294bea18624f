// Tells gateways what changed, so that their caches stay fresh. Broadcasts are hints: whoever misses one asks.

import type { Broadcast, BroadcastTopic } from '../../../ipc/messages/cp-gateway.ts'
import type { Publisher } from '../../../ipc/pubsub.ts'
import type { TenantId } from '../../../lib/brand.ts'
import type { StateReader } from '../../state/state.ts'
import type { RouteTable } from './table.ts'

export const broadcastTopics = ['route.', 'node.', 'tenant.', 'config.'] as const satisfies readonly BroadcastTopic[]

export interface RouteFeed {
  /** The row or the placement of a tenant changed. */
  tenantChanged(id: TenantId): void
  nodeChanged(id: Parameters<StateReader['nodes']['get']>[0]): void
}

export function routeFeed(
  state: StateReader,
  table: RouteTable,
  publisher: Publisher<Broadcast, BroadcastTopic>,
): RouteFeed {
  return {
    tenantChanged(id) {
      const tenant = state.tenants.get(id)
      if (tenant === undefined) return
      const route = table.routeOf(id)
      publisher.publish('route.', {
        type: 'route.changed',
        tenantId: id,
        names: [tenant.slug, ...tenant.domains],
        route: typeof route === 'string' ? null : route,
      })
      publisher.publish('tenant.', { type: 'tenant.changed', tenantId: id })
    },
    nodeChanged(id) {
      publisher.publish('node.', { type: 'node.changed', nodeId: id })
    },
  }
}
