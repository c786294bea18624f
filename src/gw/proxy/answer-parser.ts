// An HTTP/1.1 answer taken apart as its bytes arrive (RFC 9112). Pure: no sockets. What is ambiguous about the length of a
// body is an error, never a guess, for the next answer on the connection begins where this one ends.

import { AppError } from '../../lib/errors.ts'

/** Bytes of an answer's head; our workers send far less. */
const headBytesMax = 64 * 1024
/** Bytes of a chunk's size line with its extensions, or of one line of a trailer. */
const lineBytesMax = 4 * 1024
/** Lines of a trailer; all of them are dropped. */
const trailerLinesMax = 100

export interface AnswerHead {
  readonly status: number
  readonly statusText: string
  /** In the order received, names lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Bytes of the body; null: it says so itself, or ends with the connection. */
  readonly bodyBytes: number | null
}

export interface AnswerSink {
  onHead(head: AnswerHead): void
  /** A part of the body, as a view of what was pushed. */
  onData(bytes: Uint8Array): void
  onEnd(): void
}

/** The bytes are no answer that we understand; the connection cannot be used any more. */
export class AnswerError extends AppError {
  readonly code = 'bad_answer'
}

type State = 'head' | 'counted' | 'size' | 'chunk' | 'chunk-end' | 'trailer' | 'until-close' | 'done'

const lineEnd = Buffer.from('\r\n')
const headEnd = Buffer.from('\r\n\r\n')
const nothing = Buffer.alloc(0)
const carriageReturn = 0x0d
const lineFeed = 0x0a
/** Digits of a chunk's size that are read one by one; longer ones take the long way. */
const plainSizeDigits = 7

/** The value of a hexadecimal digit, or -1. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

export class AnswerParser {
  readonly #sink: AnswerSink
  readonly #isHead: boolean
  #state: State = 'head'
  /** The beginning of a head or line whose end has not arrived. */
  #held: Buffer = nothing
  /** Bytes left of a counted body or of a chunk. */
  #left = 0
  #trailerLines = 0
  #keepsOpen = true

  /** @param isHead the question was HEAD: the answer has no body, whatever its head says. */
  constructor(sink: AnswerSink, isHead: boolean) {
    this.#sink = sink
    this.#isHead = isHead
  }

  get isDone(): boolean {
    return this.#state === 'done'
  }

  /** Whether another question may be sent once this answer is done. */
  get keepsOpen(): boolean {
    return this.#keepsOpen
  }

  /** Takes what arrived. Throws AnswerError. */
  push(bytes: Buffer): void {
    let rest = bytes
    if (this.#held.length > 0) {
      rest = Buffer.concat([this.#held, bytes])
      this.#held = nothing
    }
    while (rest.length > 0 && this.#state !== 'done') {
      const next = this.#step(rest)
      if (next === null) {
        this.#held = rest
        return
      }
      rest = next
    }
    // Nothing was asked for yet: whatever this is, the next answer would be taken for it.
    if (rest.length > 0) this.#keepsOpen = false
  }

  /** The connection has ended. @returns whether the answer is complete. */
  close(): boolean {
    this.#keepsOpen = false
    if (this.#state === 'until-close') this.#end()
    return this.#state === 'done'
  }

  /** What follows the part that was understood, or null when its end has not arrived. */
  #step(bytes: Buffer): Buffer | null {
    switch (this.#state) {
      case 'head': {
        const end = bytes.indexOf(headEnd)
        if (end > headBytesMax || (end < 0 && bytes.length > headBytesMax))
          throw new AnswerError('the head is too long')
        if (end < 0) return null
        this.#takeHead(bytes.toString('latin1', 0, end))
        return bytes.subarray(end + headEnd.length)
      }
      case 'counted':
      case 'chunk': {
        const part = bytes.length <= this.#left ? bytes : bytes.subarray(0, this.#left)
        this.#left -= part.length
        this.#sink.onData(part)
        if (this.#left === 0) {
          if (this.#state === 'counted') this.#end()
          else this.#state = 'chunk-end'
        }
        return bytes.subarray(part.length)
      }
      case 'until-close':
        this.#sink.onData(bytes)
        return nothing
      case 'chunk-end':
        if (bytes.length < lineEnd.length) return null
        if (bytes[0] !== carriageReturn || bytes[1] !== lineFeed)
          throw new AnswerError('a chunk is longer than it said')
        this.#state = 'size'
        return bytes.subarray(lineEnd.length)
      case 'size':
        return this.#takeSize(bytes)
      case 'trailer':
        return this.#takeLine(bytes)
      case 'done':
        return bytes
    }
  }

  /** A size alone, as nearly all are written: events of a stream are small, and each brings one. */
  #takeSize(bytes: Buffer): Buffer | null {
    let size = 0
    let at = 0
    for (; at < bytes.length && at < plainSizeDigits; at++) {
      const digit = hexDigit(bytes[at]!)
      if (digit < 0) break
      size = size * 16 + digit
    }
    if (at === 0 || bytes[at] !== carriageReturn || bytes[at + 1] !== lineFeed) return this.#takeLine(bytes)
    this.#beginChunk(size)
    return bytes.subarray(at + lineEnd.length)
  }

  #beginChunk(size: number): void {
    this.#left = size
    this.#state = size === 0 ? 'trailer' : 'chunk'
  }

  #takeLine(bytes: Buffer): Buffer | null {
    const end = bytes.indexOf(lineEnd)
    if (end > lineBytesMax || (end < 0 && bytes.length > lineBytesMax)) throw new AnswerError('a line is too long')
    if (end < 0) return null
    const line = bytes.toString('latin1', 0, end)
    if (this.#state === 'trailer') {
      if (line === '') this.#end()
      else if (++this.#trailerLines > trailerLinesMax) throw new AnswerError('the trailer is too long')
    } else {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)
      if (size === null) throw new AnswerError('a chunk does not say its size')
      this.#beginChunk(Number.parseInt(size[1]!, 16))
    }
    return bytes.subarray(end + lineEnd.length)
  }

  #takeHead(text: string): void {
    const [first = '', ...lines] = text.split('\r\n')
    const start = /^HTTP\/1\.1 (\d{3})(?: (.*))?$/.exec(first)
    if (start === null) throw new AnswerError('no status line of HTTP/1.1')
    const status = Number(start[1])
    const headers = lines.map((line) => {
      const colon = line.indexOf(':')
      if (colon < 1 || line.startsWith(' ') || line.startsWith('\t')) throw new AnswerError('a header without a name')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    })
    if (status === 101) throw new AnswerError('an upgrade that nobody asked for')
    if (status < 200) return // on its way: the answer itself follows
    const bodyBytes = this.#frame(status, headers)
    this.#sink.onHead({ status, statusText: start[2] ?? '', headers, bodyBytes })
    if (bodyBytes === 0) this.#end()
  }

  /** Decides how long the body is (RFC 9112, 6.3). */
  #frame(status: number, headers: AnswerHead['headers']): number | null {
    let length: string | null = null
    let coding: string | null = null
    for (const [name, value] of headers) {
      if (name === 'content-length') {
        if (length !== null && length !== value) throw new AnswerError('two lengths')
        length = value
      } else if (name === 'transfer-encoding') coding = coding === null ? value : `${coding}, ${value}`
      else if (name === 'connection' && /(?:^|,)\s*close\s*(?:,|$)/i.test(value)) this.#keepsOpen = false
    }
    if (length !== null && !/^\d{1,15}$/.test(length)) throw new AnswerError('a length that is no number')
    if (coding !== null && coding.toLowerCase() !== 'chunked') throw new AnswerError(`unknown coding ${coding}`)
    if (coding !== null && length !== null) throw new AnswerError('both a length and chunks')
    if (this.#isHead || status === 204 || status === 304) return 0
    if (coding !== null) {
      this.#state = 'size'
      return null
    }
    if (length === null) {
      this.#state = 'until-close'
      this.#keepsOpen = false
      return null
    }
    this.#left = Number(length)
    this.#state = 'counted'
    return this.#left
  }

  #end(): void {
    this.#state = 'done'
    this.#sink.onEnd()
  }
}
