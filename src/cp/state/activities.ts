// How long a tenant has not been used, and what became of it: `s/u/<tenant id>`. Coarse: who is used is noted once a day.

import type { ArchiveStage } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import { branded, nullable, oneOf, struct, varint, versioned } from '../binary.ts'

export interface TenantActivity {
  readonly tenantId: TenantId
  /** The last use that was noted, ms since the Unix epoch. */
  readonly usedAtMs: number
  /** `warm`: as it was written. */
  readonly stage: ArchiveStage | 'warm'
  /** When it got there. */
  readonly stageAtMs: number
  /** How long its last reopening out of the archive took, ms. */
  readonly reopenMs: number | null
}

export const activityCodec = struct<TenantActivity>({
  tenantId: branded<TenantId>(),
  usedAtMs: varint,
  stage: oneOf(['warm', 'infrequent', 'archived']),
  stageAtMs: varint,
  reopenMs: nullable(varint),
})

export const activityRows = versioned(1, activityCodec)
