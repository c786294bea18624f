// The calling end of a conversation.

import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Conversation, ReplyTo, TypedMessage } from './conversation.ts'
import type { DealerOptions, Messaging } from './zmq/messaging.ts'

export interface RequestOptions {
  /** How long the caller waits, ms from now; the server learns it and drops what is late. 1 to 600,000. */
  readonly deadlineMs: number
  readonly signal?: AbortSignal
}

export interface RpcClient<Message extends TypedMessage, Replies> {
  /**
   * Sends one request and resolves with its reply.
   *
   * While there is no connection it waits for one, until the deadline. Rejects with TimeoutError (sent, no answer in
   * time), RemoteError (the peer refused; `code` is its own), PeerUnreachableError (see `delivered`), OverloadedError
   * (too many requests under way), EncodeError, or the signal's reason.
   */
  request<T extends Message['type'] & keyof Replies & string>(
    message: Extract<Message, { readonly type: T }>,
    options: RequestOptions,
  ): Promise<ReplyTo<Replies, T>>
  /** Sends without asking for a reply. False when it could not be handed to a connected peer: it is dropped then. */
  send(message: Message): boolean
  readonly isConnected: boolean
  close(): void
}

export interface RpcClientOptions<Message extends TypedMessage, Replies> extends DealerOptions {
  readonly messaging: Messaging
  readonly conversation: Conversation<Message, Replies>
  readonly clock: Clock
  readonly log: Logger
  /** Default 1,000: half the queue of a peer, beyond which libzmq drops silently. */
  readonly outstandingMax?: number
  /** Default 1 MiB. */
  readonly payloadBytesMax?: number
}
