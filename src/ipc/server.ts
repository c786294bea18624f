// The answering end: one ROUTER that serves any number of conversations.

import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { MaybePromise } from '../lib/result.ts'
import type { Conversation, ReplyTo, TypedMessage } from './conversation.ts'
import type { Role } from './keys.ts'
import type { BindOptions, Messaging } from './zmq/messaging.ts'

export interface RpcContext {
  /** Proven by the caller's key. */
  readonly role: Role
  /** Opaque id of the connection. */
  readonly peer: string
  /** Time left when the request arrived, ms. */
  readonly deadlineMs: number
  /** Aborts at the deadline and when the server closes. */
  readonly signal: AbortSignal
}

/**
 * One handler per message type. What it throws reaches the caller as RemoteError: an AppError with its `code` and
 * message (and `data`, for RpcRefusal); anything else as `internal`, and is logged here.
 */
export type Handlers<Message extends TypedMessage, Replies> = {
  readonly [T in Message['type'] & keyof Replies & string]: (
    message: Extract<Message, { readonly type: T }>,
    context: RpcContext,
  ) => MaybePromise<ReplyTo<Replies, T>>
}

/** Handlers of the one-way messages of a conversation: those that have no entry in its reply map. */
export type OneWayHandlers<Message extends TypedMessage, Replies> = {
  readonly [T in Exclude<Message['type'], keyof Replies>]: (
    message: Extract<Message, { readonly type: T }>,
    context: Pick<RpcContext, 'role' | 'peer'>,
  ) => void
}

export interface RpcServer {
  /** The address in fact bound. */
  readonly address: string
  /** Serves a conversation; each name once. */
  serve<Message extends TypedMessage, Replies>(
    conversation: Conversation<Message, Replies>,
    handlers: Handlers<Message, Replies> & OneWayHandlers<Message, Replies>,
  ): void
  /** Stops taking requests, aborts those under way and closes the socket. */
  close(): void
}

export interface RpcServerOptions extends BindOptions {
  readonly messaging: Messaging
  readonly clock: Clock
  readonly log: Logger
  /** Requests under way at once over all peers; more are refused with `overloaded`. Default 2,000. */
  readonly concurrencyMax?: number
  /** Default 1 MiB. */
  readonly payloadBytesMax?: number
}
