// The conversation between the node that owns a tenant and its standbys: DEALER of a worker to the standby node's ROUTER.
// What the numbers mean is in `replicate/standby-log.ts`.

import type { Epoch, TenantId, Txid } from '../../lib/brand.ts'
import { isTenantId } from '../../lib/brand.ts'
import { integer, list, object, oneOf, type Shape, text } from './shape.ts'

/** Bumped when a message changes meaning; a peer that speaks another version is refused with `version_mismatch`. */
export const standbyVersion = 1

/** Bytes of units in one message: below the limit of a message, with room for its other fields. */
export const standbyPieceBytesMax = 512 * 1024
/** Longest unit, bytes. */
export const standbyUnitBytesMax = 16 * 1024 * 1024

interface Opening {
  readonly tenantId: TenantId
  readonly epoch: Epoch
  /** Random per opening of the tenant. */
  readonly incarnation: number
}

export type StandbyRequest =
  /** From now on obey this opening alone; answer once that is on disk. */
  | ({ readonly type: 'standby.promise' } & Opening)
  /** A piece of a unit. Pieces of one unit come in their order; the answer to the last one says that all of it is on disk. */
  | ({
      readonly type: 'standby.append'
      readonly seq: number
      readonly chainSeq: number
      readonly baseTxid: Txid
      readonly offset: number
      readonly totalBytes: number
      readonly bytes: Uint8Array
    } & Opening)
  /** `[from, to)` of the chain that is held. */
  | ({ readonly type: 'standby.read'; readonly from: number; readonly to: number } & Opening)
  /** The store has everything: forget it. */
  | ({ readonly type: 'standby.release' } & Opening)
  /** The owner has shipped: the warm copies of these databases are behind. */
  | {
      readonly type: 'standby.follow'
      readonly tenantId: TenantId
      /** Of the owner: one that has a successor may not know it yet. */
      readonly epoch: Epoch
      /** The worker of this node that would open the tenant, 0-based. */
      readonly worker: number
      readonly databases: readonly FollowedDatabase[]
    }

export const followedDatabases = ['auxiliary.db', 'hooks.db', 'data.db'] as const
export type FollowedDatabase = (typeof followedDatabases)[number]

export interface StandbyReplies {
  'standby.promise':
    | {
        readonly accepted: true
        readonly held: {
          readonly epoch: Epoch
          readonly incarnation: number
          readonly chainSeq: number
          readonly baseTxid: Txid
          readonly lastSeq: number
          readonly sizeBytes: number
        } | null
      }
    | { readonly accepted: false; readonly epoch: Epoch }
  'standby.append': { readonly outcome: 'more' | 'stored' | 'promised' | 'unknown' | 'gap' | 'full' }
  'standby.read': { readonly bytes: Uint8Array | null }
  'standby.release': { readonly released: boolean }
  /** The hint was heard; nobody waits for what comes of it. */
  'standby.follow': { readonly ok: true }
}

type Of<T extends StandbyRequest['type']> = Extract<StandbyRequest, { readonly type: T }>

const opening = {
  tenantId: text<TenantId>(15, isTenantId),
  epoch: integer<Epoch>(1, 0xffff_ffff),
  incarnation: integer(0, 0xffff_ffff),
}
const piece: Shape<Uint8Array> = (value): value is Uint8Array =>
  value instanceof Uint8Array && value.length > 0 && value.length <= standbyPieceBytesMax

export const standbyShapes: { readonly [T in StandbyRequest['type']]: Shape<Of<T>> } = {
  'standby.promise': object<Of<'standby.promise'>>({ type: oneOf('standby.promise'), ...opening }),
  'standby.append': object<Of<'standby.append'>>({
    type: oneOf('standby.append'),
    ...opening,
    seq: integer(2),
    chainSeq: integer(2),
    baseTxid: integer<Txid>(1),
    offset: integer(0, standbyUnitBytesMax),
    totalBytes: integer(1, standbyUnitBytesMax),
    bytes: piece,
  }),
  'standby.read': object<Of<'standby.read'>>({
    type: oneOf('standby.read'),
    ...opening,
    from: integer(),
    to: integer(),
  }),
  'standby.release': object<Of<'standby.release'>>({ type: oneOf('standby.release'), ...opening }),
  'standby.follow': object<Of<'standby.follow'>>({
    type: oneOf('standby.follow'),
    tenantId: opening.tenantId,
    epoch: opening.epoch,
    worker: integer(0, 0xffff_ffff),
    databases: list(oneOf(...followedDatabases), followedDatabases.length),
  }),
}
