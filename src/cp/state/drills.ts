// Restore drills: `s/d/<tenant id>`. When a tenant's history was last proven to be restorable, and what the last attempt
// found when it was not.

import type { NodeId, TenantId, Txid } from '../../lib/brand.ts'
import { branded, brandedNumber, nullable, struct, text, varint, versioned } from '../binary.ts'

/** A restore of all databases that stood every comparison. Figures are those of `data.db`. */
export interface ProvenRestore {
  readonly atMs: number
  /** Where it was restored. */
  readonly nodeId: NodeId
  readonly txid: Txid
  readonly sizeBytes: number
  readonly restoreMs: number
}

export interface DrillFailure {
  readonly atMs: number
  readonly nodeId: NodeId
  readonly code: string
  readonly message: string
}

export interface DrillRow {
  readonly tenantId: TenantId
  readonly proven: ProvenRestore | null
  /** null: the last attempt that came to an end was good. */
  readonly failure: DrillFailure | null
}

const nodeId = branded<NodeId>()

export const drillCodec = struct<DrillRow>({
  tenantId: branded<TenantId>(),
  proven: nullable(
    struct<ProvenRestore>({
      atMs: varint,
      nodeId,
      txid: brandedNumber<Txid>(),
      sizeBytes: varint,
      restoreMs: varint,
    }),
  ),
  failure: nullable(struct<DrillFailure>({ atMs: varint, nodeId, code: text, message: text })),
})

export const drillRows = versioned(1, drillCodec)
