// Where the histories of a tenant lie on a store whose create-only writes are not atomic: `s/r/<tenant id>`. Tenants on other
// stores have no such row.

import type { TenantId } from '../../lib/brand.ts'
import { branded, struct, varint, versioned } from '../binary.ts'

export interface ReplicaRow {
  readonly tenantId: TenantId
  /** The epoch whose path counts; 0: the path without one. */
  readonly epoch: number
}

export const replicaRows = versioned(1, struct<ReplicaRow>({ tenantId: branded<TenantId>(), epoch: varint }))
