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
  tls: { readonly cert: string; readonly key: string } | null = null,
): Listener {
  try {
    const server = Bun.serve({
      idleTimeout: app.config.serve?.idleTimeout ?? 0,
      maxRequestBodySize: app.config.serve?.maxRequestBodySize ?? bodyBytesDefault,
      hostname: address.host,
      port: address.port,
      development: false, // an uncaught error must not send out a page of source code
      reusePort: false,
      fetch: app.fetch,
      ...(tls !== null && { tls: { cert: tls.cert, key: tls.key } }),
    })
    app.server = server as unknown as NonNullable<typeof app.server>
    const host = server.hostname?.includes(':') ? `[${server.hostname}]` : server.hostname
    return {
      url: `${tls === null ? 'http' : 'https'}://${host}:${server.port}`,
      async close() {
        const waiting = new AbortController()
        await Promise.race([server.stop(), sleep(clock, drainMs, waiting.signal).catch(() => {})]) // rejects only when aborted below
        waiting.abort()
        await server.stop(true)
      },
    }
  } catch (error) {
    const reason = errorCode(error) === 'EADDRINUSE' ? 'the address is in use' : errorMessage(error)
    throw new ConfigError(`${flag}: cannot listen on ${address.host}:${address.port}: ${reason}`, { cause: error })
  }
}
