// What the control plane tells others about a tenant and its placement. Plain data; encoded by `ipc/codec.ts`.

import type { Epoch, NodeId, Slug, TenantId } from '../../lib/brand.ts'

/** What a write waits for: nothing, the object store, standby nodes, or both. */
export const ackModes = ['async', 'sync', 'quorum', 'quorum+sync'] as const
export type AckMode = (typeof ackModes)[number]

/** Whether a mode wants standbys. */
export function needsStandbys(mode: AckMode): boolean {
  return mode === 'quorum' || mode === 'quorum+sync'
}

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
  /** How long every restore point stays, ms; a day unless told. */
  readonly keepEveryMs?: number
  /** Another program writes its histories: nobody of us touches them. Missing: no. */
  readonly isHandedOver?: boolean
  /** Where its nodes are; missing: anywhere. Told, as the next, for the manifest: whoever adopts the tenant goes on with it. */
  readonly region?: string
  /** A second node keeps it warm. Missing: no. */
  readonly isKeptWarm?: boolean
}

/** Which node and worker own a tenant, under which epoch. */
export interface Placement {
  readonly tenantId: TenantId
  readonly nodeId: NodeId
  /** 0-based; taken modulo the node's worker count, so that a node may restart with fewer. */
  readonly worker: number
  readonly epoch: Epoch
  /**
   * Standbys by the epoch from which on they were recorded, oldest first; missing when there never were any. The last
   * one counts for this placement, the ones before for a successor that finds a tail of their epochs.
   */
  readonly standbySets?: readonly StandbySet[]
  /**
   * On a store whose create-only writes are not atomic: the epoch whose path holds the newest state, null for the path
   * without one. Missing on all other stores.
   */
  readonly replica?: { readonly epoch: number | null }
  /** The node that keeps the databases as warm copies and takes the tenant over first; missing: there is none. */
  readonly warm?: WarmRef
}

export interface StandbyRef {
  readonly nodeId: NodeId
  /** `tcp://host:port` or `ipc://path` of its ROUTER. */
  readonly ipcAddress: string
}

/** Where a tenant has a warm copy. */
export interface WarmRef extends StandbyRef {
  /** 0-based, as of a placement: the worker that would open it. */
  readonly worker: number
}

export interface StandbySet {
  readonly epoch: Epoch
  /** None: from this epoch on nobody but the store acknowledges. */
  readonly nodes: readonly StandbyRef[]
}

/** More sets than a tenant gathers without one of them being sealed. */
export const standbySetsMax = 16
/** Standbys of one set. */
export const standbysMax = 7
