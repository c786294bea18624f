// One trunk: the event streams of many clients of a tenant over one connection to its worker, handed out to each of them.
// docs/formats/trunk.md has the bytes and what either end promises.

import { type Frame, FrameReader, frameKind, frameSeatsMax } from '../../ipc/messages/trunk.ts'
import { afterArrivals, type Cancel, type Clock } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { Seat } from './seat.ts'

/** Clients of one trunk; a tenant takes no more from all gateways. */
const seatsMax = 20_000
/** Clients served before other work gets its turn: each is a write to a socket. */
const chunkSize = 25
/** A trunk without clients is closed after this long, ms. */
const idleMs = 30_000
/** When the worker did not hear which clients have gone, it is told again after this long, ms. */
const tellAgainMs = 1_000

export interface TrunkFacts {
  readonly id: string
  readonly clock: Clock
  readonly log: Logger
  /** Tells the worker which clients have gone; false: it did not hear. Never rejects. */
  readonly tellGone: (numbers: readonly number[]) => Promise<boolean>
}

export class Trunk {
  readonly #facts: TrunkFacts
  readonly #seats = new Map<number, Seat>()
  /** Clients that have gone of which the worker has not heard. */
  readonly #gone = new Set<number>()
  #nextNumber = 1
  #reader: ReadableStreamDefaultReader<Uint8Array> | null = null
  #isTelling = false
  #cancelIdle: Cancel | null = null
  #cancelTelling: Cancel | null = null
  #isOver = false

  constructor(facts: TrunkFacts) {
    this.#facts = facts
  }

  get id(): string {
    return this.#facts.id
  }

  /** A seat for one more client; null when there is none. Whoever takes it leaves it. */
  take(): Seat | null {
    if (this.#isOver || this.#seats.size >= seatsMax) return null
    this.#cancelIdle?.()
    this.#cancelIdle = null
    const number = this.#nextNumber++
    const seat = new Seat(number, () => {
      if (this.#seats.delete(number)) this.#sendAway(number)
      this.#restWhenEmpty()
    })
    this.#seats.set(number, seat)
    return seat
  }

  /** Hands out what comes until the trunk ends; the streams of those who still sit on it end as it does. Never rejects. */
  async run(stream: ReadableStream<Uint8Array>): Promise<void> {
    const reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>
    this.#reader = reader
    this.#restWhenEmpty()
    const frames = new FrameReader()
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        for (const frame of frames.push(value)) await this.#handle(frame)
      }
      this.#end(frames.isWhole ? null : new Error('the trunk ended inside a frame'))
    } catch (error) {
      this.#end(error)
      reader.cancel().catch(() => {}) // it has failed already, or is told that nobody reads
    }
  }

  /** Ends it; clients that still sit on it see a broken stream. */
  cut(reason: Error): void {
    if (this.#isOver) return
    this.#end(reason)
    this.#reader?.cancel().catch(() => {}) // it has failed already: either way it is over
  }

  async #handle({ kind, seats, content }: Frame): Promise<void> {
    let served = 0
    for (const number of seats) {
      const seat = this.#seats.get(number)
      if (kind === frameKind.end) {
        this.#seats.delete(number)
        this.#gone.delete(number)
        seat?.finish()
        this.#restWhenEmpty()
        continue
      }
      if (seat === undefined) {
        this.#sendAway(number) // it left before the worker had seated it
        continue
      }
      if (kind === frameKind.open) seat.begin(content)
      else seat.write(content, kind === frameKind.message)
      if (++served % chunkSize === 0) await new Promise<void>(afterArrivals)
    }
  }

  /** Those who leave together are told of together. */
  #sendAway(number: number): void {
    if (this.#isOver) return
    this.#gone.add(number)
    if (this.#isTelling) return
    this.#isTelling = true
    afterArrivals(() => void this.#tell())
  }

  async #tell(): Promise<void> {
    this.#cancelTelling = null
    while (this.#gone.size > 0 && !this.#isOver) {
      const numbers = [...this.#gone].slice(0, frameSeatsMax)
      if (await this.#facts.tellGone(numbers)) for (const number of numbers) this.#gone.delete(number)
      else if (!this.#isOver) {
        this.#cancelTelling = this.#facts.clock.setTimer(tellAgainMs, () => void this.#tell())
        return
      }
    }
    this.#isTelling = false
  }

  #restWhenEmpty(): void {
    if (this.#isOver || this.#seats.size > 0 || this.#cancelIdle !== null) return
    this.#cancelIdle = this.#facts.clock.setTimer(idleMs, () => this.cut(new Error('nobody is left on the trunk')))
  }

  /** @param cause null: in order. */
  #end(cause: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#cancelIdle?.()
    this.#cancelTelling?.()
    if (this.#seats.size > 0 && cause !== null)
      this.#facts.log.warn('trunk broke', { trunk: this.id, clients: this.#seats.size, error: errorMessage(cause) })
    for (const seat of [...this.#seats.values()])
      if (cause === null) seat.finish()
      else seat.fail(cause)
    this.#seats.clear()
    this.#gone.clear()
  }
}
