// Work on a tenant that was decided and is not done: `s/o/<tenant id>`, one a tenant. A node may die in the middle of it, and
// so may this member; whoever finds the row goes on.

import type { Cut } from '../../ipc/messages/jobs.ts'
import type { TenantId, Txid } from '../../lib/brand.ts'
import { branded, brandedNumber, struct, text, union, varint, versioned } from '../binary.ts'

export type TenantOperation =
  /** Goes back in place. */
  | {
      readonly type: 'restore'
      readonly id: string
      readonly tenantId: TenantId
      readonly cut: Cut
      readonly atMs: number
    }
  /** Makes the tenant, which is still `created`, out of a moment of another. */
  | {
      readonly type: 'fork'
      readonly id: string
      readonly tenantId: TenantId
      readonly source: TenantId
      readonly cut: Cut
      readonly atMs: number
    }

type Of<T extends TenantOperation['type']> = Omit<Extract<TenantOperation, { readonly type: T }>, 'type'>

const tenantId = branded<TenantId>()
const txid = brandedNumber<Txid>()
const cut = struct<Cut>({ atMs: varint, data: txid, hooks: txid, auxiliary: txid })

export const operationCodec = union<TenantOperation>({
  restore: [1, struct<Of<'restore'>>({ id: text, tenantId, cut, atMs: varint })],
  fork: [2, struct<Of<'fork'>>({ id: text, tenantId, source: tenantId, cut, atMs: varint })],
})

export const operationRows = versioned(1, operationCodec)
