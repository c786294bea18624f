// Opens the socket of a tenants' app. Not by Elysia's `listen`, which shares a port that is in use without a word.

import type { AnyElysia } from 'elysia'
import { type Clock, sleep } from '../../lib/clock.ts'
import { ConfigError, errorCode, errorMessage } from '../../lib/errors.ts'

export interface Listener {
  /** `http://host:port` or `https://…` as bound. */
  readonly url: string
  /** Stops accepting, lets requests under way end for a while, then cuts what is left. */
  close(): Promise<void>
}

/** How long requests under way may go on once closing began, ms. */
const drainMs = 5_000

/** Where the app sets no limit: Bun's own, bytes. */
const bodyBytesDefault = 128 * 1024 * 1024

export interface SocketAddress {
  readonly host: string
  readonly port: number
}

export interface TlsCertificate {
  /** PEM, the leaf first. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** The host it is for, where several share the socket; others get the first one. */
  readonly serverName?: string
}

type Server = Bun.Server<undefined>

export interface SocketOptions {
  readonly address: SocketAddress
  /** Named in the error when the address cannot be had. */
  readonly flag: string
  readonly clock: Clock
  /** None: plain HTTP. */
  readonly tls?: readonly TlsCertificate[]
  /** Seconds without a byte after which a connection is closed; default: never. */
  readonly idleTimeoutSeconds?: number
  readonly bodyBytesMax?: number
}

/** Serves `fetch` on an address of its own. Throws ConfigError. */
export function listen(
  fetch: (request: Request, server: Server) => Response | Promise<Response>,
  options: SocketOptions,
): Listener {
  return open(fetch, options).listener
}

/**
 * Serves `app` on an address of its own, which becomes the app's server.
 *
 * @param before answers what never reaches the app; null: it does.
 * Throws ConfigError.
 */
export function listenWith(
  app: AnyElysia,
  options: Omit<SocketOptions, 'idleTimeoutSeconds' | 'bodyBytesMax'>,
  before?: (request: Request) => Response | null,
): Listener {
  const { idleTimeout = 0, maxRequestBodySize = bodyBytesDefault } = app.config.serve ?? {}
  const fetch = before === undefined ? app.fetch : (request: Request) => before(request) ?? app.fetch(request)
  const limits = { idleTimeoutSeconds: idleTimeout, bodyBytesMax: maxRequestBodySize }
  const { listener, server } = open(fetch, { ...options, ...limits })
  app.server = server as unknown as NonNullable<typeof app.server> // the same object; Elysia names another type for it
  return listener
}

function open(
  fetch: (request: Request, server: Server) => Response | Promise<Response>,
  options: SocketOptions,
): { readonly listener: Listener; readonly server: Server } {
  const { address, flag, clock, tls = [], idleTimeoutSeconds = 0, bodyBytesMax = bodyBytesDefault } = options
  try {
    const server = Bun.serve({
      idleTimeout: idleTimeoutSeconds,
      maxRequestBodySize: bodyBytesMax,
      hostname: address.host,
      port: address.port,
      development: false, // an uncaught error must not send out a page of source code
      reusePort: false,
      fetch,
      ...(tls.length > 0 && { tls: tls.length === 1 ? { cert: tls[0]!.cert, key: tls[0]!.key } : [...tls] }),
    })
    const host = server.hostname?.includes(':') ? `[${server.hostname}]` : server.hostname
    const listener: Listener = {
      url: `${tls.length === 0 ? 'http' : 'https'}://${host}:${server.port}`,
      async close() {
        const waiting = new AbortController()
        await Promise.race([server.stop(), sleep(clock, drainMs, waiting.signal).catch(() => {})]) // rejects only when aborted below
        waiting.abort()
        await server.stop(true)
      },
    }
    return { listener, server }
  } catch (error) {
    throw cannotListen(flag, address, error)
  }
}

/** What to tell of an address that cannot be had, by the flag that gave it. */
export function cannotListen(flag: string, { host, port }: SocketAddress, error: unknown): ConfigError {
  const reason = errorCode(error) === 'EADDRINUSE' ? 'the address is in use' : errorMessage(error)
  return new ConfigError(`${flag}: cannot listen on ${host}:${port}: ${reason}`, { cause: error })
}
