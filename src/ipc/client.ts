// The calling end of a conversation.

import type { Cancel, Clock } from '../lib/clock.ts'
import { OverloadedError, TimeoutError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { decodeEnvelope, encodeEnvelope, payloadBytesMaxDefault } from './codec.ts'
import type { Conversation, ReplyTo, TypedMessage } from './conversation.ts'
import { PeerUnreachableError, RemoteError } from './errors.ts'
import type { DealerOptions, DealerSocket, Frames, Messaging } from './zmq/messaging.ts'

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

/** Half of a peer's queue (`highWaterMark` in zmq/context.ts), beyond which libzmq drops replies silently. */
export const outstandingMaxDefault = 1_000

/** Longer than any handshake between healthy peers. */
const keyTrialMs = 3_000

interface Pending {
  readonly bytes: Uint8Array
  /** False while it waits for a connection. */
  sent: boolean
  readonly settle: (outcome: { readonly value: unknown } | { readonly error: unknown }) => void
}

/** Opens a client; it connects in the background and again whenever the connection breaks. */
export function openRpcClient<Message extends TypedMessage, Replies>(
  options: RpcClientOptions<Message, Replies>,
): RpcClient<Message, Replies> {
  return new Client(options)
}

class Client<Message extends TypedMessage, Replies> implements RpcClient<Message, Replies> {
  readonly #options: RpcClientOptions<Message, Replies>
  readonly #outstandingMax: number
  readonly #payloadBytesMax: number
  /** By correlation; in the order of their requests. */
  readonly #pending = new Map<number, Pending>()
  #socket: DealerSocket
  #correlation = 0
  #usePrevious: boolean
  #cancelKeyTrial: Cancel = () => {}
  #closed = false

  constructor(options: RpcClientOptions<Message, Replies>) {
    this.#options = options
    this.#outstandingMax = options.outstandingMax ?? outstandingMaxDefault
    this.#payloadBytesMax = options.payloadBytesMax ?? payloadBytesMaxDefault
    this.#usePrevious = options.usePreviousSecret ?? false
    this.#socket = this.#connect()
  }

  get isConnected(): boolean {
    return this.#socket.isConnected
  }

  request<T extends Message['type'] & keyof Replies & string>(
    message: Extract<Message, { readonly type: T }>,
    { deadlineMs, signal }: RequestOptions,
  ): Promise<ReplyTo<Replies, T>> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      if (this.#closed) return reject(new PeerUnreachableError('the client is closed', 'no'))
      if (this.#pending.size >= this.#outstandingMax)
        return reject(new OverloadedError(`${this.#outstandingMax} requests to ${this.#peer} are under way`))
      const { conversation, clock } = this.#options
      const correlation = ++this.#correlation
      const bytes = encodeEnvelope(
        {
          kind: 'request',
          correlation,
          deadlineMs,
          version: conversation.version,
          conversation: conversation.name,
          body: message,
        },
        this.#payloadBytesMax,
      )
      const settle: Pending['settle'] = (outcome) => {
        this.#pending.delete(correlation)
        cancelDeadline()
        signal?.removeEventListener('abort', onAbort)
        // The reply map is the contract of the conversation's version, which the server has checked.
        if ('value' in outcome) resolve(outcome.value as ReplyTo<Replies, T>)
        else reject(outcome.error)
      }
      const pending: Pending = { bytes, sent: false, settle }
      const onAbort = () => settle({ error: signal?.reason })
      signal?.addEventListener('abort', onAbort, { once: true })
      const cancelDeadline = clock.setTimer(deadlineMs, () =>
        settle({
          error: pending.sent
            ? new TimeoutError(`no answer to ${message.type} from ${this.#peer} within ${deadlineMs} ms`)
            : new PeerUnreachableError(`no connection to ${this.#peer} within ${deadlineMs} ms`, 'no'),
        }),
      )
      this.#pending.set(correlation, pending)
      this.#trySend(pending)
    })
  }

  send(message: Message): boolean {
    if (this.#closed) return false
    const { conversation } = this.#options
    const bytes = encodeEnvelope(
      { kind: 'oneway', version: conversation.version, conversation: conversation.name, body: message },
      this.#payloadBytesMax,
    )
    return this.#socket.send([bytes]) === 'sent'
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#cancelKeyTrial()
    this.#socket.close()
    this.#failAll(() => true)
  }

  get #peer(): string {
    return `${this.#options.serverRole} at ${this.#options.connect}`
  }

  #connect(): DealerSocket {
    const { messaging, connect, serverRole } = this.#options
    const socket = messaging.dealer({ connect, serverRole, usePreviousSecret: this.#usePrevious })
    socket.onMessage = (frames) => this.#onMessage(frames)
    socket.onConnected = () => {
      this.#cancelKeyTrial()
      for (const pending of [...this.#pending.values()]) this.#trySend(pending)
    }
    socket.onDisconnected = () => {
      this.#failAll((pending) => pending.sent)
      this.#tryOtherKeyLater()
    }
    this.#tryOtherKeyLater()
    return socket
  }

  /** While a secret is rotated the peer may still hold the previous one: take turns until a handshake succeeds. */
  #tryOtherKeyLater(): void {
    this.#cancelKeyTrial()
    if (this.#closed || !this.#options.messaging.hasPreviousSecret) return
    this.#cancelKeyTrial = this.#options.clock.setTimer(keyTrialMs, () => {
      if (this.#closed || this.#socket.isConnected) return
      this.#socket.close()
      this.#usePrevious = !this.#usePrevious
      this.#socket = this.#connect()
    })
  }

  #trySend(pending: Pending): void {
    if (!pending.sent && this.#socket.send([pending.bytes]) === 'sent') pending.sent = true
  }

  /** What was sent over a connection that is gone gets no answer: its replies went to the old one. */
  #failAll(isLost: (pending: Pending) => boolean): void {
    for (const pending of [...this.#pending.values()]) {
      if (!isLost(pending)) continue
      const delivered = pending.sent ? 'unknown' : 'no'
      pending.settle({ error: new PeerUnreachableError(`the connection to ${this.#peer} was lost`, delivered) })
    }
  }

  #onMessage(frames: Frames): void {
    const decoded = decodeEnvelope(frames[0]!, this.#payloadBytesMax)
    if (!decoded.ok) {
      this.#options.log.warn('reply could not be decoded', { peer: this.#peer, ...decoded.error })
      return // its request ends at the deadline
    }
    const envelope = decoded.value
    if (envelope.kind !== 'reply' && envelope.kind !== 'error') {
      this.#options.log.warn('unexpected message', { peer: this.#peer, kind: envelope.kind })
      return
    }
    const pending = this.#pending.get(envelope.correlation)
    if (pending === undefined) return // given up at its deadline
    if (envelope.kind === 'reply') pending.settle({ value: envelope.body })
    else pending.settle({ error: new RemoteError(envelope.code, envelope.message, envelope.data) })
  }
}
