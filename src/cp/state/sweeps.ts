// Objects that nobody needs any more: `s/w/<tenant id>`, for deleted tenants, and for paths of earlier epochs of living
// ones. A row says how far their deletion is; tombstones without one were left by an earlier version.
//
//   deleted:  released ──(grace)──► named ──(a day)──► deleting ──► swept
//   living:                (none) ──► named ──(a day)──► deleting ──► swept, until the next move makes new leftovers

import type { TenantId } from '../../lib/brand.ts'
import { branded, oneOf, struct, varint, versioned } from '../binary.ts'

export const sweepPhases = ['released', 'named', 'deleting', 'swept'] as const
export type SweepPhase = (typeof sweepPhases)[number]

export interface SweepRow {
  readonly tenantId: TenantId
  readonly phase: SweepPhase
  /** Since when; `released`: when the tenant was deleted. */
  readonly atMs: number
  /** Deleted: the highest epoch that it was ours under, 0 when that is unknown. Living: paths below this one go. */
  readonly epoch: number
  /** What was there when it was named, or what is gone. */
  readonly objects: number
  readonly bytes: number
}

export const sweepCodec = struct<SweepRow>({
  tenantId: branded<TenantId>(),
  phase: oneOf(sweepPhases),
  atMs: varint,
  epoch: varint,
  objects: varint,
  bytes: varint,
})

export const sweepRows = versioned(1, sweepCodec)
