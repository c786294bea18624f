// Wires the route table to the control plane: questions one way, broadcasts the other.

import { type ControlPlaneClient, openControlPlaneClient } from '../../ipc/control-plane-client.ts'
import { gatewayConversation } from '../../ipc/conversation.ts'
import type { ClusterSecrets } from '../../ipc/keys.ts'
import type { GatewayReplies, GatewayRequest } from '../../ipc/messages/cp-gateway.ts'
import type { Messaging } from '../../ipc/zmq/messaging.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Rng } from '../../lib/rng.ts'
import { RouteTable } from './table.ts'

export interface RouteFeed {
  readonly routes: RouteTable
  readonly controlPlane: ControlPlaneClient<GatewayRequest, GatewayReplies>
}

/** The caller closes `controlPlane`. */
export function openRouteFeed(options: {
  readonly messaging: Messaging
  readonly secrets: ClusterSecrets
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly routesMax: number
  /** How long one question may take, ms. */
  readonly resolveMs: number
}): RouteFeed {
  const { log, resolveMs } = options
  const routes: RouteTable = new RouteTable({
    clock: options.clock,
    routesMax: options.routesMax,
    resolve: (key) => controlPlane.request({ type: 'route.resolve', key }, { deadlineMs: resolveMs, idempotent: true }),
  })
  const controlPlane = openControlPlaneClient({
    ...options,
    conversation: gatewayConversation,
    broadcasts: {
      topics: ['route.', 'node.', 'tenant.'],
      onMessage: (message) => routes.apply(message),
      onResync: (reason) => {
        log.info('routes are checked again', { reason, routes: routes.size })
        routes.doubtAll()
      },
    },
  })
  return { routes, controlPlane }
}
