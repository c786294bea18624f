// Joins libzmq to Bun's event loop: a thread waits in poll(2), the main thread is woken by Atomics.waitAsync and drains.
//
//   poll thread:  poll(fds) ─ events++ ─ notify ─ wait until acks moves ─ again
//   main thread:  waitAsync(events) ─ drain ready sockets ─ acks++ ─ notify ─ drain again ─ waitAsync
//
// ZMQ_FD is edge-like: a signal that was consumed by a send does not come again. Hence the second drain, and hence every
// send, and the opening of a socket, is followed by a drain of its own (socket.ts).

import { assert } from '../../lib/assert.ts'
import { workerUrl } from '../../workers.ts'
import { MessagingError } from '../errors.ts'
import type { Library } from './ffi.ts'
import { firstReadySlot, pollSlotCount, pollSlots } from './poll-slots.ts'

export class Poller {
  readonly #library: Library
  readonly #drain: (fd: number) => void
  readonly #slots: Int32Array
  readonly #wakeFd: number
  readonly #worker: Worker
  readonly #fdsMax: number
  #fds: number[] = []
  #seen = 0
  #stopped = false

  /** @param drain called on the main thread when the socket of this descriptor may have something; must read it dry. */
  constructor(library: Library, options: { readonly fdsMax: number; readonly drain: (fd: number) => void }) {
    this.#library = library
    this.#drain = options.drain
    this.#fdsMax = options.fdsMax
    const shared = new SharedArrayBuffer(4 * pollSlotCount(options.fdsMax))
    this.#slots = new Int32Array(shared)
    this.#wakeFd = library.eventFd()
    this.#worker = new Worker(workerUrl('ipc/zmq/poll-worker'))
    this.#worker.addEventListener('error', (event) => {
      // Without it this process is deaf. Uncaught on purpose: whoever started the process starts it again.
      throw new MessagingError(`the poll thread failed: ${event.message}`)
    })
    this.#worker.postMessage({ shared, wakeFd: this.#wakeFd, fdsMax: options.fdsMax })
    this.#wait()
  }

  add(fd: number): void {
    if (this.#fds.length >= this.#fdsMax) throw new MessagingError(`more than ${this.#fdsMax} sockets`)
    this.#fds.push(fd)
    this.#publishFds()
  }

  remove(fd: number): void {
    this.#fds = this.#fds.filter((each) => each !== fd)
    this.#publishFds()
  }

  /** Ends the thread. Only then may sockets and context be closed. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    const ended = new Promise<void>((resolve) => this.#worker.addEventListener('message', () => resolve()))
    Atomics.store(this.#slots, pollSlots.stop, 1)
    this.#wakeThread()
    await ended
    this.#library.closeFd(this.#wakeFd)
    this.#worker.terminate()
    Atomics.add(this.#slots, pollSlots.events, 1) // ends our own pending wait
    Atomics.notify(this.#slots, pollSlots.events)
  }

  #publishFds(): void {
    assert(!this.#stopped, 'the poller runs')
    for (const [i, fd] of this.#fds.entries()) Atomics.store(this.#slots, pollSlots.firstFd + i, fd)
    Atomics.store(this.#slots, pollSlots.count, this.#fds.length)
    this.#wakeThread()
  }

  #wakeThread(): void {
    this.#library.signalEventFd(this.#wakeFd)
    Atomics.add(this.#slots, pollSlots.acks, 1) // it may be waiting for us rather than in poll
    Atomics.notify(this.#slots, pollSlots.acks)
  }

  #wait(): void {
    const outcome = Atomics.waitAsync(this.#slots, pollSlots.events, this.#seen)
    if (outcome.async) void outcome.value.then(() => this.#onEvent())
    else queueMicrotask(() => this.#onEvent())
  }

  #onEvent(): void {
    if (this.#stopped) return
    this.#seen = Atomics.load(this.#slots, pollSlots.events)
    // Taken before the acknowledgement, after which the thread may overwrite the list.
    const first = firstReadySlot(this.#fdsMax)
    const ready = this.#slots.slice(first, first + Atomics.load(this.#slots, pollSlots.readyCount))
    for (const fd of ready) this.#drain(fd)
    Atomics.add(this.#slots, pollSlots.acks, 1)
    Atomics.notify(this.#slots, pollSlots.acks)
    for (const fd of ready) this.#drain(fd)
    if (!this.#stopped) this.#wait()
  }
}
