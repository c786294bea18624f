// One question to a worker and its answer, on a connection that it has for itself until the answer is complete. Answers
// that are small are handed on whole; large and endless ones stream, at the pace of whoever reads them.

import { type AnswerHead, AnswerParser, type AnswerSink } from './answer-parser.ts'
import { downstreamHeaders } from './headers.ts'
import type { Attempt } from './http.ts'
import { isEventStreamType } from './sse.ts'
import { wholeBody } from './whole-body.ts'

/** Counted bodies up to this are handed on whole, bytes: a stream costs more than the copy. */
const wholeBytesMax = 256 * 1024
/** Bytes of a stream that may wait for its reader before the worker has to. */
const waitingBytesMax = 256 * 1024

export interface Question {
  /** `http://host:port` of the worker. */
  readonly origin: string
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Uint8Array | null
  readonly signal: AbortSignal
  /** Called once the line is not the question's any more. */
  readonly onOver?: () => void
}

/** The connection, as far as an exchange may steer it. */
export interface Line {
  pause(): void
  resume(): void
  /** Cuts it: the worker sees that nobody listens any more. */
  cut(): void
}

/** Told of an answer that is an event stream; returns what to call when it has ended. */
export type OnEventStream = (response: Response, end: () => void) => () => void

const misdirectedRequest = 421

export class Exchange implements AnswerSink {
  readonly #line: Line
  readonly #question: Question
  readonly #onEventStream: OnEventStream
  readonly #answered = Promise.withResolvers<Attempt>()
  readonly #parser: AnswerParser
  readonly #onAbort = () => this.#abort()
  #head: AnswerHead | null = null
  #parts: Uint8Array[] = []
  #reader: ReadableStreamDefaultController<Uint8Array> | null = null
  #onStreamEnd: (() => void) | null = null
  /** The line is not this exchange's any more. */
  #isOver = false

  constructor(question: Question, line: Line, onEventStream: OnEventStream) {
    this.#question = question
    this.#line = line
    this.#onEventStream = onEventStream
    this.#parser = new AnswerParser(this, question.method === 'HEAD')
    question.signal.addEventListener('abort', this.#onAbort)
  }

  /** What came of it; never rejects. */
  get attempt(): Promise<Attempt> {
    return this.#answered.promise
  }

  get isDone(): boolean {
    return this.#parser.isDone
  }

  /** Whether the connection can take another question after this one. */
  get keepsOpen(): boolean {
    return this.#parser.isDone && this.#parser.keepsOpen
  }

  /** Takes what arrived. Throws what makes the connection useless; the caller then calls {@link fail}. */
  push(bytes: Buffer): void {
    this.#parser.push(bytes)
    this.#handOn()
    const head = this.#head
    if (head === null || this.#reader !== null || this.#parser.isDone || head.status === misdirectedRequest) return
    if (head.bodyBytes === null || head.bodyBytes > wholeBytesMax) this.#stream(head)
  }

  /** The connection has ended. */
  close(): void {
    if (!this.#parser.close()) this.fail(new Error('the connection was closed before the answer was complete'))
  }

  fail(cause: unknown): void {
    this.#end()
    this.#answered.resolve({ outcome: 'broken', cause }) // does nothing once a stream was handed on
    const reader = this.#reader
    this.#reader = null
    reader?.error(cause) // the client must see a broken stream, not a short one
  }

  onHead(head: AnswerHead): void {
    this.#head = head
  }

  onData(bytes: Uint8Array): void {
    if (this.#head?.status !== misdirectedRequest) this.#parts.push(bytes)
  }

  /** Gives the reader what arrived together as one part: each costs it a write. */
  #handOn(): void {
    if (this.#reader === null || this.#parts.length === 0) return
    this.#reader.enqueue(this.#whole())
    this.#parts = []
    if ((this.#reader.desiredSize ?? 0) <= 0) this.#line.pause()
  }

  onEnd(): void {
    this.#end()
    this.#handOn()
    const reader = this.#reader
    this.#reader = null
    if (reader !== null) {
      reader.close()
      return
    }
    const head = this.#head!
    if (head.status === misdirectedRequest) {
      this.#answered.resolve({ outcome: 'misrouted' })
      return
    }
    const headers = downstreamHeaders(head.headers)
    const isBodyless = this.#question.method === 'HEAD' || head.status === 204 || head.status === 304
    // Of a body that is there the length is counted anew.
    if (!isBodyless) headers.delete('content-length')
    this.#answer(head, isBodyless ? null : wholeBody(this.#whole()), headers)
  }

  #whole(): Uint8Array<ArrayBuffer> {
    return (this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)) as Uint8Array<ArrayBuffer>
  }

  #answer(head: AnswerHead, body: Bun.BodyInit | null, headers: Headers): Response {
    const response = new Response(body, { status: head.status, statusText: head.statusText, headers })
    this.#answered.resolve({ outcome: 'answered', response, head })
    return response
  }

  /** Hands the answer on before it is complete. */
  #stream(head: AnswerHead): void {
    const first = this.#parts
    this.#parts = []
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#reader = controller
          for (const part of first) controller.enqueue(part)
        },
        pull: () => {
          if (!this.#isOver) this.#line.resume()
        },
        cancel: () => this.#giveUp(),
      },
      { highWaterMark: waitingBytesMax, size: (chunk) => chunk?.byteLength ?? 0 },
    )
    const headers = downstreamHeaders(head.headers)
    const response = this.#answer(head, body, headers)
    if (!isEventStreamType(headers.get('content-type'))) return
    this.#onStreamEnd = this.#onEventStream(response, () => {
      const reader = this.#reader
      this.#giveUp()
      reader?.close()
    })
  }

  #abort(): void {
    this.#answered.resolve({ outcome: 'aborted' })
    this.#giveUp()
  }

  /** Nobody wants the rest. A complete answer may still wait for its reader: its line is somebody else's by then. */
  #giveUp(): void {
    if (this.#isOver) return
    this.#end()
    this.#reader = null
    this.#line.cut()
  }

  #end(): void {
    if (!this.#isOver) this.#question.onOver?.()
    this.#isOver = true
    this.#question.signal.removeEventListener('abort', this.#onAbort)
    this.#onStreamEnd?.()
    this.#onStreamEnd = null
  }
}
