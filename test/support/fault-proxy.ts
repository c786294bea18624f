// An HTTP proxy before an object store that misbehaves as told: slow, refusing, losing replies, cutting bodies in both
// directions, answering listings of a while ago, or gone. It passes every header as it came, so signatures stay valid.

import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type ProxyFault =
  | { readonly type: 'delay'; readonly delayMs: number }
  /** Answers by itself; the store hears nothing. */
  | { readonly type: 'status'; readonly status: number; readonly code: string }
  /** The store does it, the client sees a broken connection. */
  | { readonly type: 'lost-reply' }
  /** The store gets half of the body. */
  | { readonly type: 'cut-request' }
  /** The client gets half of the answer. */
  | { readonly type: 'cut-response' }
  /** The connection breaks before anything is sent on. */
  | { readonly type: 'broken' }
  /** A listing that was answered before, if there is one of the same kind. */
  | { readonly type: 'stale-list' }

export interface ProxiedRequest {
  readonly method: string
  readonly path: string
  readonly isList: boolean
}

/** Listings that are remembered. */
const listingsMax = 200

export class FaultProxy implements AsyncDisposable {
  /** Decides about each request; null lets it pass. */
  fault: ((request: ProxiedRequest) => ProxyFault | null) | null = null
  /** Every connection breaks, those that are open too. */
  #isCut = false
  /** Faults done, by their type. */
  readonly counts = new Map<string, number>()
  readonly #target: URL
  readonly #agent = new Agent({ keepAlive: true })
  readonly #listings = new Map<string, { readonly headers: IncomingMessage['headers']; readonly body: Buffer }>()
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch(() => request.socket.destroy())
  })

  private constructor(target: string) {
    this.#target = new URL(target)
  }

  static async start(target: string): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  set isCut(isCut: boolean) {
    this.#isCut = isCut
    if (isCut) this.#server.closeAllConnections()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#isCut) {
      request.socket.destroy()
      return
    }
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const url = request.url ?? '/'
    const isList = request.method === 'GET' && /[?&]list-type=2/.test(url)
    const fault = this.fault?.({ method: request.method ?? '', path: url, isList }) ?? null
    if (fault !== null) this.counts.set(fault.type, (this.counts.get(fault.type) ?? 0) + 1)
    switch (fault?.type) {
      case 'broken':
        request.socket.destroy()
        return
      case 'status':
        return answer(response, fault.status, { 'content-type': 'application/xml' }, errorXml(fault.code))
      case 'delay':
        await Bun.sleep(fault.delayMs)
        break
      case 'stale-list': {
        const old = this.#listings.get(url)
        if (isList && old !== undefined) return answer(response, 200, old.headers, old.body)
        break
      }
      case 'cut-request':
        await this.#forward(request, body.subarray(0, body.length >> 1), body.length).catch(() => {})
        request.socket.destroy()
        return
    }
    const got = await this.#forward(request, body, body.length)
    // Only the first listing of each kind is kept: the older, the worse.
    if (isList && got.status === 200 && !this.#listings.has(url) && this.#listings.size < listingsMax)
      this.#listings.set(url, { headers: got.headers, body: got.body })
    if (fault?.type === 'lost-reply' || this.#isCut) {
      request.socket.destroy()
      return
    }
    if (fault?.type === 'cut-response' && got.body.length > 1) {
      response.writeHead(got.status, got.headers)
      response.write(got.body.subarray(0, got.body.length >> 1), () => request.socket.destroy())
      return
    }
    answer(response, got.status, got.headers, request.method === 'HEAD' ? null : got.body)
  }

  #forward(
    request: IncomingMessage,
    body: Buffer,
    length: number,
  ): Promise<{ readonly status: number; readonly headers: IncomingMessage['headers']; readonly body: Buffer }> {
    return new Promise((resolve, reject) => {
      const { connection: _connection, ...headers } = request.headers
      const isCut = body.length < length
      const out = httpRequest(
        {
          host: this.#target.hostname,
          port: this.#target.port,
          method: request.method,
          path: request.url,
          headers: { ...headers, ...(length > 0 && { 'content-length': String(length) }) },
          ...(isCut ? {} : { agent: this.#agent }),
        },
        (got) => {
          const pieces: Buffer[] = []
          got.on('data', (piece: Buffer) => pieces.push(piece))
          got.on('end', () => resolve({ status: got.statusCode!, headers: got.headers, body: Buffer.concat(pieces) }))
          got.on('error', reject)
        },
      )
      out.on('error', reject)
      if (isCut) out.write(body, () => out.destroy(new Error('cut')))
      else out.end(body)
    })
  }
}

function answer(
  response: ServerResponse,
  status: number,
  headers: IncomingMessage['headers'] | Record<string, string>,
  body: Buffer | string | null,
): void {
  const { 'transfer-encoding': _encoding, connection: _connection, ...rest } = headers
  response.writeHead(status, body === null ? rest : { ...rest, 'content-length': String(Buffer.byteLength(body)) })
  response.end(body ?? undefined)
}

function errorXml(code: string): string {
  return `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`
}
