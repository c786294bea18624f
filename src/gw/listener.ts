// Opens the sockets of a gateway and closes them without cutting what can still end in time.

import { readFileSync } from 'node:fs'
import type { Server } from 'bun'
import { type Clock, sleep } from '../lib/clock.ts'
import { ConfigError, errorCode, errorMessage } from '../lib/errors.ts'
import type { GatewayConfig, ListenAddress } from './config.ts'
import type { WebSocketPair, WebSocketProxy } from './proxy/websocket.ts'

/** A connection that moves no byte for this long is closed, s; Bun allows 255 at most. Event streams are exempt. */
const idleTimeoutSeconds = 240
/** How long requests under way may go on once closing began, ms. */
const drainMs = 5_000

export type Scheme = 'http' | 'https'
export type GatewayServer = Server<WebSocketPair>

export interface ListenerOptions {
  readonly scheme: Scheme
  readonly address: ListenAddress
  readonly tls: { readonly cert: string; readonly key: string } | null
  readonly bodyBytesMax: number
  readonly webSockets: WebSocketProxy
  /** Undefined once the connection became a WebSocket. */
  readonly fetch: (request: Request, server: GatewayServer) => Promise<Response | undefined>
}

/** Throws ConfigError when the address or certificate cannot be used. */
export function openListener(options: ListenerOptions): { readonly url: string; readonly server: GatewayServer } {
  const { scheme, address, tls, bodyBytesMax, webSockets, fetch } = options
  try {
    const server = Bun.serve<WebSocketPair>({
      hostname: address.host,
      port: address.port,
      fetch,
      websocket: webSockets.handler,
      development: false,
      reusePort: false, // without development mode Bun's default is true, and a second gateway would share the port unseen
      idleTimeout: idleTimeoutSeconds,
      maxRequestBodySize: bodyBytesMax,
      ...(tls && { tls }),
    })
    const host = server.hostname?.includes(':') ? `[${server.hostname}]` : server.hostname
    return { url: `${scheme}://${host}:${server.port}`, server }
  } catch (error) {
    const flag = scheme === 'http' ? '--http' : '--https-addr'
    const reason = errorCode(error) === 'EADDRINUSE' ? 'the address is in use' : errorMessage(error)
    throw new ConfigError(`${flag}: cannot listen on ${address.host}:${address.port}: ${reason}`, { cause: error })
  }
}

/** @param endStreams ends what never ends by itself, right after nothing new is accepted. */
export async function closeListener(server: GatewayServer, clock: Clock, endStreams: () => void): Promise<void> {
  const waiting = new AbortController()
  const stopped = server.stop()
  endStreams()
  await Promise.race([stopped, sleep(clock, drainMs, waiting.signal).catch(() => {})]) // rejects only when aborted below
  waiting.abort()
  await server.stop(true)
}

/** Throws ConfigError naming the flag and the file. */
export function readCertificate({ certPath, keyPath }: NonNullable<GatewayConfig['https']>) {
  const read = (path: string, flag: string) => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new ConfigError(`${flag}: cannot read ${path}: ${errorMessage(error)}`, { cause: error })
    }
  }
  return { cert: read(certPath, '--tls-cert'), key: read(keyPath, '--tls-key') }
}
