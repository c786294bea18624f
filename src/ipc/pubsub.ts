// Broadcasts. PUB/SUB may drop, so each topic carries a sequence number and publishers repeat the last one every second:
// a subscriber that missed something learns so within a second and drops what it cached. Broadcasts are hints; state is
// pulled.

import { empty, fromUtf8, utf8 } from '../lib/bytes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { randomText } from '../lib/id.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'
import { decodeEnvelope, type Envelope, encodeEnvelope } from './codec.ts'
import type { TypedMessage } from './conversation.ts'
import type { BindOptions, Frames, Messaging, SubscriberOptions, SubscriberSocket } from './zmq/messaging.ts'

export interface Publisher<Message extends TypedMessage, Topic extends string> {
  readonly address: string
  publish(topic: Topic, message: Message): void
  close(): void
}

export interface PublisherOptions extends BindOptions {
  readonly messaging: Messaging
  readonly clock: Clock
  readonly rng: Rng
}

/**
 * Why what was cached may be stale: `connected`: the first word on a topic of a new connection, so what came before was
 * missed; `gap`: messages were lost on the way; `restarted`: the publisher is another process than before; `silent`:
 * connected, but even the beats stopped.
 */
export type ResyncReason = 'connected' | 'gap' | 'restarted' | 'silent'

export interface Subscriber {
  /** Connected and heard from within the last seconds: what was cached since the last resync can be trusted. */
  readonly isCurrent: boolean
  close(): void
}

export interface SubscriberDeps<Message extends TypedMessage, Topic extends string>
  extends Omit<SubscriberOptions, 'prefixes'> {
  readonly messaging: Messaging
  readonly clock: Clock
  readonly log: Logger
  readonly topics: readonly Topic[]
  readonly onMessage: (topic: Topic, message: Message) => void
  /** Drop or re-read everything that this publisher keeps fresh. */
  readonly onResync: (reason: ResyncReason) => void
}

/** How often a publisher repeats its last sequence numbers. */
const beatMs = 1_000
/** Without a beat for this long a connection is as good as none. */
const silentMs = 5_000
const publisherIdLength = 16

export function openPublisher<Message extends TypedMessage, Topic extends string>(
  options: PublisherOptions & { readonly topics: readonly Topic[] },
): Publisher<Message, Topic> {
  const { messaging, clock, rng, topics } = options
  const socket = messaging.publisher(options)
  const publisher = randomText(rng, publisherIdLength)
  const sequences = new Map<Topic, number>(topics.map((topic) => [topic, 0]))
  let cancelBeat: Cancel = () => {}
  const beat = () => {
    for (const [topic, sequence] of sequences)
      socket.send([utf8(topic), encodeEnvelope({ kind: 'beat', publisher, sequence })])
    cancelBeat = clock.setTimer(beatMs, beat)
  }
  beat()
  return {
    address: socket.address,
    publish(topic, message) {
      const sequence = (sequences.get(topic) ?? 0) + 1
      const bytes = encodeEnvelope({ kind: 'publish', publisher, sequence, body: message })
      sequences.set(topic, sequence) // only now: a message that cannot be encoded must not look like a gap
      socket.send([utf8(topic), bytes])
    },
    close() {
      cancelBeat()
      socket.close()
    },
  }
}

export function openSubscriber<Message extends TypedMessage, Topic extends string>(
  deps: SubscriberDeps<Message, Topic>,
): Subscriber {
  return new TopicSubscriber(deps)
}

class TopicSubscriber<Message extends TypedMessage, Topic extends string> implements Subscriber {
  readonly #deps: SubscriberDeps<Message, Topic>
  readonly #topics: ReadonlyMap<string, Topic>
  /** The last sequence number seen of each topic; absent before the first message or beat of a connection. */
  readonly #sequences = new Map<Topic, number>()
  #socket: SubscriberSocket
  #publisher: string | null = null
  #heardAtMs: number
  #cancelWatch: Cancel = () => {}
  #usePrevious: boolean
  #closed = false

  constructor(deps: SubscriberDeps<Message, Topic>) {
    this.#deps = deps
    this.#topics = new Map(deps.topics.map((topic) => [topic, topic]))
    this.#usePrevious = deps.usePreviousSecret ?? false
    this.#heardAtMs = Number.NEGATIVE_INFINITY
    this.#socket = this.#connect()
    this.#watch()
  }

  get isCurrent(): boolean {
    return this.#socket.isConnected && this.#deps.clock.monotonic() - this.#heardAtMs < silentMs
  }

  close(): void {
    this.#closed = true
    this.#cancelWatch()
    this.#socket.close()
  }

  #connect(): SubscriberSocket {
    const { messaging, connect, serverRole, topics } = this.#deps
    const socket = messaging.subscriber({
      connect,
      serverRole,
      usePreviousSecret: this.#usePrevious,
      prefixes: topics,
    })
    socket.onConnected = () => {
      this.#sequences.clear()
      this.#publisher = null
    }
    socket.onMessage = (frames) => this.#onMessage(frames)
    return socket
  }

  /** libzmq reconnects by itself; what it cannot do is notice that it waits for the wrong key, or a stalled publisher. */
  #watch(): void {
    let wasCurrent = false
    const look = () => {
      this.#cancelWatch = this.#deps.clock.setTimer(silentMs, look)
      const { isCurrent } = this
      if (wasCurrent && !isCurrent && this.#socket.isConnected) this.#deps.onResync('silent')
      wasCurrent = isCurrent
      if (this.#socket.isConnected || !this.#deps.messaging.hasPreviousSecret) return
      this.#socket.close()
      this.#usePrevious = !this.#usePrevious
      this.#socket = this.#connect()
    }
    this.#cancelWatch = this.#deps.clock.setTimer(silentMs, look)
  }

  #onMessage(frames: Frames): void {
    if (this.#closed) return
    const topic = this.#topics.get(fromUtf8(frames[0]!))
    const decoded = decodeEnvelope(frames[1] ?? empty)
    if (topic === undefined || !decoded.ok) {
      this.#deps.log.warn('broadcast could not be decoded', { ...(!decoded.ok && decoded.error) })
      return
    }
    const envelope = decoded.value
    if (envelope.kind !== 'publish' && envelope.kind !== 'beat') return
    this.#heardAtMs = this.#deps.clock.monotonic()
    const reason = this.#staleness(topic, envelope)
    if (reason !== null) this.#deps.onResync(reason)
    this.#publisher = envelope.publisher
    this.#sequences.set(topic, Math.max(this.#sequences.get(topic) ?? 0, envelope.sequence))
    if (envelope.kind === 'beat') return
    // Plain data under a topic of an authenticated publisher; its shape is the contract of the topic.
    this.#deps.onMessage(topic, envelope.body as unknown as Message)
  }

  /** Whether something was missed before this message. */
  #staleness(topic: Topic, envelope: Extract<Envelope, { readonly sequence: number }>): ResyncReason | null {
    if (this.#publisher !== null && this.#publisher !== envelope.publisher) {
      this.#sequences.clear()
      return 'restarted'
    }
    const last = this.#sequences.get(topic)
    // The first word on a topic only sets the mark: what was published between the handshake and our subscription's
    // arrival is lost unseen, so the resync belongs here and not to the handshake.
    if (last === undefined) return 'connected'
    const expected = envelope.kind === 'beat' ? last : last + 1
    return envelope.sequence > expected ? 'gap' : null
  }
}
