// The answering end: one ROUTER that serves any number of conversations.

import { assert } from '../lib/assert.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError, TimeoutError, type WireError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { MaybePromise } from '../lib/result.ts'
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  type OutgoingEnvelope,
  payloadBytesMaxDefault,
} from './codec.ts'
import type { Conversation, TypedMessage } from './conversation.ts'
import { EncodeError, RpcRefusal } from './errors.ts'
import type { Role } from './keys.ts'
import type { Shape } from './messages/shape.ts'
import type { BindOptions, Frames, Messaging, RouterPeer, RouterSocket } from './zmq/messaging.ts'

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
  ) => MaybePromise<Replies[T]>
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
    handlers: Handlers<NoInfer<Message>, NoInfer<Replies>> & OneWayHandlers<NoInfer<Message>, NoInfer<Replies>>,
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

/** Enough for every node's heartbeats and every gateway's misses at once; the rest may ask again. */
export const concurrencyMaxDefault = 2_000

type AnyHandler = (message: unknown, context: RpcContext) => unknown

interface Served {
  readonly version: number
  readonly callers: readonly Role[]
  readonly handlers: ReadonlyMap<string, AnyHandler>
  readonly shapes: ReadonlyMap<string, Shape<unknown>>
}

/** Binds the address and answers. Throws MessagingError when it cannot be bound. */
export function openRpcServer(options: RpcServerOptions): RpcServer {
  return new Server(options)
}

class Server implements RpcServer {
  readonly address: string
  readonly #options: RpcServerOptions
  readonly #socket: RouterSocket
  readonly #served = new Map<string, Served>()
  readonly #underWay = new Set<AbortController>()
  readonly #concurrencyMax: number
  readonly #payloadBytesMax: number
  #closed = false

  constructor(options: RpcServerOptions) {
    this.#options = options
    this.#concurrencyMax = options.concurrencyMax ?? concurrencyMaxDefault
    this.#payloadBytesMax = options.payloadBytesMax ?? payloadBytesMaxDefault
    this.#socket = options.messaging.router({ bind: options.bind, allow: options.allow })
    this.#socket.onMessage = (peer, frames) => this.#onMessage(peer, frames)
    this.address = this.#socket.address
  }

  serve<Message extends TypedMessage, Replies>(
    conversation: Conversation<Message, Replies>,
    handlers: Handlers<NoInfer<Message>, NoInfer<Replies>> & OneWayHandlers<NoInfer<Message>, NoInfer<Replies>>,
  ): void {
    assert(!this.#served.has(conversation.name), `conversation ${conversation.name} is served once`)
    // The decoder yields plain data; its `type` picks the handler and the shape that it is checked against first.
    const byType = new Map(Object.entries(handlers) as [string, AnyHandler][])
    this.#served.set(conversation.name, {
      version: conversation.version,
      callers: conversation.callers,
      handlers: byType,
      shapes: new Map(Object.entries(conversation.shapes ?? {}) as [string, Shape<unknown>][]),
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const controller of this.#underWay) controller.abort(new TimeoutError('the server is closing'))
    this.#underWay.clear()
    this.#socket.close()
  }

  #onMessage(peer: RouterPeer, frames: Frames): void {
    const decoded = decodeEnvelope(frames[0]!, this.#payloadBytesMax)
    if (!decoded.ok) {
      // Without a correlation there is nobody to answer; the caller learns it at its deadline.
      this.#options.log.warn('message could not be decoded', { role: peer.role, ...decoded.error })
      return
    }
    const envelope = decoded.value
    if (envelope.kind === 'request') void this.#answer(peer, envelope)
    else if (envelope.kind === 'oneway') this.#take(peer, envelope)
    else this.#options.log.warn('unexpected message', { role: peer.role, kind: envelope.kind })
  }

  async #answer(peer: RouterPeer, request: Extract<Envelope, { readonly kind: 'request' }>): Promise<void> {
    const { correlation, deadlineMs } = request
    const found = this.#find(peer, request)
    if ('code' in found) return this.#refuse(peer, correlation, found)
    if (this.#underWay.size >= this.#concurrencyMax)
      return this.#refuse(peer, correlation, {
        code: 'overloaded',
        message: `${this.#concurrencyMax} requests are under way`,
      })
    const controller = new AbortController()
    this.#underWay.add(controller)
    const cancelDeadline = this.#options.clock.setTimer(deadlineMs, () => {
      controller.abort(new TimeoutError(`the caller's deadline of ${deadlineMs} ms passed`))
      this.#underWay.delete(controller) // also for a handler that does not listen: nobody waits for it any more
    })
    try {
      const context: RpcContext = { role: peer.role, peer: peer.id, deadlineMs, signal: controller.signal }
      const body = await found.handler(request.body, context)
      if (!controller.signal.aborted) this.#reply(peer, { kind: 'reply', correlation, body: body ?? null })
    } catch (error) {
      if (!controller.signal.aborted) this.#refuse(peer, correlation, this.#describe(error, found.type))
    } finally {
      cancelDeadline()
      this.#underWay.delete(controller)
    }
  }

  #take(peer: RouterPeer, message: Extract<Envelope, { readonly kind: 'oneway' }>): void {
    const found = this.#find(peer, message)
    if ('code' in found) {
      this.#options.log.warn('one-way message refused', { role: peer.role, ...found })
      return
    }
    const context: RpcContext = { role: peer.role, peer: peer.id, deadlineMs: 0, signal: neverAborted }
    found.handler(message.body, context) // what it throws is logged by the socket
  }

  /** The handler of a message, or why this peer may not call it. */
  #find(
    peer: RouterPeer,
    message: { readonly conversation: string; readonly version: number; readonly body: unknown },
  ): { readonly type: string; readonly handler: AnyHandler } | WireError {
    const served = this.#served.get(message.conversation)
    if (served === undefined)
      return { code: 'unknown_conversation', message: `no conversation ${message.conversation}` }
    if (!served.callers.includes(peer.role))
      return { code: 'forbidden', message: `role ${peer.role} may not start ${message.conversation}` }
    if (served.version !== message.version)
      return {
        code: 'version_mismatch',
        message: `${message.conversation}: expected version ${served.version}, got ${message.version}`,
        data: { expected: served.version },
      }
    const { body } = message
    const type = typeof body === 'object' && body !== null && 'type' in body ? body.type : undefined
    const handler = typeof type === 'string' ? served.handlers.get(type) : undefined
    if (typeof type !== 'string' || handler === undefined)
      return { code: 'unknown_message', message: `no such message in ${message.conversation}` }
    if (served.shapes.get(type)?.(body) === false) {
      this.#options.log.warn('message of the wrong shape', { role: peer.role, type })
      return { code: 'bad_message', message: `${type} does not have the shape of its version` }
    }
    return { type, handler }
  }

  #describe(error: unknown, type: string): WireError {
    if (error instanceof RpcRefusal) return { code: error.code, message: error.message, data: error.data }
    if (error instanceof AppError) return { code: error.code, message: error.message }
    this.#options.log.error('request handler failed', { type, error })
    return { code: 'internal', message: 'internal error' }
  }

  #refuse(peer: RouterPeer, correlation: number, { code, message, data }: WireError): void {
    this.#reply(peer, { kind: 'error', correlation, code, message, data: data ?? null })
  }

  #reply(peer: RouterPeer, envelope: OutgoingEnvelope): void {
    if (this.#closed) return
    let bytes: Uint8Array
    try {
      bytes = encodeEnvelope(envelope, this.#payloadBytesMax)
    } catch (error) {
      if (!(error instanceof EncodeError) || envelope.kind === 'error') throw error
      this.#options.log.error('reply could not be encoded', { error })
      const correlation = envelope.kind === 'reply' ? envelope.correlation : 0
      this.#refuse(peer, correlation, { code: error.code, message: error.message })
      return
    }
    if (this.#socket.send(peer.id, [bytes]) !== 'sent')
      this.#options.log.debug('reply was dropped', { role: peer.role })
  }
}

/** For one-way messages, which have no deadline. */
const neverAborted = new AbortController().signal
