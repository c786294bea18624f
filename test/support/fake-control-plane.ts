// A control plane as a gateway sees it: real sockets, real keys, routes from a map.

import { gatewayConversation } from '../../src/ipc/conversation.ts'
import type { ClusterSecrets } from '../../src/ipc/keys.ts'
import type { Broadcast, BroadcastTopic, GatewayReplies, Route, RouteKey } from '../../src/ipc/messages/cp-gateway.ts'
import { directoryPath, peerHeaderName, verifyPeerHeader } from '../../src/ipc/messages/directory.ts'
import { openPublisher } from '../../src/ipc/pubsub.ts'
import { openRpcServer } from '../../src/ipc/server.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'

type Reply = GatewayReplies['route.resolve']

export interface FakeControlPlane {
  /** `host:port` of its HTTP server, which answers everything but the directory with an echo. */
  readonly address: string
  /** By name: slug, domain or tenant id. */
  readonly replies: Map<string, Reply>
  /** Questions answered so far. */
  readonly asked: () => number
  readonly publish: (topic: BroadcastTopic, message: Broadcast) => void
  readonly close: () => Promise<void>
}

export function makeRoute(slug: string, workerUrl: string, epoch = 1): Route {
  const tenantId = slug.replace(/[^a-z0-9]/g, '').padEnd(15, '0') as TenantId
  return { tenantId, slug: slug as Slug, epoch: epoch as Epoch, nodeId: 'node-1' as NodeId, workerUrl }
}

const nameOf = (key: RouteKey) => (key.kind === 'slug' ? key.slug : key.kind === 'domain' ? key.domain : key.reference)

export function startFakeControlPlane(secrets: ClusterSecrets): FakeControlPlane {
  const replies = new Map<string, Reply>()
  let asked = 0
  const messaging = openMessaging({ role: 'control-plane', secrets, log })
  const rpc = openRpcServer({ messaging, bind: 'tcp://127.0.0.1:0', allow: ['gateway', 'node'], clock, log })
  rpc.serve(gatewayConversation, {
    'route.resolve': ({ key }): Reply => {
      asked++
      return replies.get(nameOf(key)) ?? { found: 'unknown' }
    },
  })
  const publisher = openPublisher<Broadcast, BroadcastTopic>({
    messaging,
    bind: 'tcp://127.0.0.1:0',
    allow: ['gateway', 'node'],
    topics: ['route.', 'node.', 'tenant.', 'config.'],
    clock,
    rng: systemRng,
  })
  const http = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    development: false,
    fetch(request): Response {
      const path = new URL(request.url).pathname
      if (path !== directoryPath)
        return Response.json({ controlPlane: path, headers: Object.fromEntries(request.headers) })
      if (verifyPeerHeader(secrets, request.headers.get(peerHeaderName) ?? '', Date.now()) === null)
        return new Response(null, { status: 401 })
      const member = {
        id: 'cp-1',
        httpUrl: `http://127.0.0.1:${http.port}`,
        ipcAddress: rpc.address,
        pubAddress: publisher.address,
        isLeader: true,
      }
      return Response.json({ version: 1, members: [member] })
    },
  })
  return {
    address: `127.0.0.1:${http.port}`,
    replies,
    asked: () => asked,
    publish: (topic, message) => publisher.publish(topic, message),
    close: async () => {
      await http.stop(true)
      rpc.close()
      publisher.close()
      await messaging.close()
    },
  }
}
