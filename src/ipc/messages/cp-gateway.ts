// The conversation between the control plane and a gateway, and what is broadcast to every subscriber.

import type { Epoch, NodeId, Slug, TenantId } from '../../lib/brand.ts'

export const cpGatewayVersion = 1

/** What a request names: a host label, a verified custom domain, or the content of `X-Tenant-ID` (id or slug). */
export type RouteKey =
  | { readonly kind: 'slug'; readonly slug: string }
  | { readonly kind: 'domain'; readonly domain: string }
  | { readonly kind: 'reference'; readonly reference: string }

export interface Route {
  readonly tenantId: TenantId
  readonly slug: Slug
  readonly epoch: Epoch
  readonly nodeId: NodeId
  /** `http://host:port` of the engine worker that owns the tenant. */
  readonly workerUrl: string
}

export type GatewayRequest = { readonly type: 'route.resolve'; readonly key: RouteKey }

export interface GatewayReplies {
  'route.resolve':
    | { readonly found: 'route'; readonly route: Route }
    | { readonly found: 'unknown' }
    /** Known, but nobody serves it now (moving, node down, suspended): hold or answer 503. */
    | { readonly found: 'unavailable'; readonly tenantId: TenantId; readonly reason: string }
}

/** PUB topics. Each message carries the topic's sequence number; a gap makes the subscriber drop what it cached. */
export type Broadcast =
  /** Everything cached about this tenant is stale; `route` is the new one, when there is one. */
  | {
      readonly type: 'route.changed'
      readonly tenantId: TenantId
      readonly names: readonly string[]
      readonly route: Route | null
    }
  /** A worker of the node has a new address, or the node went down: drop all its routes. */
  | { readonly type: 'node.changed'; readonly nodeId: NodeId }
  | { readonly type: 'tenant.changed'; readonly tenantId: TenantId }
  | { readonly type: 'config.changed' }

/** The prefix a subscriber filters by: `route.`, `node.`, `tenant.` or `config.`. */
export type BroadcastTopic = 'route.' | 'node.' | 'tenant.' | 'config.'
