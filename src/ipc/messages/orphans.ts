// What a node tells of commits that another owner overtook, and how they are fetched.

import type { TenantId } from '../../lib/brand.ts'

/** The only files an orphan has. */
export const orphanFiles = ['data.db', 'data.db-wal'] as const
export type OrphanFile = (typeof orphanFiles)[number]

export interface Orphan {
  /** Unique on its node. */
  readonly name: string
  readonly tenantId: TenantId
  readonly takenAtMs: number
  readonly files: readonly { readonly name: OrphanFile; readonly sizeBytes: number }[]
}

/** Bytes of one piece: below the limit of a message. */
export const orphanPieceBytesMax = 512 * 1024

/** `{tenant id}-{ms since the epoch}`; it becomes part of a path. */
export function isOrphanName(text: string): boolean {
  return /^[a-z0-9]{15}-\d{1,16}$/.test(text)
}
