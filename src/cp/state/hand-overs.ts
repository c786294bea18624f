// Tenants whose histories another program writes now: `s/e/<tenant id>`. They stay suspended until somebody takes them back
// and says that the other program has stopped: its writes are not create-only, so there is no fence between it and us. Deleted
// here, they are still the other program's: the row stays, and nobody sweeps them.

import type { TenantId } from '../../lib/brand.ts'
import { branded, struct, varint, versioned } from '../binary.ts'

export interface HandOverRow {
  readonly tenantId: TenantId
  /** Since when. */
  readonly atMs: number
}

export const handOverRows = versioned(1, struct<HandOverRow>({ tenantId: branded<TenantId>(), atMs: varint }))
