// Messaging over libzmq: one context, one poll thread, CURVE on every socket.

import type { Logger } from '../../lib/obs/log.ts'
import { type ClusterSecrets, type CurveKeyPair, curveKeyPair, type Role } from '../keys.ts'
import { type ContextHandle, type Library, loadLibrary, option, type SocketHandle, socketType } from './ffi.ts'
import type {
  BindOptions,
  DealerOptions,
  DealerSocket,
  Frames,
  Messaging,
  PublisherSocket,
  RouterPeer,
  RouterSocket,
  SubscriberOptions,
  SubscriberSocket,
} from './messaging.ts'
import { Poller } from './poller.ts'
import { type Receive, ZmqSocket } from './socket.ts'
import { answerZap, keyRing, roleOfUser, zapAddress, zapDomain } from './zap.ts'

/** A control plane talks to every node, and each connection takes a socket and its monitor. */
const socketsMax = 8_192
/** Messages queued per peer and direction. ROUTER and PUB drop beyond it; clients keep to half of it. */
const highWaterMark = 4_000
/** Larger frames end the connection: no honest peer sends them, see the payload limit of the codec. */
const frameBytesMax = 4 * 1024 * 1024
/** Connections that wait to be accepted: a whole fleet may come back at once, and what is refused waits a second. */
const acceptBacklog = 1_024
/** First and longest pause between attempts to connect. */
const reconnectMs = { first: 50, max: 1_000 } as const
/** A silent connection is probed this often and given up after `timeout`. */
const heartbeatMs = { interval: 500, timeout: 1_500 } as const
/** A peer that connects and says nothing is dropped. */
const handshakeMs = 5_000

/** zmq.h's numbers of the monitor events we use. */
const monitorEvent = { disconnected: 0x0200, handshakeSucceeded: 0x1000, handshakeFailedAuth: 0x4000 } as const
const monitorEvents = monitorEvent.disconnected | monitorEvent.handshakeSucceeded | monitorEvent.handshakeFailedAuth

export interface MessagingOptions {
  readonly role: Role
  readonly secrets: ClusterSecrets
  readonly log: Logger
}

/** Loads libzmq and starts its threads. Throws MessagingError when it cannot be loaded. */
export function openMessaging(options: MessagingOptions): Messaging {
  return new ZmqMessaging(loadLibrary(), options)
}

class ZmqMessaging implements Messaging {
  readonly role: Role
  readonly #library: Library
  readonly #context: ContextHandle
  readonly #poller: Poller
  readonly #secrets: ClusterSecrets
  readonly #keys: CurveKeyPair
  readonly #log: Logger
  /** By descriptor. */
  readonly #sockets = new Map<number, ZmqSocket>()
  #monitors = 0
  #closed: Promise<void> | null = null

  constructor(library: Library, { role, secrets, log }: MessagingOptions) {
    this.role = role
    this.#library = library
    this.#secrets = secrets
    this.#log = log
    this.#keys = curveKeyPair(secrets.current, role)
    this.#context = library.newContext({ socketsMax })
    this.#poller = new Poller(library, { fdsMax: socketsMax, drain: (fd) => this.#sockets.get(fd)?.drain() })
    this.#startZap()
  }

  get hasPreviousSecret(): boolean {
    return this.#secrets.previous !== null
  }

  dealer(options: DealerOptions): DealerSocket {
    const dealer: DealerSocket = {
      send: (frames) => (dealer.isConnected ? socket.send(frames) : 'no_peer'),
      onMessage: () => {},
      onConnected: () => {},
      onDisconnected: () => {},
      get isConnected() {
        return connection.isConnected
      },
      close: () => {
        connection.close()
        this.#close(socket)
      },
    }
    const socket = this.#open(socketType.dealer, (frames) => dealer.onMessage(frames))
    const connection = this.#connect(socket, options, dealer)
    return dealer
  }

  subscriber(options: SubscriberOptions): SubscriberSocket {
    const subscriber: SubscriberSocket = {
      onMessage: () => {},
      onConnected: () => {},
      onDisconnected: () => {},
      get isConnected() {
        return connection.isConnected
      },
      close: () => {
        connection.close()
        this.#close(socket)
      },
    }
    const socket = this.#open(socketType.sub, (frames) => subscriber.onMessage(frames))
    for (const prefix of options.prefixes) this.#library.setBytes(socket.handle, option.subscribe, Buffer.from(prefix))
    const connection = this.#connect(socket, options, subscriber)
    return subscriber
  }

  router(options: BindOptions): RouterSocket {
    const socket = this.#open(socketType.router, (frames, user) => {
      const role = roleOfUser(user)
      // ZAP let the peer in, so it has a role; a message without an identity frame cannot come from a ROUTER.
      if (role === null || frames.length < 2) return
      router.onMessage({ id: Buffer.from(frames[0]!).toString('latin1'), role }, frames.slice(1))
    })
    this.#library.setInt(socket.handle, option.routerMandatory, 1)
    const address = this.#bind(socket, options)
    const router: RouterSocket = {
      address,
      send: (peerId, frames) => socket.send([Buffer.from(peerId, 'latin1'), ...frames]),
      onMessage: (_peer: RouterPeer, _frames: Frames) => {},
      close: () => this.#close(socket),
    }
    return router
  }

  publisher(options: BindOptions): PublisherSocket {
    const socket = this.#open(socketType.pub, null)
    return {
      address: this.#bind(socket, options),
      send: (frames) => void socket.send(frames),
      close: () => this.#close(socket),
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeAll()
    return this.#closed
  }

  async #closeAll(): Promise<void> {
    await this.#poller.stop() // first: nobody may poll a descriptor of a socket that is gone
    for (const socket of this.#sockets.values()) socket.close()
    this.#sockets.clear()
    this.#library.endContext(this.#context)
  }

  #open(type: number, receive: Receive | null, secured = true): ZmqSocket {
    const handle = this.#library.openSocket(this.#context, type)
    const set = (name: number, value: number) => this.#library.setInt(handle, name, value)
    set(option.linger, 0)
    if (secured) {
      set(option.sndHwm, highWaterMark)
      set(option.rcvHwm, highWaterMark)
      set(option.reconnectIvl, reconnectMs.first)
      set(option.reconnectIvlMax, reconnectMs.max)
      set(option.heartbeatIvl, heartbeatMs.interval)
      set(option.heartbeatTimeout, heartbeatMs.timeout)
      set(option.handshakeIvl, handshakeMs)
      this.#library.setInt64(handle, option.maxMsgSize, frameBytesMax)
    }
    const onError = (error: unknown) => this.#log.error('message handler failed', { error })
    const socket = new ZmqSocket(this.#library, handle, { receive, onError })
    this.#sockets.set(socket.fd, socket)
    this.#poller.add(socket.fd)
    return socket
  }

  #close(socket: ZmqSocket): void {
    if (this.#closed !== null || socket.isClosed) return // closing everything does it in the right order
    this.#poller.remove(socket.fd)
    this.#sockets.delete(socket.fd)
    socket.close()
  }

  #bind(socket: ZmqSocket, { bind, allow }: BindOptions): string {
    const { handle } = socket
    this.#library.setInt(handle, option.curveServer, 1)
    this.#library.setBytes(handle, option.curveSecretKey, this.#keys.secretKey)
    this.#library.setBytes(handle, option.zapDomain, Buffer.from(zapDomain(allow)))
    this.#library.setInt(handle, option.zapEnforceDomain, 1)
    this.#library.setInt(handle, option.backlog, acceptBacklog)
    if (bind.includes('[')) this.#library.setInt(handle, option.ipv6, 1)
    try {
      return this.#library.bind(handle, bind)
    } catch (error) {
      this.#close(socket)
      throw error
    }
  }

  /** Connects with our key, expecting the server's, and reports the connection's state through a monitor. */
  #connect(
    socket: ZmqSocket,
    { connect, serverRole, usePreviousSecret = false }: DealerOptions,
    listener: Pick<DealerSocket, 'onConnected' | 'onDisconnected'>,
  ): { readonly isConnected: boolean; close(): void } {
    const { handle } = socket
    const secret = usePreviousSecret ? (this.#secrets.previous ?? this.#secrets.current) : this.#secrets.current
    const own = curveKeyPair(secret, this.role)
    this.#library.setBytes(handle, option.curveServerKey, curveKeyPair(secret, serverRole).publicKey)
    this.#library.setBytes(handle, option.curvePublicKey, own.publicKey)
    this.#library.setBytes(handle, option.curveSecretKey, own.secretKey)
    if (connect.includes('[')) this.#library.setInt(handle, option.ipv6, 1)
    // Nothing is queued before the handshake is done: a caller learns at once that nobody is there.
    this.#library.setInt(handle, option.immediate, 1)
    const monitor = this.#monitor(handle, (event) => {
      if (event === monitorEvent.handshakeSucceeded) {
        connection.isConnected = true
        listener.onConnected()
      } else if (event === monitorEvent.handshakeFailedAuth) {
        this.#log.warn('peer refused our key', { address: connect, serverRole })
      } else if (connection.isConnected) {
        connection.isConnected = false
        listener.onDisconnected()
      }
    })
    const connection = { isConnected: false, close: () => this.#close(monitor) }
    try {
      this.#library.connect(handle, connect)
    } catch (error) {
      this.#close(monitor)
      this.#close(socket)
      throw error
    }
    return connection
  }

  #monitor(handle: SocketHandle, onEvent: (event: number) => void): ZmqSocket {
    const address = `inproc://monitor-${this.#monitors++}`
    this.#library.monitor(handle, address, monitorEvents)
    // First frame: event u16, value u32, both in host order; second: the endpoint.
    const monitor = this.#open(
      socketType.pair,
      (frames) => onEvent(new DataView(frames[0]!.buffer, frames[0]!.byteOffset).getUint16(0, true)),
      false,
    )
    this.#library.connect(monitor.handle, address)
    return monitor
  }

  #startZap(): void {
    const ring = keyRing(this.#secrets)
    const socket = this.#open(
      socketType.rep,
      (frames) => {
        const answer = answerZap(ring, frames)
        if (!answer.allowed) this.#log.warn('connection refused', { reason: answer.reason })
        socket.send(answer.frames)
      },
      false,
    )
    this.#library.bind(socket.handle, zapAddress)
  }
}
