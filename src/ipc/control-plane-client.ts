// One client for the whole control plane: it finds the members over HTTP, keeps a connection to one of them and moves on
// to another when that one is gone. Followers forward to the leader, so any member will do. Nodes and gateways use it.

import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'
import type { RequestOptions } from './client.ts'
import type { Conversation, ReplyTo, TypedMessage } from './conversation.ts'
import type { ClusterSecrets } from './keys.ts'
import type { Broadcast, BroadcastTopic } from './messages/cp-gateway.ts'
import type { DirectoryMember } from './messages/directory.ts'
import type { ResyncReason } from './pubsub.ts'
import type { Messaging } from './zmq/messaging.ts'

export interface ControlPlaneClient<Message extends TypedMessage, Replies> {
  /**
   * Like `RpcClient.request`, against whichever member answers. A request that surely was not delivered goes to the next
   * member within the same deadline; `idempotent: true` allows that also when delivery is unknown or the member is slow.
   */
  request<T extends Message['type'] & keyof Replies & string>(
    message: Extract<Message, { readonly type: T }>,
    options: RequestOptions & { readonly idempotent?: boolean },
  ): Promise<ReplyTo<Replies, T>>
  /** Members as last heard; empty before the first answer. */
  readonly members: readonly DirectoryMember[]
  /** True while connected to at least one member. */
  readonly isConnected: boolean
  close(): void
}

export interface ControlPlaneClientOptions<Message extends TypedMessage, Replies> {
  readonly messaging: Messaging
  readonly conversation: Conversation<Message, Replies>
  readonly secrets: ClusterSecrets
  /** HTTP addresses of members, `host:port` or `http://host:port`; at least one. */
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  /** Broadcasts of all members; heard once per member, so handlers must not mind repetition. */
  readonly broadcasts?: {
    readonly topics: readonly BroadcastTopic[]
    readonly onMessage: (message: Broadcast) => void
    readonly onResync: (reason: ResyncReason) => void
  }
  /** For tests; the global `fetch` otherwise. */
  readonly fetch?: typeof fetch
}
