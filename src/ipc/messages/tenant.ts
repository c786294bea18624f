// What the control plane tells others about a tenant and its placement. Plain data; encoded by `ipc/codec.ts`.

import type { Epoch, NodeId, Slug, TenantId } from '../../lib/brand.ts'

/** How a write is acknowledged; see `replication-notes` 4.1. `quorum` arrives with the standby protocol. */
export type AckMode = 'async' | 'sync'

/** Replicated life of a tenant. Runtime states (open, idle, evicted) belong to the node and are not replicated. */
export type TenantStatus = 'created' | 'active' | 'suspended' | 'archived' | 'deleted'

/** Limits that a worker enforces; null means unlimited. */
export interface TenantLimits {
  readonly storageBytesMax: number | null
  readonly apiRequestsPerDayMax: number | null
  readonly realtimeConnectionsMax: number | null
  /** Longest single query of a client, ms. */
  readonly queryMsMax: number
}

/** Everything a worker must know to open a tenant without asking again. */
export interface TenantSpec {
  readonly id: TenantId
  readonly slug: Slug
  readonly domains: readonly string[]
  readonly status: TenantStatus
  readonly plan: string
  readonly ackMode: AckMode
  /** `async`: writes wait once the shipped history is this far behind, ms. */
  readonly lossBoundMs: number
  readonly onStoreOutage: 'spool' | 'refuse'
  readonly limits: TenantLimits
  readonly createdAtMs: number
}

/** Which node and worker own a tenant, under which epoch. */
export interface Placement {
  readonly tenantId: TenantId
  readonly nodeId: NodeId
  /** 0-based; taken modulo the node's worker count, so that a node may restart with fewer. */
  readonly worker: number
  readonly epoch: Epoch
}
