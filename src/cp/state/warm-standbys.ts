// Tenants that are kept warm on a second node: `s/h/<tenant id>`. The others have no such row.

import type { NodeId, TenantId } from '../../lib/brand.ts'
import { branded, nullable, struct, varint, versioned } from '../binary.ts'

/** The worker of a node that has the copy, and would open the tenant. */
export interface WarmPlace {
  readonly nodeId: NodeId
  readonly worker: number
}

export interface WarmStandbyRow {
  readonly tenantId: TenantId
  /** null: none was found yet. */
  readonly place: WarmPlace | null
}

export const warmPlaceCodec = struct<WarmPlace>({ nodeId: branded<NodeId>(), worker: varint })
export const warmStandbyRows = versioned(
  1,
  struct<WarmStandbyRow>({ tenantId: branded<TenantId>(), place: nullable(warmPlaceCodec) }),
)
