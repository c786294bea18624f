// Tenants whose every restore point is kept for another time than a day: `s/k/<tenant id>`. The others have no such row.

import type { TenantId } from '../../lib/brand.ts'
import { branded, struct, varint, versioned } from '../binary.ts'

export interface RetentionRow {
  readonly tenantId: TenantId
  readonly keepEveryMs: number
}

export const retentionRows = versioned(1, struct<RetentionRow>({ tenantId: branded<TenantId>(), keepEveryMs: varint }))
