// The fleet's own settings: `s/c`, one row.

import { struct, text, varint, versioned } from '../binary.ts'

export interface ClusterConfig {
  /** Made once; tells two fleets apart. */
  readonly clusterId: string
  readonly createdAtMs: number
  /** All tenants but the deleted, over all owners: the members hold every row in memory. */
  readonly tenantsMax: number
}

export const tenantsMaxDefault = 1_000_000

export const configRows = versioned(
  1,
  struct<ClusterConfig>({ clusterId: text, createdAtMs: varint, tenantsMax: varint }),
)
