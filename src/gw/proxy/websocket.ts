// WebSocket connections: the gateway connects to the worker first, with the same headers as any request, and accepts the
// client only when the worker did; then messages cross in both directions.

import type { Server, ServerWebSocket, WebSocketHandler } from 'bun'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/obs/log.ts'

/** Largest message in either direction, bytes. */
const messageBytesMax = 16 * 1024 * 1024
/** What may wait for a slow end before its connection is closed, bytes. */
const backpressureBytesMax = 16 * 1024 * 1024
/** Messages of the worker that arrive before the client is connected. */
const earlyMessagesMax = 1_000
/** How long the worker may take to accept, ms. */
const connectMs = 10_000
/** A silent connection is closed after this long, s; Bun pings before. */
const idleTimeoutSeconds = 120

/** RFC 6455, 7.4.1: codes that may be sent; others only describe what happened here. */
const policyViolation = 1008
const goingAway = 1001
const abnormal = 1011

export interface WebSocketPair {
  readonly upstream: WebSocket
  /** What the worker said before the client was there; null from then on. */
  early: (string | Uint8Array)[] | null
}

/** Headers of the handshake, which either end's library writes itself. */
const handshakeHeaders = [
  'sec-websocket-key',
  'sec-websocket-version',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
] as const

export function isWebSocketRequest(request: Request): boolean {
  return request.method === 'GET' && request.headers.get('upgrade')?.toLowerCase() === 'websocket'
}

export class WebSocketProxy {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #pairs = new Set<WebSocketPair>()

  constructor(deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#clock = deps.clock
    this.#log = deps.log
  }

  get count(): number {
    return this.#pairs.size
  }

  /**
   * Connects client and worker. False when the worker did not accept: the caller then forwards the request as an ordinary
   * one, so that the client gets the worker's own answer.
   *
   * @param url `http://…` of the worker, with path and query.
   * @param headers as for any upstream request.
   */
  async connect(request: Request, server: Server<WebSocketPair>, url: string, headers: Headers): Promise<boolean> {
    for (const name of handshakeHeaders) headers.delete(name)
    const upstream = dial(url, headers, request.headers.get('sec-websocket-protocol') ?? '')
    if (upstream === null) return false
    upstream.binaryType = 'nodebuffer'
    const pair: WebSocketPair = { upstream, early: [] }
    upstream.onmessage = ({ data }) => {
      if (pair.early !== null && pair.early.length < earlyMessagesMax) pair.early.push(data)
      else upstream.close(policyViolation)
    }
    if (!(await this.#opened(upstream, request.signal))) return false
    const accepted = server.upgrade(request, {
      data: pair,
      headers: upstream.protocol === '' ? {} : { 'sec-websocket-protocol': upstream.protocol },
    })
    if (!accepted) upstream.close(goingAway)
    return accepted
  }

  /** Ends every connection; clients connect again elsewhere. */
  endAll(): void {
    for (const pair of this.#pairs) pair.upstream.close(goingAway)
  }

  /** What `Bun.serve` needs. */
  readonly handler: WebSocketHandler<WebSocketPair> = {
    maxPayloadLength: messageBytesMax,
    backpressureLimit: backpressureBytesMax,
    closeOnBackpressureLimit: true,
    idleTimeout: idleTimeoutSeconds,
    perMessageDeflate: false,
    open: (socket) => this.#onOpen(socket),
    message: (socket, message) => {
      const { upstream } = socket.data
      if (upstream.bufferedAmount > backpressureBytesMax) socket.close(policyViolation, 'too slow')
      else if (upstream.readyState === WebSocket.OPEN) upstream.send(message)
    },
    close: (socket, code, reason) => {
      this.#pairs.delete(socket.data)
      socket.data.upstream.close(sendable(code), reason)
    },
  }

  #onOpen(socket: ServerWebSocket<WebSocketPair>): void {
    const pair = socket.data
    this.#pairs.add(pair)
    const { upstream } = pair
    const early = pair.early ?? []
    pair.early = null
    for (const message of early) socket.send(message)
    upstream.onmessage = ({ data }) => void socket.send(data)
    upstream.onclose = ({ code, reason }) => socket.close(sendable(code), reason)
    if (upstream.readyState !== WebSocket.OPEN) socket.close(goingAway) // it closed before we listened
  }

  #opened(upstream: WebSocket, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isOpen: boolean) => {
        cancel()
        signal.removeEventListener('abort', give)
        upstream.onopen = upstream.onerror = upstream.onclose = null
        if (!isOpen) upstream.terminate()
        resolve(isOpen)
      }
      const give = () => end(false)
      const cancel = this.#clock.setTimer(connectMs, give)
      signal.addEventListener('abort', give, { once: true })
      upstream.onopen = () => end(true)
      upstream.onclose = give
      upstream.onerror = () => {
        this.#log.debug('worker refused a WebSocket', { url: upstream.url })
        end(false)
      }
    })
  }
}

/** Null when the client offers what is no list of protocols. */
function dial(url: string, headers: Headers, offered: string): WebSocket | null {
  const protocols = offered.split(',').map((each) => each.trim())
  try {
    return new WebSocket(url.replace(/^http/, 'ws'), {
      headers: Object.fromEntries(headers),
      protocols: protocols.filter((each) => each !== ''),
    })
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof DOMException && error.name === 'SyntaxError')) return null
    throw error
  }
}

/** 1004 to 1006 and 1015 describe a connection and must not be sent. */
function sendable(code: number): number {
  if (code === 1000 || code === goingAway || (code >= 3000 && code <= 4999)) return code
  return code >= 1007 && code <= 1014 ? code : abnormal
}
