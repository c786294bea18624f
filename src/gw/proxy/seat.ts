// The stream of one client of a trunk.

import { concat, empty } from '../../lib/bytes.ts'

/** Bytes that may wait for a client that does not read; past it the client is cut off and connects anew. */
const backlogBytesMax = 1024 * 1024

export class Seat {
  readonly number: number
  readonly stream: ReadableStream<Uint8Array>
  readonly #onLeave: () => void
  #onOver: () => void = () => {}
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  #head: Uint8Array = empty
  #isOver = false

  /** @param onLeave called when its client has gone, not when the worker ended it. */
  constructor(number: number, onLeave: () => void) {
    this.number = number
    this.#onLeave = onLeave
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
        },
        cancel: () => this.leave(),
      },
      { highWaterMark: backlogBytesMax, size: (chunk) => chunk?.byteLength ?? 0 },
    )
  }

  /** Calls `listener` once when the stream is over, whoever ended it; at once when it is. */
  onOver(listener: () => void): void {
    if (this.#isOver) listener()
    else this.#onOver = listener
  }

  /** @param head what each message begins with. */
  begin(head: Uint8Array): void {
    this.#head = head.slice() // a view of a whole chunk would keep that in memory
  }

  /** @param isNew a message begins, before which the client must have read enough of those before. */
  write(content: Uint8Array, isNew: boolean): void {
    if (this.#isOver) return
    if (isNew && (this.#controller?.desiredSize ?? 0) <= 0) {
      this.leave(new Error('the client does not read'))
      return
    }
    this.#controller?.enqueue(isNew ? concat([this.#head, content]) : content)
  }

  /** The worker has ended the stream: what is there already is still read. */
  finish(): void {
    if (this.#over()) this.#controller?.close()
  }

  /** The client sees a broken stream, not a short one. */
  fail(cause: unknown): void {
    if (this.#over()) this.#controller?.error(cause)
  }

  /** The client has gone, or is sent away: then for a reason. */
  leave(reason?: Error): void {
    if (!this.#over()) return
    if (reason !== undefined) this.#controller?.error(reason)
    this.#onLeave()
  }

  /** We end the stream, in order. */
  end(): void {
    if (!this.#over()) return
    this.#controller?.close()
    this.#onLeave()
  }

  /** False: it was over before. */
  #over(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    this.#onOver()
    return true
  }
}
