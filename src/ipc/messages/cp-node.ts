// The conversation between the control plane and a tenant node.
// Node → control plane: DEALER to any member's ROUTER. Control plane → node: DEALER to the node's own ROUTER (port 5557).

import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import type { MeterReading } from '../../lib/object-store/metered.ts'
import type { JobReports, JobState, TenantJob } from './jobs.ts'
import type { Orphan, OrphanFile } from './orphans.ts'
import type { Placement, TenantSpec } from './tenant.ts'

/** Bumped when a message changes meaning; a peer that speaks another version is refused with `version_mismatch`. */
export const cpNodeVersion = 1

export interface WorkerAddress {
  /** 0-based. */
  readonly index: number
  /** `http://host:port`, reachable from gateways. */
  readonly url: string
}

/** A tenant that its node serves from a worker for busy tenants, and not from the one of its placement, until it is calm. */
export interface AwayTenant {
  readonly tenantId: TenantId
  /** 0-based, behind the ordinary workers. */
  readonly worker: number
  /** null while the worker starts again. */
  readonly url: string | null
}

export interface NodeLoad {
  readonly tenantsOpen: number
  /** 0 to 1 of all cores, over the last heartbeat interval. */
  readonly cpu: number
  readonly memoryBytes: number
  readonly diskFreeBytes: number
  readonly requestsPerSecond: number
  /** The largest replication lag of any open tenant. */
  readonly replicationLagMsMax: number
}

/** Node → control plane. */
export type NodeRequest =
  | {
      readonly type: 'node.register'
      readonly nodeId: NodeId
      /** Random per process start: a restarted node is told from a slow one. */
      readonly incarnation: string
      readonly ipcAddress: string
      readonly workers: readonly WorkerAddress[]
      readonly tenantsMax: number
      readonly version: string
      readonly featureLevel: number
      readonly region: string
      readonly zone: string
      readonly labels: Readonly<Record<string, string>>
    }
  | {
      readonly type: 'node.heartbeat'
      readonly nodeId: NodeId
      readonly incarnation: string
      /** Always all of them: a restarted worker has a new port. */
      readonly workers: readonly WorkerAddress[]
      readonly load: NodeLoad
      readonly draining: boolean
      /** Missing in heartbeats of older nodes: nobody is away. */
      readonly away?: readonly AwayTenant[]
    }
  /** The worker asks before it opens a tenant: is it mine, and under which epoch? */
  | { readonly type: 'placement.get'; readonly nodeId: NodeId; readonly tenantId: TenantId }
  /** The owner under `epoch` has the newest state on its own path; see {@link Placement.replica}. */
  | { readonly type: 'replica.moved'; readonly nodeId: NodeId; readonly tenantId: TenantId; readonly epoch: Epoch }
  /** The node saw a higher epoch at the tail of the history, or lost a slot to one. */
  | {
      readonly type: 'placement.fenced'
      readonly nodeId: NodeId
      readonly tenantId: TenantId
      readonly epoch: Epoch
      readonly seenEpoch: Epoch
    }
  /** It has asked the standbys of all earlier epochs and sealed: nobody has to ask those again. */
  | {
      readonly type: 'placement.sealed'
      readonly nodeId: NodeId
      readonly tenantId: TenantId
      readonly epoch: Epoch
    }

export interface NodeReplies {
  'node.register': { readonly heartbeatMs: number; readonly leaseMs: number }
  /** `known: false` asks for a new `node.register` (another leader, or the node was declared down). */
  'node.heartbeat': { readonly known: boolean; readonly leaseMs: number }
  'placement.get': { readonly tenant: TenantSpec; readonly placement: Placement } | { readonly tenant: null }
  /** False: another owner came meanwhile. */
  'replica.moved': { readonly counts: boolean }
  'placement.fenced': { readonly ok: true }
  'placement.sealed': { readonly ok: true }
}

/** Control plane → node: orders. Each is idempotent, so that it may be repeated after a lost reply. */
export type NodeOrder =
  /** Make the databases, the first superuser if given, and PUT slot 1 of each; answer once all are durable. */
  | {
      readonly type: 'tenant.create'
      readonly tenant: TenantSpec
      readonly placement: Placement
      /** `passwordHash` is bcrypt, as the tenant stores it: the clear text never enters the replicated log. */
      readonly superuser: { readonly email: string; readonly passwordHash: string } | null
    }
  /** Ship the tail and close; answer once closed. `epoch` is the highest the node may still hold it under. */
  | { readonly type: 'tenant.release'; readonly tenantId: TenantId; readonly epoch: Epoch }
  /** Settings changed (slug, domains, limits, status): take over without reopening where possible. */
  | { readonly type: 'tenant.update'; readonly tenant: TenantSpec; readonly placement: Placement }
  | {
      readonly type: 'superuser.upsert'
      readonly tenantId: TenantId
      readonly email: string
      readonly passwordHash: string
    }
  /**
   * Starts a job, or tells how it goes. `tenantId` is the tenant it is about; a job that writes names its placement.
   * The same `jobId` never means another job.
   */
  | {
      readonly type: 'job.run'
      readonly jobId: string
      readonly tenantId: TenantId
      readonly job: TenantJob
      /** Of the tenants that the job is about, those whose histories lie on the path of an epoch. */
      readonly replicas?: readonly { readonly tenantId: TenantId; readonly epoch: number }[]
    }
  /** Ends a job that nobody wants any more; what it has written stays. A job that comes behind this does not begin. */
  | { readonly type: 'job.stop'; readonly jobId: string; readonly tenantId: TenantId }
  /** Opens it, so that its first request need not wait; `epoch` is the lowest it may be opened under. */
  | { readonly type: 'tenant.open'; readonly tenantId: TenantId; readonly epoch: Epoch }
  /** What the tenant asked of the object store through this node, in all. */
  | { readonly type: 'tenant.meter'; readonly tenantId: TenantId }
  /** Commits that another owner overtook, kept on this node. */
  | { readonly type: 'orphan.list' }
  | {
      readonly type: 'orphan.read'
      readonly name: string
      readonly file: OrphanFile
      readonly from: number
      readonly to: number
    }
  | { readonly type: 'orphan.remove'; readonly name: string }
  | { readonly type: 'node.drain' }

export interface OrderReplies {
  'tenant.create': {
    readonly created: true /** One-time link path to make the first superuser. */
    readonly setupPath: string | null
  }
  'tenant.release': { readonly released: true }
  'tenant.update': { readonly ok: true }
  'superuser.upsert': { readonly created: boolean }
  'tenant.open': { readonly opened: true }
  'orphan.list': { readonly orphans: readonly Orphan[] }
  'orphan.read': { readonly bytes: Uint8Array }
  'orphan.remove': { readonly removed: true }
  'tenant.meter': { readonly sinceMs: number; readonly reading: MeterReading }
  'job.run': JobState<JobReports[keyof JobReports]>
  'job.stop': { readonly stopped: true }
  'node.drain': { readonly draining: true }
}
