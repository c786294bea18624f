// Kept connections to engine workers, one question at a time on each. Bun's `fetch` works in a thread of its own, and the
// way there and back costs a request several times what the rest of the gateway does; these run in the gateway's thread.
// Requests whose bodies stream still go by `fetch` (http.ts).

import type { Socket } from 'bun'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { OverloadedError, TimeoutError } from '../../lib/errors.ts'
import { Exchange, type Line, type OnEventStream, type Question } from './exchange.ts'
import type { Attempt } from './http.ts'

/** Open connections to all workers; each event stream holds one. */
const connectionsMax = 60_000
/** Connections to one worker that are kept without a question. */
const idlePerOriginMax = 256
/**
 * A connection without a question for this long is closed, ms: far below what a worker grants it, so that no worker closes
 * one while a question is on its way.
 */
const idleMsMax = 30_000
const sweepMs = 10_000
/** A worker's address that does not answer, ms: its machine is gone. */
const connectMs = 5_000

interface Origin {
  readonly hostname: string
  readonly port: number
  /** The one used last is used first. */
  readonly idle: Connection[]
  open: number
}

export interface UpstreamsDeps {
  readonly clock: Clock
  readonly onEventStream: OnEventStream
}

export class Upstreams {
  readonly #deps: UpstreamsDeps
  readonly #origins = new Map<string, Origin>()
  readonly #connections = new Set<Connection>()
  #sweeper: Cancel | null = null
  #isClosed = false

  constructor(deps: UpstreamsDeps) {
    this.#deps = deps
  }

  /** Never rejects. */
  async ask(question: Question): Promise<Attempt> {
    if (question.signal.aborted) return { outcome: 'aborted' }
    let origin: Origin
    let connection: Connection
    try {
      origin = this.#originOf(question.origin)
      const kept = origin.idle.pop()
      if (kept !== undefined) return await kept.ask(question)
      connection = await this.#connect(question.origin, origin)
    } catch (cause) {
      return { outcome: 'refused', cause }
    }
    if (question.signal.aborted) {
      this.#keep(connection, origin)
      return { outcome: 'aborted' }
    }
    return connection.ask(question)
  }

  /** Cuts everything; streams under way break. */
  close(): void {
    this.#isClosed = true
    this.#sweeper?.()
    for (const each of [...this.#connections]) each.cut()
  }

  #originOf(url: string): Origin {
    let origin = this.#origins.get(url)
    if (origin === undefined) {
      const { hostname, port } = new URL(url)
      origin = { hostname: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80), idle: [], open: 0 }
      this.#origins.set(url, origin)
    }
    return origin
  }

  async #connect(url: string, origin: Origin): Promise<Connection> {
    if (this.#isClosed) throw new OverloadedError('the gateway is closing')
    if (this.#connections.size >= connectionsMax)
      throw new OverloadedError(`${connectionsMax} connections to workers are open`)
    const connection = new Connection({
      onEventStream: this.#deps.onEventStream,
      onFree: () => this.#keep(connection, origin),
      onClose: () => {
        this.#connections.delete(connection)
        const at = origin.idle.indexOf(connection)
        if (at >= 0) origin.idle.splice(at, 1)
        // Workers change their addresses with every restart.
        if (--origin.open === 0 && this.#origins.get(url) === origin) this.#origins.delete(url)
      },
    })
    this.#connections.add(connection)
    origin.open++
    const late = Promise.withResolvers<never>()
    const cancel = this.#deps.clock.setTimer(connectMs, () =>
      late.reject(new TimeoutError(`${url} did not take a connection within ${connectMs} ms`)),
    )
    try {
      await Promise.race([connection.open(origin.hostname, origin.port), late.promise])
      return connection
    } catch (error) {
      connection.cut()
      throw error
    } finally {
      cancel()
    }
  }

  #keep(connection: Connection, origin: Origin): void {
    if (this.#isClosed || origin.idle.length >= idlePerOriginMax) {
      connection.cut()
      return
    }
    connection.idleSinceMs = this.#deps.clock.monotonic()
    origin.idle.push(connection)
    this.#sweeper ??= this.#deps.clock.setTimer(sweepMs, () => this.#sweep())
  }

  #sweep(): void {
    const before = this.#deps.clock.monotonic() - idleMsMax
    let left = 0
    for (const origin of [...this.#origins.values()]) {
      for (const each of origin.idle.filter((it) => it.idleSinceMs <= before)) each.cut()
      left += origin.idle.length
    }
    this.#sweeper = left > 0 ? this.#deps.clock.setTimer(sweepMs, () => this.#sweep()) : null
  }
}

interface ConnectionFacts {
  readonly onEventStream: OnEventStream
  /** The answer is complete and another question may follow. */
  readonly onFree: () => void
  /** Called once. */
  readonly onClose: () => void
}

class Connection implements Line {
  idleSinceMs = 0
  readonly #facts: ConnectionFacts
  #socket: Socket<Connection> | null = null
  #exchange: Exchange | null = null
  /** What of the question the system has not taken yet. */
  #unsent: Uint8Array | null = null
  #isPaused = false
  #isClosed = false

  constructor(facts: ConnectionFacts) {
    this.#facts = facts
  }

  async open(hostname: string, port: number): Promise<void> {
    const socket = await Bun.connect<Connection>({ hostname, port, data: this, socket: handlers })
    this.#socket = socket
    if (this.#isClosed)
      socket.terminate() // given up meanwhile
    else socket.setNoDelay(true)
  }

  ask(question: Question): Promise<Attempt> {
    const exchange = new Exchange(question, this, this.#facts.onEventStream)
    this.#exchange = exchange
    this.#send(encodeQuestion(question))
    return exchange.attempt
  }

  receive(bytes: Buffer): void {
    const exchange = this.#exchange
    if (exchange === null) {
      this.cut() // an answer to nothing: the next one would be taken for it
      return
    }
    try {
      exchange.push(bytes)
    } catch (error) {
      this.#exchange = null
      exchange.fail(error)
      this.cut()
      return
    }
    if (!exchange.isDone || this.#exchange === null) return
    this.#exchange = null
    // An answer before all of the question was sent leaves the worker waiting for the rest.
    if (!exchange.keepsOpen || this.#unsent !== null) {
      this.cut()
      return
    }
    this.resume()
    this.#facts.onFree()
  }

  flush(): void {
    const unsent = this.#unsent
    this.#unsent = null
    if (unsent !== null) this.#send(unsent)
  }

  closed(error?: unknown): void {
    if (!this.#isClosed) {
      this.#isClosed = true
      this.#facts.onClose()
    }
    const exchange = this.#exchange
    this.#exchange = null
    if (error === undefined) exchange?.close()
    else exchange?.fail(error)
  }

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket?.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket?.resume()
  }

  cut(): void {
    this.#socket?.terminate()
    this.closed()
  }

  #send(bytes: Uint8Array): void {
    const sent = this.#socket?.write(bytes) ?? -1
    if (sent < 0) this.cut()
    else if (sent < bytes.length) this.#unsent = bytes.subarray(sent)
  }
}

const handlers: Bun.SocketHandler<Connection> = {
  data: (socket, bytes) => socket.data.receive(bytes),
  drain: (socket) => socket.data.flush(),
  close: (socket) => socket.data.closed(),
  end: (socket) => socket.data.cut(),
  error: (socket, error) => socket.data.closed(error),
  connectError: (socket, error) => socket.data.closed(error),
}

/** Methods whose lack of a body must be said (RFC 9110, 8.6). */
const bodyMethods: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])
/** Nothing that was received may end a line of what is sent. */
const lineBreaking = /[\r\n\0]/

/** The bytes of a request; framing headers are made here and nowhere else. */
export function encodeQuestion({ method, target, headers, body }: Question): Uint8Array {
  let head = `${method} ${target} HTTP/1.1\r\n`
  for (const [name, value] of headers)
    if (name !== 'content-length' && name !== 'transfer-encoding' && !lineBreaking.test(value))
      head += `${name}: ${value}\r\n`
  if (body !== null || bodyMethods.has(method)) head += `content-length: ${body?.length ?? 0}\r\n`
  const bytes = Buffer.from(`${head}\r\n`, 'latin1')
  return body === null ? bytes : Buffer.concat([bytes, body])
}
