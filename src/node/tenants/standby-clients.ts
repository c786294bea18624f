// A worker's connections to the nodes that keep its tenants' commits; none before a tenant wants it.

import { openRpcClient, type RpcClient } from '../../ipc/client.ts'
import { standbyConversation } from '../../ipc/conversation.ts'
import {
  type FollowedDatabase,
  type StandbyReplies,
  type StandbyRequest,
  standbyPieceBytesMax,
} from '../../ipc/messages/standby.ts'
import type { StandbyRef, WarmRef } from '../../ipc/messages/tenant.ts'
import type { Messaging } from '../../ipc/zmq/messaging.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { Mutex } from '../../lib/mutex.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { LtxWriter } from '../../replicate/ltx/header.ts'
import { StandbyChainError } from '../../replicate/standby-chain.ts'
import type { StandbyNode } from '../../replicate/standby-council.ts'
import type { StandbyUnit } from '../../replicate/standby-log.ts'

type Client = RpcClient<StandbyRequest, StandbyReplies>

/** How long a standby may take to promise: a takeover waits for it, and a node that is gone must not hold it up. */
const promiseMs = 1_500
const readMs = 5_000
const releaseMs = 1_000
const hintMs = 2_000
/** Units for one standby of one tenant that wait for one under way. */
const unitsWaitingMax = 32

export class StandbyClients {
  readonly #deps: { readonly open: () => Messaging; readonly clock: Clock; readonly log: Logger }
  readonly #clients = new Map<string, Client>()
  #messaging: Messaging | null = null

  /** @param deps `open` is called once, when the first standby is needed. */
  constructor(deps: { readonly open: () => Messaging; readonly clock: Clock; readonly log: Logger }) {
    this.#deps = deps
  }

  /** A standby of one tenant. */
  node({ nodeId, ipcAddress }: StandbyRef, tenantId: TenantId): StandbyNode {
    const client = this.#clientOf(ipcAddress)
    const turn = new Mutex(unitsWaitingMax)
    const opening = ({ epoch, incarnation }: LtxWriter) => ({ tenantId, epoch: epoch as Epoch, incarnation })
    return {
      name: nodeId,
      async promise(writer) {
        const reply = await client.request<'standby.promise'>(
          { type: 'standby.promise', ...opening(writer) },
          { deadlineMs: promiseMs },
        )
        if (!reply.accepted || reply.held === null) return reply.accepted ? { accepted: true, held: null } : reply
        const { epoch, incarnation, ...held } = reply.held
        return { accepted: true, held: { ...held, writer: { epoch, incarnation } } }
      },
      append: (writer, unit, deadlineMs) => turn.run(() => append(client, opening(writer), unit, deadlineMs)),
      async read(reader, range) {
        const reply = await client.request<'standby.read'>(
          { type: 'standby.read', ...opening(reader), ...range },
          { deadlineMs: readMs },
        )
        return reply.bytes
      },
      async release(writer) {
        await client.request<'standby.release'>(
          { type: 'standby.release', ...opening(writer) },
          { deadlineMs: releaseMs },
        )
      },
    }
  }

  /** Tells the node of a warm copy that it is behind. Rejects as any request does; the next hint says the same. */
  async hint(
    { ipcAddress, worker }: WarmRef,
    owner: { readonly tenantId: TenantId; readonly epoch: Epoch },
    databases: readonly FollowedDatabase[],
  ): Promise<void> {
    const { tenantId, epoch } = owner
    const message = { type: 'standby.follow', tenantId, epoch, worker, databases } as const
    await this.#clientOf(ipcAddress).request<'standby.follow'>(message, { deadlineMs: hintMs })
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) client.close()
    this.#clients.clear()
    await this.#messaging?.close()
  }

  #clientOf(address: string): Client {
    let client = this.#clients.get(address)
    if (client !== undefined) return client
    for (const [oldest, idle] of this.#clients) {
      if (this.#clients.size < clientsMax) break
      idle.close() // whoever still uses it asks the store instead, and opens anew
      this.#clients.delete(oldest)
    }
    const { open, clock, log } = this.#deps
    this.#messaging ??= open()
    client = openRpcClient<StandbyRequest, StandbyReplies>({
      messaging: this.#messaging,
      conversation: standbyConversation,
      connect: address,
      serverRole: 'node',
      clock,
      log,
    })
    this.#clients.set(address, client)
    return client
  }
}

/** Addresses a worker is connected to: nodes that moved leave theirs behind. */
const clientsMax = 1_000

async function append(
  client: Client,
  opening: { readonly tenantId: TenantId; readonly epoch: Epoch; readonly incarnation: number },
  { bytes, ...facts }: StandbyUnit,
  deadlineMs: number,
) {
  for (let offset = 0; offset < bytes.length; offset += standbyPieceBytesMax) {
    const piece = bytes.subarray(offset, offset + standbyPieceBytesMax)
    const { outcome } = await client.request<'standby.append'>(
      { type: 'standby.append', ...opening, ...facts, offset, totalBytes: bytes.length, bytes: piece },
      { deadlineMs },
    )
    if (outcome !== 'more') return outcome
  }
  throw new StandbyChainError('a standby waits for more of a unit than there is')
}
