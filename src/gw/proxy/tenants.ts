// A tenant's request, from route to answer: look up, hold while the tenant moves, send, and send again where that is
// safe.

import type { Route, RouteKey } from '../../ipc/messages/cp-gateway.ts'
import { routeHeaderName } from '../../ipc/messages/route-header.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Breakers } from '../breakers.ts'
import type { GatewayLimits } from '../config.ts'
import { errorResponse } from '../error-response.ts'
import { unknownTenantMessage } from '../routing/host.ts'
import type { Lookup, RouteTable } from '../routing/table.ts'
import { type RequestBody, requestBody } from './body.ts'
import { type Client, upstreamEntries, upstreamHeaders } from './headers.ts'
import { type Attempt, attemptRequest, pathOf, targetOf } from './http.ts'
import { type Attempts, decide, noAttempts } from './retry.ts'
import type { RouteSigner } from './route-signer.ts'
import { asksForEvents, type Trunks } from './trunks.ts'
import type { Upstreams } from './upstreams.ts'

export interface TenantProxyDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly routes: RouteTable
  readonly breakers: Breakers
  readonly upstreams: Upstreams
  readonly trunks: Trunks
  readonly signer: RouteSigner
  readonly limits: GatewayLimits
}

/** Reasons for `unavailable` that time alone does not mend; all others are held. */
const lastingReasons: ReadonlySet<string> = new Set(['suspended', 'archived', 'deleted'])
/** How often a held request asks again when no news come, ms. */
const holdPollMs = { unavailable: 500, refused: 200 } as const

export class TenantProxy {
  readonly #deps: TenantProxyDeps
  #held = 0

  constructor(deps: TenantProxyDeps) {
    this.#deps = deps
  }

  /** Requests that wait for a route right now. */
  get held(): number {
    return this.#held
  }

  /** Never rejects. */
  async forward(request: Request, key: RouteKey, client: Client): Promise<Response> {
    const { clock, routes, limits } = this.#deps
    const startedAtMs = clock.monotonic()
    let body: RequestBody | null = null
    let attempts = noAttempts
    let lookup = await routes.get(key)
    for (;;) {
      attempts = { ...attempts, elapsedMs: clock.monotonic() - startedAtMs }
      if (lookup.found !== 'route') {
        const answer = answerWithoutRoute(lookup)
        if (answer !== null) return answer
        if (attempts.elapsedMs >= limits.holdMs || !(await this.#hold(request, key, lookup, holdPollMs.unavailable)))
          return unavailable('The tenant is moving; try again shortly.')
        lookup = await routes.get(key)
        continue
      }
      const { route } = lookup
      const admission = this.#deps.breakers.admit(route.workerUrl)
      if (!admission.admitted) return errorResponse(503, 'The server of this tenant does not answer.', admission)
      // Only now: a held request waits before its body is read.
      if (body === null) {
        const read = await readBody(request)
        if (read === null) return clientGone()
        body = read
      }
      const attempt = await this.#send(request, route, client, body)
      if (attempt.outcome === 'answered') {
        this.#deps.breakers.succeeded(route.workerUrl)
        return attempt.response
      }
      if (attempt.outcome === 'aborted') return clientGone()
      if (attempt.outcome === 'misrouted') this.#deps.breakers.succeeded(route.workerUrl) // it does answer
      attempts = counted(attempts, attempt.outcome)
      const decision = decide(attempt.outcome, attempts, {
        method: request.method,
        isReplayable: body.isReplayable,
        holdMs: limits.holdMs,
      })
      if (decision === 'fail') return this.#fail(route, attempt)
      if (decision === 'wait' && !(await this.#hold(request, key, lookup, holdPollMs.refused)))
        return this.#fail(route, attempt)
      lookup = await routes.refresh(key, route)
    }
  }

  /** The route if it is known or can be asked for; nothing is held. */
  async routeOf(key: RouteKey): Promise<Route | null> {
    const lookup = await this.#deps.routes.get(key)
    return lookup.found === 'route' ? lookup.route : null
  }

  /** The headers that tell a worker about a request that Bun's own clients send. */
  headersFor(request: Request, route: Route, client: Client): Headers {
    return upstreamHeaders(request.headers, client, this.#signed(request, route, client))
  }

  #signed(request: Request, route: Route, client: Client): Readonly<Record<string, string>> {
    return { [routeHeaderName]: this.#deps.signer.sign(route, client, request.headers.get('host') ?? '') }
  }

  #send(request: Request, route: Route, client: Client, body: RequestBody): Promise<Attempt> {
    const { method, signal, url, headers } = request
    const payload = body.next()
    if (payload === null || payload instanceof Uint8Array) {
      const question = {
        origin: route.workerUrl,
        method,
        target: targetOf(url),
        headers: upstreamEntries(headers, client, this.#signed(request, route, client)),
        body: payload,
        signal,
      }
      const asked = asksForEvents(question) ? this.#deps.trunks : this.#deps.upstreams
      return asked.ask(question, route)
    }
    return attemptRequest({
      url: route.workerUrl + pathOf(url),
      method,
      headers: this.headersFor(request, route, client),
      body: payload,
      signal,
    })
  }

  /** Waits for news about the tenant; false when it may not (too many wait, or the client left). */
  async #hold(request: Request, key: RouteKey, lookup: Lookup, pollMs: number): Promise<boolean> {
    const { routes, limits } = this.#deps
    if (this.#held >= limits.heldMax) return false
    this.#held++
    try {
      await routes.waitForNews(key, tenantIdOf(lookup), pollMs, request.signal)
      return true
    } catch (error) {
      if (request.signal.aborted) return false
      throw error
    } finally {
      this.#held--
    }
  }

  #fail(route: Route, attempt: Exclude<Attempt, { readonly outcome: 'answered' | 'aborted' }>): Response {
    if (attempt.outcome === 'misrouted') return unavailable('The tenant is moving; try again shortly.')
    // Our own limit says nothing about the worker.
    if (attempt.cause instanceof OverloadedError) return unavailable('The gateway is busy; try again shortly.')
    this.#deps.breakers.failed(route.workerUrl)
    this.#deps.log.warn('worker did not answer', {
      worker: route.workerUrl,
      tenant: route.tenantId,
      outcome: attempt.outcome,
      error: attempt.cause,
    })
    return errorResponse(502, 'The server of this tenant did not answer.', { retryAfterMs: 1_000 })
  }
}

/** The final answer where there is no route, or null when waiting may help. */
function answerWithoutRoute(lookup: Exclude<Lookup, { readonly found: 'route' }>): Response | null {
  switch (lookup.found) {
    case 'unknown':
      return errorResponse(404, unknownTenantMessage)
    case 'unreachable':
      return unavailable('The control plane cannot be reached; try again shortly.')
    case 'unavailable':
      return lastingReasons.has(lookup.reason)
        ? errorResponse(503, `The tenant is ${lookup.reason}.`, { retryAfterMs: 60_000 })
        : null
  }
}

function tenantIdOf(lookup: Lookup): TenantId | null {
  if (lookup.found === 'route') return lookup.route.tenantId
  return lookup.found === 'unavailable' ? lookup.tenantId : null
}

function counted(attempts: Attempts, outcome: 'misrouted' | 'refused' | 'broken'): Attempts {
  return { ...attempts, [outcome]: attempts[outcome] + 1 }
}

const unavailable = (message: string) => errorResponse(503, message, { retryAfterMs: 1_000 })

/** Nobody reads it; the status is what the metrics count. */
export const clientGone = () => errorResponse(499, 'The client went away.')

/** Null when the client goes away while its body is read. */
export async function readBody(request: Request): Promise<RequestBody | null> {
  try {
    return await requestBody(request)
  } catch {
    return null // the only way a body fails to be read
  }
}
