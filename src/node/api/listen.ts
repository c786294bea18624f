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

/** What Bun calls for a request. */
export type FetchHandler = (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>

export interface TlsCertificate {
  /** PEM, the leaf first. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** The host it is for, where several share the socket; others get the first one. */
  readonly serverName?: string
}

export interface ListenExtras {
  /** None: plain HTTP. */
  readonly tls?: readonly TlsCertificate[]
  /** What answers instead of the app itself, such as something before it. */
  readonly fetch?: FetchHandler
}

/**
 * Serves `app` on an address of its own.
 *
 * @param flag named in the error when the address cannot be had.
 * Throws ConfigError.
 */
export function listen(
  app: AnyElysia,
  address: { readonly host: string; readonly port: number },
  flag: string,
  clock: Clock,
  { tls = [], fetch = app.fetch }: ListenExtras = {},
): Listener {
  try {
    const server = Bun.serve({
      idleTimeout: app.config.serve?.idleTimeout ?? 0,
      maxRequestBodySize: app.config.serve?.maxRequestBodySize ?? bodyBytesDefault,
      hostname: address.host,
      port: address.port,
      development: false, // an uncaught error must not send out a page of source code
      reusePort: false,
      fetch,
      ...(tls.length > 0 && { tls: tls.length === 1 ? { cert: tls[0]!.cert, key: tls[0]!.key } : [...tls] }),
    })
    app.server = server as unknown as NonNullable<typeof app.server>
    const host = server.hostname?.includes(':') ? `[${server.hostname}]` : server.hostname
    return {
      url: `${tls.length === 0 ? 'http' : 'https'}://${host}:${server.port}`,
      async close() {
        const waiting = new AbortController()
        await Promise.race([server.stop(), sleep(clock, drainMs, waiting.signal).catch(() => {})]) // rejects only when aborted below
        waiting.abort()
        await server.stop(true)
      },
    }
  } catch (error) {
    throw cannotListen(flag, address, error)
  }
}

/** What to tell of an address that cannot be had, by the flag that gave it. */
export function cannotListen(
  flag: string,
  { host, port }: { readonly host: string; readonly port: number },
  error: unknown,
): ConfigError {
  const reason = errorCode(error) === 'EADDRINUSE' ? 'the address is in use' : errorMessage(error)
  return new ConfigError(`${flag}: cannot listen on ${host}:${port}: ${reason}`, { cause: error })
}
