// Composition root of a gateway: opens what it needs, serves, and closes in reverse.

import { readFileSync } from 'node:fs'
import type { Server } from 'bun'
import { Elysia } from 'elysia'
import { routeHeaderKeys } from '../ipc/messages/route-header.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import { sleep } from '../lib/clock.ts'
import { ConfigError, errorCode, errorMessage } from '../lib/errors.ts'
import { Breakers } from './breakers.ts'
import { defaultLimits, type Gateway, type GatewayConfig, type GatewayDeps, type ListenAddress } from './config.ts'
import { errorResponse } from './error-response.ts'
import { ControlPlaneProxy } from './proxy/control-plane.ts'
import { clientOf } from './proxy/headers.ts'
import { pathOf } from './proxy/http.ts'
import { EventStreams, isEventStream } from './proxy/sse.ts'
import { TenantProxy } from './proxy/tenants.ts'
import { targetOf } from './routing/host.ts'
import { openRouteFeed } from './routing/subscriber.ts'

/** A connection that moves no byte for this long is closed, s; Bun allows 255 at most. Event streams are exempt. */
const idleTimeoutSeconds = 240
/** How long requests under way may go on after {@link Gateway.close} began, ms. */
const drainMs = 5_000
/** Answered by the gateway itself, on bare hosts only: a tenant may own these paths. */
const ownPaths: ReadonlySet<string> = new Set(['/health/live', '/health/ready', '/api/health', '/metrics'])

/**
 * Starts listening. The control plane need not be there yet: `/health/ready` tells.
 *
 * Throws ConfigError for an address or certificate that cannot be used, MessagingError without libzmq.
 */
export async function openGateway(config: GatewayConfig, deps: GatewayDeps): Promise<Gateway> {
  const { clock, rng, log, metrics } = deps
  const limits = { ...defaultLimits, ...config.limits }
  await using opened = new AsyncDisposableStack()
  const messaging = opened.adopt(openMessaging({ role: 'gateway', secrets: config.secrets, log }), (it) => it.close())
  const { routes, controlPlane } = openRouteFeed({
    messaging,
    secrets: config.secrets,
    addresses: config.controlPlane,
    clock,
    rng,
    log,
    routesMax: limits.routesMax,
    resolveMs: limits.resolveMs,
  })
  opened.defer(() => controlPlane.close())
  const breakers = new Breakers(clock)
  const tenants = new TenantProxy({ clock, log, routes, breakers, limits, routeKeys: routeHeaderKeys(config.secrets) })
  const platform = new ControlPlaneProxy({ log, members: () => controlPlane.members, addresses: config.controlPlane })
  const streams = new EventStreams()
  const trustedProxies = new Set(config.trustedProxies ?? [])

  const requests = metrics.counter({ name: 'gateway_requests_total', help: 'Requests by status.', labels: ['code'] })
  const seconds = metrics.histogram({ name: 'gateway_request_seconds', help: 'From request to response headers.' })
  metrics.gauge({ name: 'gateway_held_requests', help: 'Requests that wait for a route.' }, (set) => set(tenants.held))
  metrics.gauge({ name: 'gateway_event_streams', help: 'Open event streams.' }, (set) => set(streams.count))
  metrics.gauge({ name: 'gateway_routes', help: 'Cached routes.' }, (set) => set(routes.size))
  metrics.gauge(
    { name: 'gateway_breaker_state', help: '0 closed, 0.5 half-open, 1 open.', labels: ['worker'] },
    (set) => {
      for (const [worker, state] of breakers.states()) set(state, { worker })
    },
  )

  const route = (request: Request, server: Server<unknown>, scheme: 'http' | 'https') => {
    const { headers } = request
    const target = targetOf(headers.get('host'), headers.get('x-tenant-id'), config.baseDomain)
    if (target.kind === 'invalid') return errorResponse(target.status, target.message)
    if (target.kind === 'control-plane' && target.isBare && ownPaths.has(withoutQuery(pathOf(request.url)))) return null
    if (Number(headers.get('content-length') ?? 0) > limits.bodyBytesMax)
      return errorResponse(413, `The request body exceeds the limit of ${limits.bodyBytesMax} bytes.`)
    if (headers.get('upgrade')?.toLowerCase() === 'websocket')
      return errorResponse(501, 'WebSocket connections are not supported.')
    const peer = { address: server.requestIP(request)?.address ?? '', scheme }
    const client = clientOf(headers, peer, trustedProxies)
    return target.kind === 'tenant' ? tenants.forward(request, target.key, client) : platform.forward(request, client)
  }

  /** Null: one of our own endpoints. */
  const handle = async (request: Request, server: Server<unknown>, scheme: 'http' | 'https') => {
    const startedAtMs = clock.monotonic()
    const response = await route(request, server, scheme)
    if (response === null) return undefined
    requests.inc({ code: response.status })
    seconds.observe((clock.monotonic() - startedAtMs) / 1_000)
    if (!isEventStream(response)) return response
    server.timeout(request, 0)
    return streams.track(response)
  }

  const isReady = () => controlPlane.members.length > 0
  const makeApp = (scheme: 'http' | 'https') =>
    new Elysia()
      .onRequest(async ({ request, server }) => (server === null ? undefined : handle(request, server, scheme)))
      .get('/health/live', () => ({ status: 'live' }))
      .get('/health/ready', ({ status }) => {
        if (isReady()) return { status: 'ready' }
        return status(503, { status: 503, message: 'No control plane member answered yet.', data: {} })
      })
      .get('/api/health', () => ({ code: 200, message: 'API is healthy.', data: {} }))
      .get('/metrics', async ({ set }) => {
        set.headers['content-type'] = metrics.contentType
        return metrics.render()
      })
      .onError(({ error, code }) => {
        if (code === 'NOT_FOUND') return errorResponse(404, 'Not found.')
        log.error('gateway request failed', { error })
        return errorResponse(502, 'The gateway failed to handle the request.')
      })

  const listen = (address: ListenAddress, scheme: 'http' | 'https', tls: Bun.TLSOptions | null) => {
    const app = makeApp(scheme)
    try {
      const server = Bun.serve({
        hostname: address.host,
        port: address.port,
        fetch(request, server) {
          app.server = server
          return app.fetch(request)
        },
        development: false,
        reusePort: false, // without development mode Bun's default is true, and a second gateway would share the port unseen
        idleTimeout: idleTimeoutSeconds,
        maxRequestBodySize: limits.bodyBytesMax,
        ...(tls && { tls }),
      })
      opened.defer(() => stop(server))
      return `${scheme}://${server.hostname?.includes(':') ? `[${server.hostname}]` : server.hostname}:${server.port}`
    } catch (error) {
      throw listenError(error, address, scheme)
    }
  }

  const stop = async (server: Server<unknown>) => {
    const waiting = new AbortController()
    const stopped = server.stop()
    streams.endAll()
    await Promise.race([stopped, sleep(clock, drainMs, waiting.signal).catch(() => {})])
    waiting.abort()
    await server.stop(true)
  }

  const httpUrl = listen(config.http, 'http', null)
  const httpsUrl = config.https === null ? null : listen(config.https, 'https', readCertificate(config.https))
  const lifetime = opened.move()
  log.info('gateway opened', { httpUrl, httpsUrl, baseDomain: config.baseDomain })
  return { httpUrl, httpsUrl, close: () => lifetime.disposeAsync() }
}

function withoutQuery(path: string): string {
  const end = path.indexOf('?')
  return end < 0 ? path : path.slice(0, end)
}

function readCertificate({ certPath, keyPath }: { readonly certPath: string; readonly keyPath: string }) {
  const read = (path: string, flag: string) => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new ConfigError(`${flag}: cannot read ${path}: ${errorMessage(error)}`, { cause: error })
    }
  }
  return { cert: read(certPath, '--tls-cert'), key: read(keyPath, '--tls-key') }
}

function listenError(error: unknown, { host, port }: ListenAddress, scheme: 'http' | 'https'): ConfigError {
  const flag = scheme === 'http' ? '--http' : '--https-addr'
  const reason = errorCode(error) === 'EADDRINUSE' ? 'the address is in use' : errorMessage(error)
  return new ConfigError(`${flag}: cannot listen on ${host}:${port}: ${reason}`, { cause: error })
}
