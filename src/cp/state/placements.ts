// Placements: `s/p/<tenant id>`. Which node and worker own a tenant, under which epoch; the epoch only rises.

import type { Placement } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { branded, brandedNumber, struct, varint, versioned } from '../binary.ts'

export const placementRows = versioned(
  1,
  struct<Placement>({
    tenantId: branded<TenantId>(),
    nodeId: branded<NodeId>(),
    worker: varint,
    epoch: brandedNumber<Epoch>(),
  }),
)

/** The epoch shares the 32-bit node id field of LTX files. */
export const epochMax = 0xffff_ffff
