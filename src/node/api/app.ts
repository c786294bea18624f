// The HTTP server of tenants: one Elysia app for all engines of a process. Elysia owns the connection; which handler runs
// is decided by a router of our own, because PocketBase's answers to wrong methods, slashes and escapes are part of its
// API. The path of a request: tenant → caller's token → limits → handler → headers.

import { Elysia } from 'elysia'
import { errorMessage } from '../../lib/errors.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { BodyError, UnsupportedTypeError } from '../engine/body/body-error.ts'
import { WritesRefusedError } from '../engine/errors.ts'
import { resolveRealIp } from '../engine/rate-limit/real-ip.ts'
import type { Answered } from './answered.ts'
import { checkPathLimit, checkSuperuserIp, loadAuth } from './auth-guards.ts'
import { authRoutes } from './auth-routes.ts'
import { backupRoutes } from './backups.ts'
import { batchRoutes } from './batch.ts'
import { collectionRoutes } from './collections.ts'
import { Cors } from './cors.ts'
import { cronRoutes } from './crons.ts'
import { ApiError, badRequest, notFound, toApiError } from './error-map.ts'
import { extensionRoutes } from './extensions.ts'
import { fileRoutes } from './files.ts'
import { healthRoutes } from './health.ts'
import { logRoutes } from './logs.ts'
import { logRequest } from './middleware/activity-log.ts'
import { pageRoutes } from './page-routes.ts'
import { PublicFiles, type PublicFilesOptions } from './public-files.ts'
import { realtimeRoutes } from './realtime.ts'
import { recordRoutes } from './records.ts'
import { RequestEvent } from './request-event.ts'
import { isWellFormed, type Route, Router } from './router.ts'
import { settingsRoutes } from './settings.ts'
import { sqlRoutes } from './sql.ts'
import type { Connections, TenantHost, TenantLease } from './tenant-host.ts'
import { Turns } from './turns.ts'

export interface TenantAppOptions {
  readonly host: TenantHost
  /** Origins whose pages may read answers; default: all. See {@link Cors}. */
  readonly origins?: readonly string[]
  /** A folder whose files are served where no route is; default: none. */
  readonly publicFiles?: PublicFilesOptions
  /** Routes beside the ones of this file. */
  readonly routes?: readonly Route[]
  /** Called after each answer was made, before it is sent; must not throw. */
  readonly onAnswered?: (answered: Answered) => void
}

/** Every group of endpoints, one line each. Exact paths go before parameters whatever the order here. */
const allRoutes: readonly (readonly Route[])[] = [
  backupRoutes,
  cronRoutes,
  sqlRoutes,
  logRoutes,
  healthRoutes,
  extensionRoutes,
  pageRoutes,
  fileRoutes,
  settingsRoutes,
  collectionRoutes,
  authRoutes,
  recordRoutes,
  realtimeRoutes,
  batchRoutes,
]

/** Seconds without a byte after which a connection is closed; streams lift it for themselves. */
const idleTimeoutSeconds = 255
/** Bytes; above every limit of a route, which is what answers 413. */
const bodyBytesMax = 6 * 1024 * 1024 * 1024

/** The app; the caller listens. Closing it ends connections, not engines. */
export function tenantApp(options: TenantAppOptions) {
  const api = new TenantApi(options)
  return new Elysia({ serve: { idleTimeout: idleTimeoutSeconds, maxRequestBodySize: bodyBytesMax } }).onRequest(
    ({ request, server }) => api.answer(request, server),
  )
}

/** Answers requests without a server: what {@link tenantApp} and tests call. */
export class TenantApi {
  readonly #host: TenantHost
  readonly #cors: Cors
  readonly #router = new Router()
  readonly #publicFiles: PublicFiles | null
  readonly #onAnswered: ((answered: Answered) => void) | null
  /** Made with the first request, whose tenant has the clock. */
  #turns: Turns | null = null

  constructor(options: TenantAppOptions) {
    this.#host = options.host
    this.#cors = new Cors(options.origins)
    this.#publicFiles = options.publicFiles ? new PublicFiles(options.publicFiles) : null
    this.#onAnswered = options.onAnswered ?? null
    for (const routes of [...allRoutes, options.routes ?? []]) for (const route of routes) this.#router.add(route)
  }

  answer(request: Request, connections: Connections | null): MaybePromise<Response> {
    const { url } = request
    const pathAt = url.indexOf('/', url.indexOf('://') + 3)
    const queryAt = url.indexOf('?', pathAt)
    const path = queryAt < 0 ? url.slice(pathAt) : url.slice(pathAt, queryAt)
    const rawQuery = queryAt < 0 ? '' : url.slice(queryAt + 1)
    if (!isWellFormed(path)) return malformed()
    if (path.includes('//')) return redirectToClean(request, path, rawQuery)
    if (request.method === 'OPTIONS') return this.#cors.preflight(request)
    const lease = this.#host.acquire(request, connections)
    if (lease instanceof Promise) return lease.then((got) => this.#withLease(got, request, connections, path, rawQuery))
    return this.#withLease(lease, request, connections, path, rawQuery)
  }

  #withLease(
    lease: TenantLease | Response,
    request: Request,
    connections: Connections | null,
    path: string,
    rawQuery: string,
  ): MaybePromise<Response> {
    if (lease instanceof Response) return lease
    const { engine } = lease
    const startedMs = engine.clock.monotonic()
    this.#turns ??= new Turns(engine.clock)
    const turn = this.#turns.enter(engine.usage)
    const begin = () => this.#begin(lease, request, connections, path, rawQuery, startedMs)
    if (turn === undefined) return begin()
    return turn.then(begin, (error: unknown) => {
      lease.release()
      return (toApiError(error) ?? badRequest()).toResponse()
    })
  }

  #begin(
    lease: TenantLease,
    request: Request,
    connections: Connections | null,
    path: string,
    rawQuery: string,
    startedMs: number,
  ): MaybePromise<Response> {
    const { engine } = lease
    const realIp = resolveRealIp(request.headers, lease.remoteAddress, engine.settings.trustedProxy)
    const event = new RequestEvent({ request, lease, connections, path, rawQuery, realIp })
    const done = (response: Response, error: unknown) => this.#finish(event, response, error, startedMs)
    try {
      event.auth = loadAuth(event)
      checkSuperuserIp(event)
      const response = this.dispatch(event)
      if (!(response instanceof Promise)) return done(response, null)
      return response.then(
        (made) => done(made, null),
        (error: unknown) => this.#fail(event, error, done),
      )
    } catch (error) {
      return this.#fail(event, error, done)
    }
  }

  /** An error tells of commits too, such as a value that somebody else has just taken: it passes the gate like any answer. */
  #fail(
    event: RequestEvent,
    error: unknown,
    done: (response: Response, error: unknown) => MaybePromise<Response>,
  ): MaybePromise<Response> {
    const answer = (reason: unknown) => done(errorResponse(event, reason), reason)
    if (error instanceof WritesRefusedError) return answer(error)
    try {
      const passed = event.engine.gate.pass()
      return passed === undefined ? answer(error) : passed.then(() => answer(error), answer)
    } catch (refusal) {
      return answer(refusal)
    }
  }

  /** Finds the route of an event and runs it; throws what the handler throws. Batches run their parts through here. */
  dispatch(event: RequestEvent): MaybePromise<Response> {
    const match = this.#router.find(event.method, event.path)
    if (match === null) {
      checkPathLimit(event)
      const isRead = event.method === 'GET' || event.method === 'HEAD'
      if (isRead && this.#publicFiles !== null) return this.#publicFiles.answer(event)
      throw notFound(event.method === 'GET' ? 'File not found.' : undefined)
    }
    const { route, params } = match
    event.params = params
    event.isSecretPath = route.isSecretPath ?? false
    if (route.bodyBytesMax !== undefined) event.bodyBytesMax = route.bodyBytesMax
    if (route.limit === 'path') checkPathLimit(event)
    return route.handle(event)
  }

  #finish(event: RequestEvent, response: Response, error: unknown, startedMs: number): MaybePromise<Response> {
    const { headers } = response
    // Answers that set this one themselves decide about frames too.
    if (!headers.has('x-content-type-options')) {
      headers.set('x-xss-protection', '1; mode=block')
      headers.set('x-content-type-options', 'nosniff')
      headers.set('x-frame-options', 'SAMEORIGIN')
    }
    this.#cors.allow(event.request, headers)
    const { clock } = event.engine
    const answered: Answered = { event, status: response.status, durationMs: clock.monotonic() - startedMs, error }
    logRequest(answered)
    this.#onAnswered?.(answered)
    if (!event.keepsLease) event.lease.release()
    const disposed = event.dispose()
    return disposed === undefined ? response : disposed.then(() => response)
  }
}

/** The answer to anything thrown; what nobody foresaw is logged here and shown to nobody. */
function errorResponse(event: RequestEvent, error: unknown): Response {
  if (error instanceof UnsupportedTypeError) return badRequest('Unsupported Content-Type.').toResponse()
  if (error instanceof BodyError)
    return (error.code === 'body_too_large' ? new ApiError(413) : badRequest()).toResponse()
  const known = toApiError(error)
  if (known !== null) return known.toResponse()
  if (!event.request.signal.aborted)
    event.engine.log.error('request failed', { method: event.method, error: errorMessage(error) })
  return badRequest().toResponse()
}

/** Go's server answers so before any handler. */
function malformed(): Response {
  return new Response('400 Bad Request', { status: 400, headers: { 'content-type': 'text/plain; charset=utf-8' } })
}

/** Go's mux sends doubled slashes to the clean path, method and body kept, preflights too. */
function redirectToClean(request: Request, path: string, rawQuery: string): Response {
  const clean = path.replace(/\/{2,}/g, '/')
  const location = rawQuery === '' ? clean : `${clean}?${rawQuery}`
  const escaped = location.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
  const body = request.method === 'GET' ? `<a href="${escaped}">Temporary Redirect</a>.\n\n` : null
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const type = isRead ? { 'content-type': 'text/html; charset=utf-8' } : {}
  return new Response(body, { status: 307, headers: { location, ...type } })
}
