// A control plane as a tenant node sees it: real sockets and keys, registrations and heartbeats, placements from a map,
// orders sent to the node's own ROUTER.

import { openRpcClient } from '../../src/ipc/client.ts'
import { nodeConversation, orderConversation } from '../../src/ipc/conversation.ts'
import type { ClusterSecrets } from '../../src/ipc/keys.ts'
import type { NodeOrder, NodeReplies, NodeRequest, OrderReplies } from '../../src/ipc/messages/cp-node.ts'
import { directoryPath } from '../../src/ipc/messages/directory.ts'
import { routeHeaderKeys, routeHeaderName, signRouteHeader } from '../../src/ipc/messages/route-header.ts'
import type { Placement, TenantSpec } from '../../src/ipc/messages/tenant.ts'
import { openPublisher } from '../../src/ipc/pubsub.ts'
import { type Handlers, openRpcServer } from '../../src/ipc/server.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'

type Registered = Extract<NodeRequest, { readonly type: 'node.register' }>
type Heartbeat = Extract<NodeRequest, { readonly type: 'node.heartbeat' }>

export class FakeFleetControl implements AsyncDisposable {
  readonly placements = new Map<TenantId, { tenant: TenantSpec; placement: Placement }>()
  readonly registered = new Map<NodeId, Registered>()
  readonly heartbeats = new Map<NodeId, Heartbeat>()
  readonly fenced: Extract<NodeRequest, { readonly type: 'placement.fenced' }>[] = []
  /** False: heartbeats are answered with `known: false`. */
  isKnown = true
  /** Nodes whose messages get no answer until they are mended, as over a connection that was cut. */
  readonly #cutOff = new Map<NodeId, PromiseWithResolvers<void>>()
  readonly #secrets: ClusterSecrets
  readonly #messaging
  readonly #http
  readonly #close: () => void
  readonly #clients = new Map<string, ReturnType<typeof openRpcClient<NodeOrder, OrderReplies>>>()

  constructor(secrets: ClusterSecrets) {
    this.#secrets = secrets
    this.#messaging = openMessaging({ role: 'control-plane', secrets, log })
    const messaging = this.#messaging
    const rpc = openRpcServer({ messaging, bind: 'tcp://127.0.0.1:0', allow: ['node'], clock, log })
    const handlers: Handlers<NodeRequest, NodeReplies> = {
      'node.register': (message) => {
        this.registered.set(message.nodeId, message)
        this.isKnown = true
        return { heartbeatMs: 100, leaseMs: 1_000 }
      },
      'node.heartbeat': async (message) => {
        await this.#cutOff.get(message.nodeId)?.promise
        this.heartbeats.set(message.nodeId, message)
        return { known: this.isKnown, leaseMs: 1_000 }
      },
      'placement.get': async ({ tenantId, nodeId }) => {
        await this.#cutOff.get(nodeId)?.promise
        return this.placements.get(tenantId) ?? { tenant: null }
      },
      'replica.moved': () => ({ counts: true }),
      'placement.fenced': (message) => {
        this.fenced.push(message)
        return { ok: true }
      },
      'placement.sealed': ({ tenantId, epoch }) => {
        const placed = this.placements.get(tenantId)
        const sets = placed?.placement.standbySets
        const from = sets?.findLastIndex((set) => set.epoch <= epoch) ?? 0
        if (placed !== undefined && sets !== undefined && from > 0)
          this.placements.set(tenantId, {
            ...placed,
            placement: { ...placed.placement, standbySets: sets.slice(from) },
          })
        return { ok: true }
      },
    }
    rpc.serve(nodeConversation, handlers)
    const publisher = openPublisher({
      messaging,
      bind: 'tcp://127.0.0.1:0',
      allow: ['node'],
      topics: ['node.'],
      clock,
      rng,
    })
    this.#close = () => {
      rpc.close()
      publisher.close()
    }
    this.#http = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch: (request) => {
        if (new URL(request.url).pathname !== directoryPath) return new Response(null, { status: 404 })
        const member = {
          id: 'cp-1',
          httpUrl: this.url,
          ipcAddress: rpc.address,
          pubAddress: publisher.address,
          isLeader: true,
        }
        return Response.json({ version: 1, members: [member] })
      },
    })
  }

  cut(nodeId: NodeId): void {
    this.#cutOff.set(nodeId, Promise.withResolvers<void>())
  }

  mend(nodeId: NodeId): void {
    this.#cutOff.get(nodeId)?.resolve()
    this.#cutOff.delete(nodeId)
  }

  get url(): string {
    return `http://127.0.0.1:${this.#http.port}`
  }

  place(id: string, nodeId: string, epoch: number, change: Partial<TenantSpec> = {}) {
    const tenantId = id as TenantId
    const tenant: TenantSpec = {
      id: tenantId,
      slug: id as Slug,
      domains: [],
      status: 'active',
      plan: 'small',
      ackMode: 'async',
      lossBoundMs: 5_000,
      onStoreOutage: 'spool',
      limits: { storageBytesMax: null, apiRequestsPerDayMax: null, realtimeConnectionsMax: null, queryMsMax: 30_000 },
      createdAtMs: 1_700_000_000_000,
      ...change,
    }
    const placement: Placement = { tenantId, nodeId: nodeId as NodeId, worker: 0, epoch: epoch as Epoch }
    const placed = { tenant, placement }
    this.placements.set(tenantId, placed)
    return placed
  }

  order<T extends NodeOrder['type'] & keyof OrderReplies>(
    nodeId: string,
    order: Extract<NodeOrder, { readonly type: T }>,
  ): Promise<OrderReplies[T]> {
    const { ipcAddress } = this.registered.get(nodeId as NodeId)!
    let client = this.#clients.get(ipcAddress)
    if (client === undefined) {
      client = openRpcClient<NodeOrder, OrderReplies>({
        messaging: this.#messaging,
        conversation: orderConversation,
        connect: ipcAddress,
        serverRole: 'node',
        clock,
        log,
      })
      this.#clients.set(ipcAddress, client)
    }
    return client.request<T>(order, { deadlineMs: 20_000 }) as Promise<OrderReplies[T]>
  }

  /** A `fetch` that signs its requests as a gateway does. */
  fetchOf(id: string, epoch: number, expiresInMs = 60_000): typeof fetch {
    const signed = (init: RequestInit | undefined) => {
      const headers = new Headers(init?.headers)
      headers.set(
        routeHeaderName,
        signRouteHeader(routeHeaderKeys(this.#secrets), {
          tenantId: id as TenantId,
          epoch: epoch as Epoch,
          clientAddress: '192.0.2.1',
          scheme: 'http',
          host: `${id}.localhost`,
          expiresAtMs: Date.now() + expiresInMs,
        }),
      )
      return { ...init, headers }
    }
    return ((url: string, init?: RequestInit) => fetch(url, signed(init))) as typeof fetch
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.stop(true)
    for (const client of this.#clients.values()) client.close()
    this.#close()
    await this.#messaging.close()
  }
}
