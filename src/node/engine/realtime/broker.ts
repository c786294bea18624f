// All realtime clients of one tenant, found by what they listen to. One timer for all of them, one encoded payload for
// all that may see the same. PocketBase: apis/realtime.go, tools/subscriptions/broker.go.

import { afterArrivals, type Cancel, type Clock } from '../../../lib/clock.ts'
import { randomText } from '../../../lib/id.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Chains } from '../chains.ts'
import type { RealtimeMessageEvent } from '../hook-events.ts'
import type { OutputGate } from '../output-gate.ts'
import type { Usage } from '../usage.ts'
import { baseOf, encodeMessage, RealtimeClient, type Seat } from './client.ts'
import { Trunk } from './trunk.ts'

/** A client without messages for this long is closed, ms. */
export const idleTimeoutMs = 5 * 60_000
/** Every client is closed after this long, ms, and connects anew. */
export const connectionMsMax = 30 * 60_000
/** Clients of one tenant; each costs a descriptor and some KB. */
export const clientsMax = 20_000
/**
 * Bytes of messages that are made and not sent yet. A client may listen to one change by a thousand topics: without this,
 * one large record would take gigabytes.
 */
export const heldBytesMax = 128 * 1024 * 1024
/** Gateways that carry clients of one tenant over a trunk, some of them about to be replaced. */
export const trunksMax = 64
/** How often old clients are looked for, ms. */
const sweepMs = 5_000
/** Clients served before other work gets its turn: each is a write to a socket. */
const chunkSize = 25
/** What a message to one client takes, ms. */
const messageMs = 0.006
/** The same for one of many that a trunk carries it to, ms. */
const seatMs = 0.0001
const clientIdLength = 40

/** One message and those who get it. */
export interface Delivery {
  readonly clients: readonly RealtimeClient[]
  readonly name: string
  /** JSON. */
  readonly data: string
  /** Name and data, encoded once for all clients. */
  readonly message: Uint8Array
}

export interface BrokerDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly gate: OutputGate
  readonly usage: Usage
  readonly chains?: Pick<Chains, 'onRealtimeMessageSend'>
}

export class RealtimeBroker {
  readonly #deps: BrokerDeps
  readonly #clients = new Map<string, RealtimeClient>()
  /** By the part of a topic before `?`, then by client: the topics as written. */
  readonly #topics = new Map<string, Map<RealtimeClient, Set<string>>>()
  readonly #trunks = new Map<string, Trunk>()
  #sweeper: Cancel | null = null
  readonly #held = new Set<Delivery>()
  #heldBytes = 0
  /** Ends when everything handed over so far has been sent: messages keep their order. */
  #sending: Promise<void> = Promise.resolve()

  constructor(deps: BrokerDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#clients.size
  }

  clients(): IterableIterator<RealtimeClient> {
    return this.#clients.values()
  }

  clientById(id: string): RealtimeClient | null {
    return this.#clients.get(id) ?? null
  }

  /** Who listens to a topic, by the part before its options. */
  listeners(base: string): ReadonlyMap<RealtimeClient, ReadonlySet<string>> {
    return this.#topics.get(base) ?? nobody
  }

  /** Takes a gateway's trunk. Null: there are too many, or the id is taken. */
  openTrunk(id: string): Trunk | null {
    if (this.#trunks.size >= trunksMax || this.#trunks.has(id)) return null
    const trunk = new Trunk({ id, clock: this.#deps.clock, onClose: () => this.#trunks.delete(id) })
    this.#trunks.set(id, trunk)
    return trunk
  }

  trunkById(id: string): Trunk | null {
    return this.#trunks.get(id) ?? null
  }

  /**
   * Takes a new client. @returns null when there are too many.
   * @param onClose called once, when the client has gone.
   * @param seat where its messages go if it can be had; else it has a stream of its own.
   */
  connect(realIp: string, onClose: () => void, seat: Seat | null = null): RealtimeClient | null {
    if (this.#clients.size >= clientsMax) return null
    const { clock, rng } = this.#deps
    const client = new RealtimeClient({
      id: randomText(rng, clientIdLength),
      realIp,
      nowMs: clock.monotonic(),
      seat,
      onClose: (closed) => {
        this.#clients.delete(closed.id)
        onClose()
      },
      onTopic: (of, topic, isAdded) => this.#index(of, topic, isAdded),
    })
    this.#clients.set(client.id, client)
    this.#sweeper ??= clock.setTimer(sweepMs, () => this.#sweep())
    const message = { name: 'PB_CONNECT', data: `{"clientId":"${client.id}"}` }
    if (this.#deps.chains?.onRealtimeMessageSend.isEmpty === false) void this.#sendHooked(client, message)
    else client.send(message.name, message.data, clock.monotonic())
    return client
  }

  /**
   * One message for several clients, which counts until it is delivered or {@link drop}ped. Null when too much waits
   * already: its clients are closed, as those are that do not read, and connect anew.
   */
  prepare(clients: readonly RealtimeClient[], name: string, data: string): Delivery | null {
    const message = encodeMessage(name, data)
    if (this.#heldBytes + message.length > heldBytesMax) {
      for (const client of clients) client.close()
      return null
    }
    const delivery = { clients, name, data, message }
    this.#held.add(delivery)
    this.#heldBytes += message.length
    return delivery
  }

  /** Messages that will not be sent after all. */
  drop(deliveries: readonly Delivery[]): void {
    for (const each of deliveries) if (this.#held.delete(each)) this.#heldBytes -= each.message.length
  }

  /**
   * Sends in the background, in the order of the calls, once the output gate lets what was committed so far out.
   * @param deliveries may still be being made up: rules of one change can take longer to ask than those of the next.
   */
  deliver(deliveries: MaybePromise<readonly Delivery[]>): void {
    if (!(deliveries instanceof Promise) && deliveries.length === 0) return
    this.#sending = this.#sending
      .then(async () => {
        const made = await deliveries
        try {
          await this.#send(made)
        } finally {
          this.drop(made)
        }
      })
      .catch((error: unknown) => {
        this.#deps.log.warn('realtime messages not sent', { error })
      })
  }

  /** Resolves when everything handed over so far has been sent. */
  idle(): Promise<void> {
    return this.#sending
  }

  /** Sends everybody away. */
  close(): void {
    this.#sweeper?.()
    this.#sweeper = null
    for (const client of [...this.#clients.values()]) client.close()
    for (const trunk of [...this.#trunks.values()]) trunk.close()
  }

  async #send(deliveries: readonly Delivery[]): Promise<void> {
    if (deliveries.length === 0) return
    const { clock, gate, chains, usage } = this.#deps
    await gate.pass()
    const isHooked = chains?.onRealtimeMessageSend.isEmpty === false
    let served = 0
    let nowMs = clock.monotonic()
    const rest = async () => {
      usage.add(chunkSize * messageMs)
      await new Promise<void>(afterArrivals)
      nowMs = clock.monotonic()
    }
    for (const { clients, name, data, message } of deliveries) {
      const seated = isHooked ? null : seatsOf(clients, nowMs)
      for (const [trunk, numbers] of seated ?? []) {
        trunk.send(numbers, message)
        usage.add(numbers.length * seatMs)
        await trunk.room()
        if (++served % chunkSize === 0) await rest()
      }
      for (const client of clients) {
        if (isHooked) {
          await this.#sendHooked(client, { name, data })
          await client.seat?.trunk.room()
        } else if (client.seat === null) client.sendEncoded(message, nowMs)
        else continue
        if (++served % chunkSize === 0) await rest()
      }
    }
  }

  /** A handler that fails keeps the message from its client, and from no other. */
  async #sendHooked(client: RealtimeClient, message: { name: string; data: string }): Promise<void> {
    const { clock, log, chains } = this.#deps
    const event: RealtimeMessageEvent = { client, message, next() {} }
    try {
      await chains!.onRealtimeMessageSend.trigger(event, () =>
        client.send(message.name, message.data, clock.monotonic()),
      )
    } catch (error) {
      log.warn('realtime message withheld by a handler', { error })
    }
  }

  #index(client: RealtimeClient, topic: string, isAdded: boolean): void {
    const base = baseOf(topic)
    let clients = this.#topics.get(base)
    if (!isAdded) {
      const topics = clients?.get(client)
      topics?.delete(topic)
      if (topics?.size === 0) clients?.delete(client)
      if (clients?.size === 0) this.#topics.delete(base)
      return
    }
    if (clients === undefined) this.#topics.set(base, (clients = new Map()))
    const topics = clients.get(client)
    if (topics === undefined) clients.set(client, new Set([topic]))
    else topics.add(topic)
  }

  #sweep(): void {
    const { clock } = this.#deps
    const nowMs = clock.monotonic()
    for (const client of [...this.#clients.values()])
      if (nowMs - client.lastMessageMs >= idleTimeoutMs || nowMs - client.connectedMs >= connectionMsMax) client.close()
    this.#sweeper = this.#clients.size > 0 ? clock.setTimer(sweepMs, () => this.#sweep()) : null
  }
}

/** The seats among clients that are still there, by trunk, each of which is about to get a message. */
function seatsOf(clients: readonly RealtimeClient[], nowMs: number): ReadonlyMap<Trunk, number[]> | null {
  let seats: Map<Trunk, number[]> | null = null
  for (const client of clients) {
    if (client.seat === null || client.isClosed) continue
    const { trunk, number } = client.seat
    seats ??= new Map()
    const numbers = seats.get(trunk)
    if (numbers === undefined) seats.set(trunk, [number])
    else numbers.push(number)
    client.lastMessageMs = nowMs
  }
  return seats
}

const nobody: ReadonlyMap<RealtimeClient, ReadonlySet<string>> = new Map()
