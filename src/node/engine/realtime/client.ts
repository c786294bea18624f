// One connected client: who it is, what it listens to, and the stream it reads. PocketBase: tools/subscriptions.

import type { Collection } from '../collections/collection.ts'
import { toText } from '../fields/cast.ts'
import type { EngineRecord } from '../records/record.ts'
import type { Trunk } from './trunk.ts'

/** Bytes that may wait for a client that does not read; past it the client is closed and connects anew. */
const backlogBytesMax = 1024 * 1024

/** A message up to this is copied behind its client's head: one part of a stream costs less than two, bytes. */
const copiedBytesMax = 2_048

export interface SubscriptionOptions {
  readonly query: Readonly<Record<string, string>>
  /** Names lower case, words joined by underscores. */
  readonly headers: Readonly<Record<string, string>>
}

/** Where a client's messages go that has no stream of its own. */
export interface Seat {
  readonly trunk: Trunk
  readonly number: number
}

export interface ClientFacts {
  readonly id: string
  readonly realIp: string
  readonly nowMs: number
  /** Taken when the trunk still has it. */
  readonly seat: Seat | null
  /** Called once, when the client has gone or was sent away. */
  readonly onClose: (client: RealtimeClient) => void
  /** Told of every topic that is added or dropped. */
  readonly onTopic: (client: RealtimeClient, topic: string, isAdded: boolean) => void
}

const encoder = new TextEncoder()

export class RealtimeClient {
  readonly id: string
  readonly realIp: string
  readonly connectedMs: number
  /** When the last message went out, monotonic ms. */
  lastMessageMs: number
  /** Null: it sits in {@link seat}. */
  readonly stream: ReadableStream<Uint8Array> | null
  readonly seat: Seat | null
  /** Subscriptions as the client wrote them. */
  readonly subscriptions = new Map<string, SubscriptionOptions>()
  readonly #facts: ClientFacts
  readonly #head: Uint8Array
  #auth: EngineRecord | null = null
  /** The secret that signed the token: another one makes the client a guest again. */
  #authSecret = ''
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  #closed = false

  constructor(facts: ClientFacts) {
    this.#facts = facts
    this.id = facts.id
    this.realIp = facts.realIp
    this.connectedMs = facts.nowMs
    this.lastMessageMs = facts.nowMs
    this.#head = encoder.encode(`id:${facts.id}\n`)
    const { seat } = facts
    this.seat = seat?.trunk.seat(seat.number, this.#head, () => this.close()) ? seat : null
    this.stream = this.seat === null ? this.#newStream() : null
  }

  get isClosed(): boolean {
    return this.#closed
  }

  get auth(): EngineRecord | null {
    return this.#auth
  }

  set auth(record: EngineRecord | null) {
    this.#auth = record
    this.#authSecret = record === null ? '' : record.collection.auth.authToken.secret
  }

  /** Drops the auth record when its collection has gone or signs with another secret. */
  checkAuth(current: Collection | undefined): void {
    if (this.#auth !== null && current?.data.auth?.authToken.secret !== this.#authSecret) this.auth = null
  }

  hasSubscription(topic: string): boolean {
    return this.subscriptions.has(topic)
  }

  subscribe(topic: string): void {
    if (topic === '') return
    this.subscriptions.set(topic, parseOptions(topic))
    this.#facts.onTopic(this, topic, true)
  }

  /** Drops one topic, or all. */
  unsubscribe(topic?: string): void {
    for (const each of topic === undefined ? [...this.subscriptions.keys()] : [topic])
      if (this.subscriptions.delete(each)) this.#facts.onTopic(this, each, false)
  }

  /** Sends one message; `data` is JSON. */
  send(name: string, data: string, nowMs = this.lastMessageMs): void {
    this.sendEncoded(encodeMessage(name, data), nowMs)
  }

  /** Sends what {@link encodeMessage} made, shared among clients. A client that does not read is closed. */
  sendEncoded(message: Uint8Array, nowMs: number): void {
    if (this.#closed) return
    if (this.seat !== null) {
      this.seat.trunk.send([this.seat.number], message)
      this.lastMessageMs = nowMs
      return
    }
    if (this.#controller === null) return
    if ((this.#controller.desiredSize ?? 0) <= 0) {
      this.close()
      return
    }
    if (message.length <= copiedBytesMax) {
      this.#controller.enqueue(joined(this.#head, message))
    } else {
      this.#controller.enqueue(this.#head)
      this.#controller.enqueue(message)
    }
    this.lastMessageMs = nowMs
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.seat?.trunk.end(this.seat.number)
    try {
      this.#controller?.close()
    } catch {
      // The reader cancelled first; the stream is closed already.
    }
    this.unsubscribe()
    this.#facts.onClose(this)
  }

  #newStream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
        },
        cancel: () => this.close(),
      },
      { highWaterMark: backlogBytesMax, size: (chunk) => chunk?.byteLength ?? 0 },
    )
  }
}

/** The part of a message that is the same for all clients. */
export function encodeMessage(name: string, data: string): Uint8Array {
  return encoder.encode(`event:${name}\ndata:${data}\n\n`)
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}

/** The part of a topic before its options. */
export function baseOf(topic: string): string {
  const at = topic.indexOf('?')
  return at < 0 ? topic : topic.slice(0, at)
}

/** `posts/*?options={"query":{…},"headers":{…}}`; what cannot be read counts as absent. */
function parseOptions(topic: string): SubscriptionOptions {
  const at = topic.indexOf('?')
  const text = at < 0 ? null : new URLSearchParams(topic.slice(at + 1)).get('options')
  const query: Record<string, string> = {}
  const headers: Record<string, string> = {}
  if (text !== null && text !== '') {
    let options: unknown
    try {
      options = JSON.parse(text)
    } catch {
      options = null
    }
    for (const [key, value] of membersOf(options, 'query')) query[key] = toText(value)
    for (const [key, value] of membersOf(options, 'headers')) headers[snakeCase(key)] = toText(value)
  }
  return { query, headers }
}

function membersOf(value: unknown, name: string): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return []
  const member = (value as Record<string, unknown>)[name]
  return typeof member === 'object' && member !== null && !Array.isArray(member) ? Object.entries(member) : []
}

function snakeCase(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[\W_]+/g, '_')
    .replace(/^_|_$/g, '')
    .toLowerCase()
}
