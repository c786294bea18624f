// Changes of owner that were decided and are not done: `s/m/<tenant id>`. The owner of now lets go first, with everything in the
// store, and keeps closed from then on what it let go; whoever finds the row goes on, so that no crash leaves the tenant so.

import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { bool, branded, brandedNumber, list, nullable, struct, varint, versioned } from '../binary.ts'
import { type AuditFacts, auditCodec } from './audit.ts'

export interface PlannedChange {
  readonly tenantId: TenantId
  /** Of the placement that ends; the row goes with it. */
  readonly epoch: Epoch
  /** The next owner. */
  readonly nodeId: NodeId
  readonly worker: number
  readonly standbys: readonly NodeId[]
  /** Once the owner has let go nobody has to ask the standbys of before. */
  readonly forget: boolean
  /** Who wanted it; recorded with the placement. */
  readonly audit: AuditFacts | null
}

export const plannedChangeCodec = struct<PlannedChange>({
  tenantId: branded<TenantId>(),
  epoch: brandedNumber<Epoch>(),
  nodeId: branded<NodeId>(),
  worker: varint,
  standbys: list(branded<NodeId>()),
  forget: bool,
  audit: nullable(auditCodec),
})

export const plannedChangeRows = versioned(1, plannedChangeCodec)
