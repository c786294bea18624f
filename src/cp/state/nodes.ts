// Nodes: `s/n/<id>`. Identity and labels; heartbeats and load live in memory only.

import type { NodeId } from '../../lib/brand.ts'
import { bool, branded, mapOf, struct, text, varint, versioned } from '../binary.ts'

export interface NodeRow {
  readonly id: NodeId
  readonly ipcAddress: string
  readonly region: string
  readonly zone: string
  readonly labels: Readonly<Record<string, string>>
  readonly tenantsMax: number
  readonly version: string
  readonly featureLevel: number
  /** Takes no new tenants and gives away those it has. */
  readonly draining: boolean
  readonly createdAtMs: number
}

export const nodeRows = versioned(
  1,
  struct<NodeRow>({
    id: branded<NodeId>(),
    ipcAddress: text,
    region: text,
    zone: text,
    labels: mapOf(text),
    tenantsMax: varint,
    version: text,
    featureLevel: varint,
    draining: bool,
    createdAtMs: varint,
  }),
)
