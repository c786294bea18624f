// One libzmq socket on the main thread: never blocks, always drained.

import { errno, type Library, option, type SocketHandle } from './ffi.ts'
import type { SendOutcome } from './messaging.ts'

/** Messages taken from one socket before others get their turn. */
const drainBatch = 512

export type Receive = (frames: Uint8Array[], user: string) => void

export class ZmqSocket {
  readonly handle: SocketHandle
  /** Readable when libzmq has news; edge-like, see poller.ts. */
  readonly fd: number
  readonly #library: Library
  readonly #receive: Receive | null
  readonly #onError: (error: unknown) => void
  #drainScheduled = false
  #closed = false

  /** @param receive null for a socket that only sends. What it throws goes to `onError` and stops nothing. */
  constructor(
    library: Library,
    handle: SocketHandle,
    options: { readonly receive: Receive | null; readonly onError: (error: unknown) => void },
  ) {
    this.#library = library
    this.handle = handle
    this.#receive = options.receive
    this.#onError = options.onError
    this.fd = library.getInt(handle, option.fd)
    // A pipe that was never read counts as being read, so its first message would raise no signal. The binding or
    // connecting that follows in this turn of the event loop is done when this runs.
    this.#scheduleDrain()
  }

  get isClosed(): boolean {
    return this.#closed
  }

  send(frames: readonly Uint8Array[]): SendOutcome {
    if (this.#closed) return 'no_peer'
    const code = this.#library.send(this.handle, frames)
    this.#scheduleDrain() // a send may have swallowed the signal of something that arrived
    switch (code) {
      case 0:
        return 'sent'
      case errno.eagain:
        return 'full'
      default:
        return 'no_peer' // EHOSTUNREACH of a ROUTER, or the context is being ended
    }
  }

  /** Reads until there is nothing left, which also lets libzmq do its own work for this socket. */
  drain(): void {
    if (this.#closed) return
    if (this.#receive === null) {
      this.#library.getInt(this.handle, option.events)
      return
    }
    for (let taken = 0; taken < drainBatch; taken++) {
      const message = this.#library.receive(this.handle)
      if (message === null) return
      try {
        this.#receive(message.frames, message.user)
      } catch (error) {
        this.#onError(error)
      }
      if (this.#closed) return
    }
    setImmediate(() => this.drain())
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#library.closeSocket(this.handle)
  }

  #scheduleDrain(): void {
    if (this.#drainScheduled) return
    this.#drainScheduled = true
    queueMicrotask(() => {
      this.#drainScheduled = false
      this.drain()
    })
  }
}
