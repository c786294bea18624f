// What members agree on. A command is a decision to be checked by `apply`, where the order is fixed; tags and field order
// are a stored format (docs/formats/raft-log.md).

import { type AckMode, ackModes, type TenantLimits } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../lib/brand.ts'
import {
  bool,
  branded,
  brandedNumber,
  bytes,
  list,
  mapOf,
  nullable,
  oneOf,
  struct,
  text,
  union,
  varint,
  versioned,
} from '../binary.ts'
import { activityCodec, type TenantActivity } from './activities.ts'
import { type Admin, adminCodec } from './admins.ts'
import { type AuditFacts, auditCodec } from './audit.ts'
import { type DrillRow, drillCodec } from './drills.ts'
import type { NodeRow } from './nodes.ts'
import { operationCodec, type TenantOperation } from './operations.ts'
import { type RecordedSet, recordedSetCodec } from './placements.ts'
import { type PlannedChange, plannedChangeCodec } from './planned-changes.ts'
import { type SweepPhase, type SweepRow, sweepCodec, sweepPhases } from './sweeps.ts'
import { limitsCodec, outageModes, type Tenant, tenantCodec } from './tenants.ts'
import { type WarmPlace, warmPlaceCodec } from './warm-standbys.ts'

export type Command =
  /** Names the fleet, once. */
  | { readonly type: 'cluster.init'; readonly clusterId: string; readonly atMs: number }
  /** Status `created`, placed under epoch 1. */
  | { readonly type: 'tenant.create'; readonly tenant: Tenant; readonly nodeId: NodeId; readonly worker: number }
  /** Its databases are durable. Also ends `created` when repeated. */
  | { readonly type: 'tenant.activate'; readonly id: TenantId; readonly atMs: number }
  | {
      readonly type: 'tenant.update'
      readonly id: TenantId
      readonly slug: Slug | null
      readonly domains: readonly string[] | null
      readonly status: 'active' | 'suspended' | null
      readonly plan: string | null
      readonly ackMode: AckMode | null
      readonly limits: TenantLimits | null
      readonly metadata: Readonly<Record<string, string>> | null
      readonly atMs: number
    }
  /** All that an admin changes at once; null leaves it as it is. `tenant.update` is the older form of the half of it. */
  | {
      readonly type: 'tenant.change'
      readonly id: TenantId
      readonly slug: Slug | null
      readonly domains: readonly string[] | null
      readonly status: 'active' | 'suspended' | null
      readonly plan: string | null
      readonly ackMode: AckMode | null
      readonly limits: TenantLimits | null
      readonly metadata: Readonly<Record<string, string>> | null
      readonly lossBoundMs: number | null
      readonly onStoreOutage: 'spool' | 'refuse' | null
      /** As `tenant.retention`. */
      readonly retention: { readonly keepEveryMs: number | null } | null
      /** As `tenant.warm`; a node that is gone by now is no place. */
      readonly standby: { readonly warm: { readonly place: WarmPlace | null } | null } | null
      readonly atMs: number
    }
  /** When its writes are acknowledged; null leaves it as it is. */
  | {
      readonly type: 'tenant.durability'
      readonly id: TenantId
      readonly lossBoundMs: number | null
      readonly onStoreOutage: 'spool' | 'refuse' | null
      readonly atMs: number
    }
  /** Frees its names; the placement stays until the node has let go. */
  | { readonly type: 'tenant.delete'; readonly id: TenantId; readonly atMs: number }
  /** A tenant whose history is in the object store but whose row is not here. */
  | {
      readonly type: 'tenant.adopt'
      readonly tenant: Tenant
      readonly nodeId: NodeId
      readonly worker: number
      readonly epoch: Epoch
    }
  /** The same, and what else the object store tells of it; `tenant.adopt` is the older form without. */
  | {
      readonly type: 'tenant.reclaim'
      readonly tenant: Tenant
      readonly nodeId: NodeId
      readonly worker: number
      readonly epoch: Epoch
      /** Standbys that may hold what the store does not, oldest first. */
      readonly standbySets: readonly RecordedSet[]
      readonly keepEveryMs: number | null
      /** A second node shall keep it warm. */
      readonly isKeptWarm: boolean
      /** Another program may write its histories. */
      readonly isHandedOver: boolean
      /** As of `replica.begin`; null: its histories need no paths of epochs. */
      readonly replicaEpoch: number | null
      readonly atMs: number
    }
  /** Moves a tenant, or keeps it where it is under a new epoch: max(expected, seen) + 1. */
  | {
      readonly type: 'tenant.assign'
      readonly id: TenantId
      readonly nodeId: NodeId
      readonly worker: number
      readonly expected: Epoch
      /** The highest epoch known from elsewhere; equal to `expected` when there is none. */
      readonly seen: Epoch
    }
  /** The same, and which nodes stand by from that epoch on; `tenant.assign` is the older form without. */
  | {
      readonly type: 'tenant.place'
      readonly id: TenantId
      readonly nodeId: NodeId
      readonly worker: number
      readonly expected: Epoch
      readonly seen: Epoch
      readonly standbys: readonly NodeId[]
      /**
       * Nobody asks earlier standbys any more: the owner has let go with everything in the store, or an admin accepts
       * that what they hold is lost.
       */
      readonly forget: boolean
    }
  /** An owner that lives is about to let go, for another one or for other standbys; its next placement ends it. */
  | { readonly type: 'change.begin'; readonly change: PlannedChange }
  /** It surely has not let go. */
  | { readonly type: 'change.end'; readonly id: TenantId; readonly epoch: Epoch }
  /** The owner of `epoch` has sealed, so it has asked the standbys of all epochs before. */
  | { readonly type: 'tenant.sealed'; readonly id: TenantId; readonly epoch: Epoch }
  /** The node of a deleted tenant has let go. */
  | { readonly type: 'placement.remove'; readonly id: TenantId }
  | { readonly type: 'node.register'; readonly node: Omit<NodeRow, 'draining'> }
  | { readonly type: 'node.drain'; readonly id: NodeId; readonly draining: boolean }
  | { readonly type: 'node.remove'; readonly id: NodeId }
  | { readonly type: 'admin.create'; readonly admin: Admin; readonly onlyFirst: boolean }
  | { readonly type: 'admin.delete'; readonly id: string }

  /** Decides on work that takes a while; one piece of it a tenant. */
  | { readonly type: 'operation.begin'; readonly operation: TenantOperation }
  /** It is done, or it turned out to be impossible. Nothing happens when another one is under way by now. */
  | { readonly type: 'operation.end'; readonly tenantId: TenantId; readonly id: string }
  /** A tenant that is made by its operation. */
  | {
      readonly type: 'tenant.fork'
      readonly tenant: Tenant
      readonly nodeId: NodeId
      readonly worker: number
      readonly operation: TenantOperation
    }
  /** What the last restore drill of a tenant found. */
  | { readonly type: 'drill.note'; readonly drill: DrillRow }

  /** Nobody serves it; the next request brings it back. */
  | { readonly type: 'tenant.archive'; readonly id: TenantId; readonly atMs: number }
  | { readonly type: 'tenant.resume'; readonly id: TenantId; readonly atMs: number }
  /** How long each of its restore points stays; null: as long as everybody's. */
  | { readonly type: 'tenant.retention'; readonly id: TenantId; readonly keepEveryMs: number | null }
  /** Whether a second node keeps it warm, and which; null: none shall. */
  | { readonly type: 'tenant.warm'; readonly id: TenantId; readonly warm: { readonly place: WarmPlace | null } | null }
  /** From here on its histories lie on paths of their epochs, so far on that of `epoch`; 0: on the one without. */
  | { readonly type: 'replica.begin'; readonly id: TenantId; readonly epoch: number }
  /** The owner under this epoch has copied the newest state to its own path: that one counts. */
  | { readonly type: 'replica.move'; readonly id: TenantId; readonly epoch: Epoch }
  | { readonly type: 'activity.put'; readonly activity: TenantActivity }
  /** From here on another program writes the histories of a suspended tenant. */
  | { readonly type: 'tenant.hand-over'; readonly id: TenantId; readonly atMs: number }
  /** That program has stopped: the tenant is served again. */
  | { readonly type: 'tenant.take-back'; readonly id: TenantId; readonly atMs: number }
  /** How far the deletion of what nobody needs is; `expected` null: there was no row. */
  | { readonly type: 'sweep.put'; readonly sweep: SweepRow; readonly expected: SweepPhase | null }
  /** A decision of somebody and the record of it; `command` is encoded, and never another of these. */
  | { readonly type: 'audited'; readonly audit: AuditFacts; readonly command: Uint8Array }
  /** The record of what needs no decision. */
  | { readonly type: 'audit.append'; readonly audit: AuditFacts }
  /** Who was used; tenants that are gone by now are passed over. */
  | {
      readonly type: 'activity.note'
      readonly used: readonly { readonly tenantId: TenantId; readonly usedAtMs: number }[]
    }

export type RejectReason =
  | 'initialized'
  | 'not_found'
  | 'id_taken'
  | 'slug_taken'
  | 'domain_taken'
  | 'tenant_quota'
  | 'wrong_status'
  | 'stale_epoch'
  | 'standbys_unasked'
  | 'operation_pending'
  | 'handed_over'
  | 'not_handed_over'
  | 'node_not_found'
  | 'node_draining'
  | 'node_in_use'
  | 'email_taken'
  | 'token_prefix_taken'
  | 'not_first_admin'
  | 'last_admin'

type Of<T extends Command['type']> = Omit<Extract<Command, { readonly type: T }>, 'type'>

const tenantId = branded<TenantId>()
const nodeId = branded<NodeId>()
const epoch = brandedNumber<Epoch>()

const warmWish = nullable(struct<{ readonly place: WarmPlace | null }>({ place: nullable(warmPlaceCodec) }))

export const commands = versioned<Command>(
  1,
  union<Command>({
    'cluster.init': [1, struct<Of<'cluster.init'>>({ clusterId: text, atMs: varint })],
    'tenant.create': [2, struct<Of<'tenant.create'>>({ tenant: tenantCodec, nodeId, worker: varint })],
    'tenant.activate': [3, struct<Of<'tenant.activate'>>({ id: tenantId, atMs: varint })],
    'tenant.update': [
      4,
      struct<Of<'tenant.update'>>({
        id: tenantId,
        slug: nullable(branded<Slug>()),
        domains: nullable(list(text)),
        status: nullable(oneOf(['active', 'suspended'])),
        plan: nullable(text),
        ackMode: nullable(oneOf(ackModes)),
        limits: nullable(limitsCodec),
        metadata: nullable(mapOf(text)),
        atMs: varint,
      }),
    ],
    'tenant.change': [
      48,
      struct<Of<'tenant.change'>>({
        id: tenantId,
        slug: nullable(branded<Slug>()),
        domains: nullable(list(text)),
        status: nullable(oneOf(['active', 'suspended'])),
        plan: nullable(text),
        ackMode: nullable(oneOf(ackModes)),
        limits: nullable(limitsCodec),
        metadata: nullable(mapOf(text)),
        lossBoundMs: nullable(varint),
        onStoreOutage: nullable(oneOf(outageModes)),
        retention: nullable(struct<{ readonly keepEveryMs: number | null }>({ keepEveryMs: nullable(varint) })),
        standby: nullable(struct<{ readonly warm: { readonly place: WarmPlace | null } | null }>({ warm: warmWish })),
        atMs: varint,
      }),
    ],
    'tenant.delete': [5, struct<Of<'tenant.delete'>>({ id: tenantId, atMs: varint })],
    'tenant.adopt': [6, struct<Of<'tenant.adopt'>>({ tenant: tenantCodec, nodeId, worker: varint, epoch })],
    'tenant.reclaim': [
      45,
      struct<Of<'tenant.reclaim'>>({
        tenant: tenantCodec,
        nodeId,
        worker: varint,
        epoch,
        standbySets: list(recordedSetCodec),
        keepEveryMs: nullable(varint),
        isKeptWarm: bool,
        isHandedOver: bool,
        replicaEpoch: nullable(varint),
        atMs: varint,
      }),
    ],
    'tenant.assign': [
      7,
      struct<Of<'tenant.assign'>>({ id: tenantId, nodeId, worker: varint, expected: epoch, seen: epoch }),
    ],
    'tenant.place': [
      14,
      struct<Of<'tenant.place'>>({
        id: tenantId,
        nodeId,
        worker: varint,
        expected: epoch,
        seen: epoch,
        standbys: list(nodeId),
        forget: bool,
      }),
    ],
    'tenant.durability': [
      16,
      struct<Of<'tenant.durability'>>({
        id: tenantId,
        lossBoundMs: nullable(varint),
        onStoreOutage: nullable(oneOf(outageModes)),
        atMs: varint,
      }),
    ],
    'change.begin': [46, struct<Of<'change.begin'>>({ change: plannedChangeCodec })],
    'change.end': [47, struct<Of<'change.end'>>({ id: tenantId, epoch })],
    'tenant.sealed': [15, struct<Of<'tenant.sealed'>>({ id: tenantId, epoch })],
    'placement.remove': [8, struct<Of<'placement.remove'>>({ id: tenantId })],
    'node.register': [
      9,
      struct<Of<'node.register'>>({
        node: struct<Omit<NodeRow, 'draining'>>({
          id: nodeId,
          ipcAddress: text,
          region: text,
          zone: text,
          labels: mapOf(text),
          tenantsMax: varint,
          version: text,
          featureLevel: varint,
          createdAtMs: varint,
        }),
      }),
    ],
    'node.drain': [10, struct<Of<'node.drain'>>({ id: nodeId, draining: bool })],
    'node.remove': [11, struct<Of<'node.remove'>>({ id: nodeId })],
    'admin.create': [12, struct<Of<'admin.create'>>({ admin: adminCodec, onlyFirst: bool })],
    'admin.delete': [13, struct<Of<'admin.delete'>>({ id: text })],
    'operation.begin': [20, struct<Of<'operation.begin'>>({ operation: operationCodec })],
    'operation.end': [21, struct<Of<'operation.end'>>({ tenantId, id: text })],
    'tenant.archive': [23, struct<Of<'tenant.archive'>>({ id: tenantId, atMs: varint })],
    'tenant.resume': [24, struct<Of<'tenant.resume'>>({ id: tenantId, atMs: varint })],
    'tenant.retention': [31, struct<Of<'tenant.retention'>>({ id: tenantId, keepEveryMs: nullable(varint) })],
    'tenant.warm': [
      33,
      struct<Of<'tenant.warm'>>({
        id: tenantId,
        warm: warmWish,
      }),
    ],
    'replica.begin': [27, struct<Of<'replica.begin'>>({ id: tenantId, epoch: varint })],
    'replica.move': [28, struct<Of<'replica.move'>>({ id: tenantId, epoch })],
    'tenant.hand-over': [43, struct<Of<'tenant.hand-over'>>({ id: tenantId, atMs: varint })],
    'tenant.take-back': [44, struct<Of<'tenant.take-back'>>({ id: tenantId, atMs: varint })],
    'sweep.put': [42, struct<Of<'sweep.put'>>({ sweep: sweepCodec, expected: nullable(oneOf(sweepPhases)) })],
    audited: [40, struct<Of<'audited'>>({ audit: auditCodec, command: bytes })],
    'audit.append': [41, struct<Of<'audit.append'>>({ audit: auditCodec })],
    'activity.put': [25, struct<Of<'activity.put'>>({ activity: activityCodec })],
    'activity.note': [
      26,
      struct<Of<'activity.note'>>({
        used: list(struct<{ readonly tenantId: TenantId; readonly usedAtMs: number }>({ tenantId, usedAtMs: varint })),
      }),
    ],
    'tenant.fork': [
      22,
      struct<Of<'tenant.fork'>>({ tenant: tenantCodec, nodeId, worker: varint, operation: operationCodec }),
    ],
    'drill.note': [30, struct<Of<'drill.note'>>({ drill: drillCodec })],
  }),
)
