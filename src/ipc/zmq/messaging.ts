// The socket layer as the rest of `ipc` sees it: four kinds of sockets that carry lists of frames. `zmq/context.ts`
// implements it over libzmq, `zmq/memory.ts` in one process for simulation.

import type { Role } from '../keys.ts'

/** One message: its parts, at least one. Received frames belong to the receiver; sent ones are copied before return. */
export type Frames = readonly Uint8Array[]

/** `sent`: handed to a connected peer's queue; `no_peer`: nobody is connected; `full`: the peer's queue is full. */
export type SendOutcome = 'sent' | 'no_peer' | 'full'

/** A client's end: one connection to one ROUTER, made again by itself whenever it breaks. */
export interface DealerSocket {
  send(frames: Frames): SendOutcome
  onMessage: (frames: Frames) => void
  /** The handshake is done, so the peer proved its role and accepted ours. */
  onConnected: () => void
  /** The connection is gone; what was under way on it may or may not have arrived. */
  onDisconnected: () => void
  readonly isConnected: boolean
  close(): void
}

export interface RouterPeer {
  /** Opaque, unique among the connections of this socket; valid until the peer disconnects. */
  readonly id: string
  readonly role: Role
}

/** A server's end. */
export interface RouterSocket {
  /** The address in fact bound, with the port that was chosen for port 0. */
  readonly address: string
  send(peerId: string, frames: Frames): SendOutcome
  onMessage: (peer: RouterPeer, frames: Frames) => void
  close(): void
}

export interface PublisherSocket {
  readonly address: string
  /** The first frame is what subscribers filter by. Slow subscribers lose messages; the publisher never waits. */
  send(frames: Frames): void
  close(): void
}

export interface SubscriberSocket {
  onMessage: (frames: Frames) => void
  onConnected: () => void
  onDisconnected: () => void
  readonly isConnected: boolean
  close(): void
}

export interface DealerOptions {
  /** `tcp://host:port` or `ipc://path`. */
  readonly connect: string
  /** Who must be there; another role's key does not complete the handshake. */
  readonly serverRole: Role
  /** Expect the peer's key of the previous cluster secret. */
  readonly usePreviousSecret?: boolean
}

export interface BindOptions {
  /** `tcp://host:port` (port 0 chooses one) or `ipc://path`. */
  readonly bind: string
  /** Roles that may connect. */
  readonly allow: readonly Role[]
}

export interface SubscriberOptions extends DealerOptions {
  /** Byte prefixes of the first frame. */
  readonly prefixes: readonly string[]
}

/** Everything one process says and hears, under one role. Sockets that are still open are closed with it. */
export interface Messaging {
  readonly role: Role
  /** A rotation is going on: peers may still hold the previous secret, see `DealerOptions.usePreviousSecret`. */
  readonly hasPreviousSecret: boolean
  dealer(options: DealerOptions): DealerSocket
  /** Throws MessagingError when the address cannot be bound. */
  router(options: BindOptions): RouterSocket
  publisher(options: BindOptions): PublisherSocket
  subscriber(options: SubscriberOptions): SubscriberSocket
  close(): Promise<void>
}
