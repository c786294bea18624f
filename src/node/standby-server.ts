// What this node does for the owners of other nodes' tenants: keeps their commits until the object store has them.

import { standbyConversation } from '../ipc/conversation.ts'
import { RpcRefusal } from '../ipc/errors.ts'
import {
  type FollowedDatabase,
  type StandbyReplies,
  type StandbyRequest,
  standbyPieceBytesMax,
} from '../ipc/messages/standby.ts'
import type { Handlers, RpcServer } from '../ipc/server.ts'
import type { Epoch, TenantId } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import type { StandbyLogs } from '../replicate/standby-log.ts'

/** Units that are being received, all together, bytes. */
const receivingBytesMax = 128 * 1024 * 1024
/** An owner that has not sent the next piece by then is gone, ms. */
const pieceMsMax = 10_000

interface Receiving {
  readonly epoch: Epoch
  readonly seq: number
  readonly peer: string
  readonly bytes: Uint8Array
  filled: number
  /** Monotonic time of the last piece. */
  heardAtMs: number
}

export interface StandbyParts {
  readonly logs: StandbyLogs
  readonly clock: Clock
  /** The owner of a tenant that has its warm copy here has shipped. */
  readonly onFollow: (hint: {
    readonly tenantId: TenantId
    readonly epoch: Epoch
    readonly worker: number
    readonly databases: readonly FollowedDatabase[]
  }) => void
}

/** Serves the conversation on the node's ROUTER. */
export function serveStandby(server: RpcServer, { logs, clock, onFollow }: StandbyParts): void {
  /** One unit a tenant: its owner sends one after another, and who starts anew has given up the one before. */
  const receiving = new Map<TenantId, Receiving>()
  let receivingBytes = 0
  const drop = (tenantId: TenantId) => {
    receivingBytes -= receiving.get(tenantId)?.bytes.length ?? 0
    receiving.delete(tenantId)
  }
  /** Somebody with a later epoch is sending. */
  const hasSuccessor = (tenantId: TenantId, epoch: Epoch) => {
    const unit = receiving.get(tenantId)
    return unit !== undefined && unit.epoch > epoch && clock.monotonic() - unit.heardAtMs <= pieceMsMax
  }
  const dropAbandoned = () => {
    const nowMs = clock.monotonic()
    for (const [tenantId, { heardAtMs }] of receiving) if (nowMs - heardAtMs > pieceMsMax) drop(tenantId)
  }
  const handlers: Handlers<StandbyRequest, StandbyReplies> = {
    'standby.promise': async ({ tenantId, epoch, incarnation }) => {
      if (!hasSuccessor(tenantId, epoch)) drop(tenantId)
      const outcome = await logs.promise(tenantId, { epoch, incarnation })
      if (!outcome.accepted) return { accepted: false, epoch: outcome.epoch as Epoch }
      if (outcome.held === null) return { accepted: true, held: null }
      const { writer, ...held } = outcome.held
      return { accepted: true, held: { ...held, epoch: writer.epoch as Epoch, incarnation: writer.incarnation } }
    },
    'standby.append': async (message, { peer }) => {
      const { tenantId, epoch, incarnation, seq, chainSeq, baseTxid, offset, totalBytes } = message
      const append = async (bytes: Uint8Array) => ({
        outcome: await logs.append(tenantId, { epoch, incarnation }, { seq, chainSeq, baseTxid, bytes }),
      })
      if (offset === 0 && message.bytes.length === totalBytes) return append(message.bytes)
      // An owner of before, which has not noticed yet, must not disturb its successor.
      if (hasSuccessor(tenantId, epoch)) return { outcome: 'promised' }
      if (offset === 0) {
        drop(tenantId)
        if (receivingBytes + totalBytes > receivingBytesMax) dropAbandoned()
        if (receivingBytes + totalBytes > receivingBytesMax)
          throw new RpcRefusal('overloaded', 'this standby receives too much at once')
        receivingBytes += totalBytes
        receiving.set(tenantId, { epoch, seq, peer, bytes: new Uint8Array(totalBytes), filled: 0, heardAtMs: 0 })
      }
      const unit = receiving.get(tenantId)
      const fits =
        unit !== undefined &&
        unit.seq === seq &&
        unit.peer === peer &&
        unit.filled === offset &&
        unit.bytes.length === totalBytes
      if (!fits || offset + message.bytes.length > totalBytes) {
        drop(tenantId)
        throw new RpcRefusal('bad_message', 'this piece does not follow the one before')
      }
      unit.bytes.set(message.bytes, offset)
      unit.filled += message.bytes.length
      unit.heardAtMs = clock.monotonic()
      if (unit.filled < totalBytes) return { outcome: 'more' }
      drop(tenantId)
      return append(unit.bytes)
    },
    'standby.read': async ({ tenantId, epoch, incarnation, from, to }) => ({
      bytes: await logs.read(tenantId, { epoch, incarnation }, { from, to: Math.min(to, from + standbyPieceBytesMax) }),
    }),
    'standby.release': async ({ tenantId, epoch, incarnation }) => {
      if (!hasSuccessor(tenantId, epoch)) drop(tenantId)
      return { released: await logs.release(tenantId, { epoch, incarnation }) }
    },
    'standby.follow': ({ type: _, ...hint }) => {
      onFollow(hint)
      return { ok: true }
    },
  }
  server.serve(standbyConversation, handlers)
}
