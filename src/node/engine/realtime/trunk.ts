// A connection to a gateway that carries the streams of many realtime clients: what they all get crosses it once.

import {
  encodeFrame,
  type FrameKind,
  frameContentBytesMax,
  frameKind,
  frameSeatsMax,
} from '../../../ipc/messages/trunk.ts'
import { empty } from '../../../lib/bytes.ts'
import type { Clock } from '../../../lib/clock.ts'
import { TimeoutError } from '../../../lib/errors.ts'
import type { MaybePromise } from '../../../lib/result.ts'

/** Bytes that may wait for the gateway before messages do. */
const waitingBytesMax = 1024 * 1024
/** A gateway that takes nothing for this long holds up all of a tenant's clients no more: its trunk is closed, ms. */
const stallMs = 5_000

export interface TrunkFacts {
  /** Drawn by the gateway. */
  readonly id: string
  readonly clock: Clock
  /** Called once, after its clients were told. */
  readonly onClose: (trunk: Trunk) => void
}

export class Trunk {
  readonly id: string
  /** What the gateway reads. */
  readonly stream: ReadableStream<Uint8Array>
  readonly #facts: TrunkFacts
  /** By number: what to call when the gateway has lost that client. */
  readonly #seats = new Map<number, () => void>()
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  /** Ends when there is room again, or the trunk is closed. */
  #waiting: { readonly over: Promise<void>; readonly end: () => void } | null = null
  #isClosed = false

  constructor(facts: TrunkFacts) {
    this.#facts = facts
    this.id = facts.id
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
          // The head of an answer leaves with its first byte: a frame about nobody.
          controller.enqueue(encodeFrame(frameKind.end, [], empty))
        },
        pull: () => this.#waiting?.end(),
        cancel: () => this.close(),
      },
      { highWaterMark: waitingBytesMax, size: (chunk) => chunk?.byteLength ?? 0 },
    )
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /**
   * Seats a client. False when the trunk is closed, or the number taken.
   *
   * @param head what each of its messages begins with.
   * @param onGone called once when the gateway says that the client has gone, or is gone itself.
   */
  seat(number: number, head: Uint8Array, onGone: () => void): boolean {
    if (this.#isClosed || this.#seats.has(number)) return false
    this.#seats.set(number, onGone)
    this.#enqueue(frameKind.open, [number], head)
    return true
  }

  /** One message for several of its clients. The caller asks {@link room} before the next one. */
  send(numbers: readonly number[], message: Uint8Array): void {
    for (let from = 0; from < message.length; from += frameContentBytesMax) {
      const content = message.subarray(from, from + frameContentBytesMax)
      for (let at = 0; at < numbers.length; at += frameSeatsMax)
        this.#enqueue(
          from === 0 ? frameKind.message : frameKind.more,
          numbers.length <= frameSeatsMax ? numbers : numbers.slice(at, at + frameSeatsMax),
          content,
        )
    }
  }

  /** Undefined: the next message may be sent. Else resolves when it may; never rejects. */
  room(): MaybePromise<void> {
    if (this.#isClosed || (this.#controller?.desiredSize ?? 0) > 0) return undefined
    if (this.#waiting !== null) return this.#waiting.over
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#facts.clock.setTimer(stallMs, () =>
      this.close(new TimeoutError(`the gateway took nothing for ${stallMs} ms`)),
    )
    const end = () => {
      cancel()
      this.#waiting = null
      resolve()
    }
    this.#waiting = { over: promise, end }
    return promise
  }

  /** The stream of one client has ended, by our will. */
  end(number: number): void {
    if (this.#seats.delete(number)) this.#enqueue(frameKind.end, [number], empty)
  }

  /** The gateway says that these have gone. */
  leave(numbers: readonly number[]): void {
    for (const number of numbers) {
      const onGone = this.#seats.get(number)
      this.#seats.delete(number)
      onGone?.()
    }
  }

  /**
   * Ends it, and the streams of all its clients.
   * @param reason it breaks, and what the gateway has not taken is dropped.
   */
  close(reason?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.leave([...this.#seats.keys()])
    try {
      if (reason === undefined) this.#controller?.close()
      else this.#controller?.error(reason)
    } catch {
      // The gateway has gone, and its end of the stream with it.
    }
    this.#waiting?.end()
    this.#facts.onClose(this)
  }

  #enqueue(kind: FrameKind, numbers: readonly number[], content: Uint8Array): void {
    if (!this.#isClosed) this.#controller?.enqueue(encodeFrame(kind, numbers, content))
  }
}
