// The socket layer in one process, for simulation: the same promises as libzmq (and the same freedom to drop), with
// delays and losses drawn from an injected Rng under an injected Clock, so that a seed replays.

import { assert } from '../../lib/assert.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { type Rng, uniform } from '../../lib/rng.ts'
import { MessagingError } from '../errors.ts'
import { type ClusterSecrets, curveKeyPair, type Role } from '../keys.ts'
import type {
  BindOptions,
  DealerOptions,
  DealerSocket,
  Frames,
  Messaging,
  PublisherSocket,
  RouterPeer,
  RouterSocket,
  SendOutcome,
  SubscriberOptions,
  SubscriberSocket,
} from './messaging.ts'
import { answerZap, keyRing, zapDomain } from './zap.ts'

export interface NetworkFaults {
  /** Uniform in [min, max); messages of one connection stay in order. */
  readonly delayMs: { readonly min: number; readonly max: number }
  /** 0 to 1: the chance that a broadcast to one subscriber is lost. Requests are never lost on a living connection. */
  readonly broadcastLoss: number
}

const noFaults: NetworkFaults = { delayMs: { min: 0, max: 0 }, broadcastLoss: 0 }
/** How long a client waits before it tries to connect again. */
const reconnectMs = 50
/** Bound of one direction of a connection, as libzmq's high-water mark. */
const queueMax = 4_000

export interface MemoryMessagingOptions {
  readonly role: Role
  readonly secrets: ClusterSecrets
  /** Names the process in {@link MemoryNetwork.partition}; its role unless told. */
  readonly name?: string
}

interface Listener {
  readonly owner: MemoryMessaging
  readonly options: BindOptions
  readonly accept: (connection: Connection) => void
}

/** One connection between a client socket and a listener. */
interface Connection {
  readonly id: string
  readonly client: ClientEnd
  readonly role: Role
  readonly listener: Listener
  open: boolean
  readonly toServer: Pipe
  readonly toClient: Pipe
}

/** One direction: in order, delayed, bounded. */
class Pipe {
  readonly #network: MemoryNetwork
  readonly #deliver: (frames: Frames) => void
  #queued = 0
  #lastAtMs = 0

  constructor(network: MemoryNetwork, deliver: (frames: Frames) => void) {
    this.#network = network
    this.#deliver = deliver
  }

  push(frames: Frames): boolean {
    if (this.#queued >= queueMax) return false
    const copy = frames.map((frame) => frame.slice())
    const { clock } = this.#network
    // Never before an earlier message: one connection is one stream.
    const atMs = Math.max(clock.monotonic() + this.#network.drawDelayMs(), this.#lastAtMs)
    this.#lastAtMs = atMs
    this.#queued++
    this.#network.later(Math.max(0, atMs - clock.monotonic()), () => {
      this.#queued--
      this.#deliver(copy)
    })
    return true
  }
}

/** Every simulated process and the wires between them. */
export class MemoryNetwork {
  readonly clock: Clock
  readonly #rng: Rng
  #faults: NetworkFaults
  readonly #listeners = new Map<string, Listener>()
  readonly #connections = new Set<Connection>()
  readonly #cut = new Set<string>()
  #portsUsed = 40_000
  #ids = 0

  constructor(deps: { readonly clock: Clock; readonly rng: Rng; readonly faults?: NetworkFaults }) {
    this.clock = deps.clock
    this.#rng = deps.rng
    this.#faults = deps.faults ?? noFaults
  }

  messaging(options: MemoryMessagingOptions): Messaging {
    return new MemoryMessaging(this, options)
  }

  setFaults(faults: NetworkFaults): void {
    this.#faults = faults
  }

  /** Cuts every connection between the two processes and refuses new ones until {@link heal}. */
  partition(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`).add(`${b} ${a}`)
    for (const connection of [...this.#connections])
      if (this.isCut(connection.client.owner.name, connection.listener.owner.name)) this.disconnect(connection)
  }

  heal(): void {
    this.#cut.clear()
  }

  // What follows is for the sockets of this file.

  isCut(a: string, b: string): boolean {
    return this.#cut.has(`${a} ${b}`)
  }

  drawDelayMs(): number {
    const { min, max } = this.#faults.delayMs
    return min + uniform(this.#rng) * (max - min)
  }

  drawBroadcastLoss(): boolean {
    return this.#faults.broadcastLoss > 0 && uniform(this.#rng) < this.#faults.broadcastLoss
  }

  later(delayMs: number, callback: () => void): Cancel {
    return this.clock.setTimer(delayMs, callback)
  }

  listen(listener: Listener): string {
    const { bind } = listener.options
    const address = bind.endsWith(':0') ? `${bind.slice(0, -1)}${this.#portsUsed++}` : bind
    if (this.#listeners.has(address)) throw new MessagingError(`cannot bind ${bind}: Address already in use`)
    this.#listeners.set(address, listener)
    return address
  }

  unlisten(address: string): void {
    const listener = this.#listeners.get(address)
    this.#listeners.delete(address)
    for (const connection of [...this.#connections]) if (connection.listener === listener) this.disconnect(connection)
  }

  /** Connects a client if the listener is there, reachable, and both prove their roles. */
  connect(client: ClientEnd): Connection | null {
    const listener = this.#listeners.get(client.options.connect)
    if (listener === undefined || this.isCut(client.owner.name, listener.owner.name)) return null
    const secrets = client.owner.secrets
    const secret = client.options.usePreviousSecret ? (secrets.previous ?? secrets.current) : secrets.current
    const expected = curveKeyPair(secret, client.options.serverRole).publicKey
    const offered = curveKeyPair(listener.owner.secrets.current, listener.owner.role).publicKey
    if (Buffer.compare(expected, offered) !== 0) return null
    const own = curveKeyPair(secret, client.owner.role).publicKey
    const text = (value: string) => new TextEncoder().encode(value)
    const nothing = new Uint8Array(0)
    const request = [
      text('1.0'),
      nothing,
      text(zapDomain(listener.options.allow)),
      nothing,
      nothing,
      text('CURVE'),
      own,
    ]
    if (!answerZap(keyRing(listener.owner.secrets), request).allowed) return null
    const connection: Connection = {
      id: `peer-${this.#ids++}`,
      client,
      role: client.owner.role,
      listener,
      open: true,
      toServer: new Pipe(this, (frames) => connection.open && this.onServerMessage(connection, frames)),
      toClient: new Pipe(this, (frames) => connection.open && client.onMessage(frames)),
    }
    this.#connections.add(connection)
    listener.accept(connection)
    return connection
  }

  onServerMessage(connection: Connection, frames: Frames): void {
    this.#serverMessage.get(connection.listener)?.(connection, frames)
  }

  readonly #serverMessage = new Map<Listener, (connection: Connection, frames: Frames) => void>()

  onMessagesOf(listener: Listener, handler: (connection: Connection, frames: Frames) => void): void {
    this.#serverMessage.set(listener, handler)
  }

  disconnect(connection: Connection): void {
    if (!connection.open) return
    connection.open = false
    this.#connections.delete(connection)
    connection.client.onDisconnected()
  }
}

/** A dealer's or subscriber's end: keeps trying to connect. */
class ClientEnd {
  readonly owner: MemoryMessaging
  readonly options: DealerOptions
  readonly #network: MemoryNetwork
  readonly #socket: Pick<DealerSocket, 'onMessage' | 'onConnected' | 'onDisconnected'>
  #connection: Connection | null = null
  #cancel: Cancel = () => {}
  #closed = false

  constructor(
    network: MemoryNetwork,
    owner: MemoryMessaging,
    options: DealerOptions,
    socket: Pick<DealerSocket, 'onMessage' | 'onConnected' | 'onDisconnected'>,
  ) {
    this.#network = network
    this.owner = owner
    this.options = options
    this.#socket = socket
    this.#tryLater(0)
  }

  get isConnected(): boolean {
    return this.#connection !== null
  }

  send(frames: Frames): SendOutcome {
    if (this.#connection === null) return 'no_peer'
    return this.#connection.toServer.push(frames) ? 'sent' : 'full'
  }

  onMessage(frames: Frames): void {
    this.#socket.onMessage(frames)
  }

  onDisconnected(): void {
    this.#connection = null
    if (this.#closed) return
    this.#tryLater(reconnectMs)
    this.#socket.onDisconnected()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#cancel()
    if (this.#connection !== null) this.#network.disconnect(this.#connection)
  }

  #tryLater(delayMs: number): void {
    this.#cancel = this.#network.later(delayMs + this.#network.drawDelayMs(), () => {
      assert(this.#connection === null, 'a client end has one connection')
      this.#connection = this.#network.connect(this)
      if (this.#connection === null) this.#tryLater(reconnectMs)
      else this.#socket.onConnected()
    })
  }
}

class MemoryMessaging implements Messaging {
  readonly role: Role
  readonly name: string
  readonly secrets: ClusterSecrets
  readonly #network: MemoryNetwork
  readonly #sockets = new Set<{ close(): void }>()

  constructor(network: MemoryNetwork, { role, secrets, name }: MemoryMessagingOptions) {
    this.#network = network
    this.role = role
    this.secrets = secrets
    this.name = name ?? role
  }

  get hasPreviousSecret(): boolean {
    return this.secrets.previous !== null
  }

  dealer(options: DealerOptions): DealerSocket {
    const socket: DealerSocket = {
      send: (frames) => end.send(frames),
      onMessage: () => {},
      onConnected: () => {},
      onDisconnected: () => {},
      get isConnected() {
        return end.isConnected
      },
      close: () => end.close(),
    }
    const end = new ClientEnd(this.#network, this, options, socket)
    this.#sockets.add(end)
    return socket
  }

  subscriber(options: SubscriberOptions): SubscriberSocket {
    const prefixes = options.prefixes.map((prefix) => Buffer.from(prefix))
    const socket: SubscriberSocket = {
      onMessage: () => {},
      onConnected: () => {},
      onDisconnected: () => {},
      get isConnected() {
        return end.isConnected
      },
      close: () => end.close(),
    }
    const matches = (frame: Uint8Array) => prefixes.some((prefix) => prefix.equals(frame.subarray(0, prefix.length)))
    const end = new ClientEnd(this.#network, this, options, {
      onMessage: (frames) => {
        if (matches(frames[0]!)) socket.onMessage(frames)
      },
      onConnected: () => socket.onConnected(),
      onDisconnected: () => socket.onDisconnected(),
    })
    this.#sockets.add(end)
    return socket
  }

  router(options: BindOptions): RouterSocket {
    const connections = new Map<string, Connection>()
    const listener: Listener = {
      owner: this,
      options,
      accept: (connection) => void connections.set(connection.id, connection),
    }
    const address = this.#network.listen(listener)
    const router: RouterSocket = {
      address,
      send(peerId, frames) {
        const connection = connections.get(peerId)
        if (!connection?.open) {
          connections.delete(peerId)
          return 'no_peer'
        }
        return connection.toClient.push(frames) ? 'sent' : 'full'
      },
      onMessage: (_peer: RouterPeer, _frames: Frames) => {},
      close: () => this.#network.unlisten(address),
    }
    this.#network.onMessagesOf(listener, ({ id, role }, frames) => router.onMessage({ id, role }, frames))
    this.#sockets.add(router)
    return router
  }

  publisher(options: BindOptions): PublisherSocket {
    const connections = new Set<Connection>()
    const address = this.#network.listen({
      owner: this,
      options,
      accept: (connection) => void connections.add(connection),
    })
    const publisher: PublisherSocket = {
      address,
      send: (frames) => {
        for (const connection of connections) {
          if (!connection.open) connections.delete(connection)
          else if (!this.#network.drawBroadcastLoss()) connection.toClient.push(frames) // a full one loses it
        }
      },
      close: () => this.#network.unlisten(address),
    }
    this.#sockets.add(publisher)
    return publisher
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.close()
    this.#sockets.clear()
  }
}
