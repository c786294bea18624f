// Composition root of a gateway: opens what it needs, serves, and closes in reverse.

import type { Server } from 'bun'
import { Elysia } from 'elysia'
import { routeHeaderKeys } from '../ipc/messages/route-header.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import { Breakers } from './breakers.ts'
import { defaultLimits, type Gateway, type GatewayConfig, type GatewayDeps, type ListenAddress } from './config.ts'
import { errorResponse } from './error-response.ts'
import {
  closeListener,
  type GatewayServer,
  type ListenerOptions,
  openListener,
  readCertificate,
  type Scheme,
} from './listener.ts'
import { ControlPlaneProxy } from './proxy/control-plane.ts'
import type { OnEventStream } from './proxy/exchange.ts'
import { clientOf } from './proxy/headers.ts'
import { pathOf } from './proxy/http.ts'
import { RouteSigner } from './proxy/route-signer.ts'
import { EventStreams, isEventStream } from './proxy/sse.ts'
import { TenantProxy } from './proxy/tenants.ts'
import { Trunks } from './proxy/trunks.ts'
import { Upstreams } from './proxy/upstreams.ts'
import { isWebSocketRequest, WebSocketProxy } from './proxy/websocket.ts'
import { targetOf } from './routing/host.ts'
import { openRouteFeed } from './routing/subscriber.ts'

/** How long a connection may stay whose event stream is over and whose client does not read what is left, s. */
const lingerSeconds = 4

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
  const streams = new EventStreams()
  const onEventStream: OnEventStream = (response, end) => streams.adopt(response, end)
  const upstreams = opened.adopt(new Upstreams({ clock, onEventStream }), (it) => it.close())
  const signer = new RouteSigner(routeHeaderKeys(config.secrets), clock)
  const trunks = opened.adopt(new Trunks({ clock, rng, log, upstreams, signer, onEventStream }), (it) => it.close())
  const tenants = new TenantProxy({ clock, log, routes, breakers, limits, upstreams, trunks, signer })
  const platform = new ControlPlaneProxy({ log, members: () => controlPlane.members, addresses: config.controlPlane })
  const webSockets = new WebSocketProxy({ clock, log })
  const trustedProxies = new Set(config.trustedProxies ?? [])

  const requests = metrics.counter({ name: 'gateway_requests_total', help: 'Requests by status.', labels: ['code'] })
  const seconds = metrics.histogram({ name: 'gateway_request_seconds', help: 'From request to response headers.' })
  metrics.gauge({ name: 'gateway_held_requests', help: 'Requests that wait for a route.' }, (set) => set(tenants.held))
  metrics.gauge({ name: 'gateway_event_streams', help: 'Open event streams.' }, (set) => set(streams.count))
  metrics.gauge({ name: 'gateway_trunks', help: 'Connections that carry many event streams.' }, (set) =>
    set(trunks.count),
  )
  metrics.gauge({ name: 'gateway_websockets', help: 'Open WebSockets.' }, (set) => set(webSockets.count))
  metrics.gauge({ name: 'gateway_routes', help: 'Cached routes.' }, (set) => set(routes.size))
  metrics.gauge(
    { name: 'gateway_breaker_state', help: '0 closed, 0.5 half-open, 1 open.', labels: ['worker'] },
    (set) => {
      for (const [worker, state] of breakers.states()) set(state, { worker })
    },
  )

  const clientOfRequest = (request: Request, server: Server<unknown>, scheme: Scheme) =>
    clientOf(request.headers, { address: server.requestIP(request)?.address ?? '', scheme }, trustedProxies)

  /** False: not a WebSocket of a tenant that answers now; handle it as any request. */
  const upgrade = async (request: Request, server: GatewayServer, scheme: Scheme) => {
    const { headers } = request
    const target = targetOf(headers.get('host'), headers.get('x-tenant-id'), config.baseDomain)
    const route = target.kind === 'tenant' ? await tenants.routeOf(target.key) : null
    if (route === null) return false
    const sent = tenants.headersFor(request, route, clientOfRequest(request, server, scheme))
    return webSockets.connect(request, server, route.workerUrl + pathOf(request.url), sent)
  }

  const route = (request: Request, server: Server<unknown>, scheme: Scheme) => {
    const { headers } = request
    const target = targetOf(headers.get('host'), headers.get('x-tenant-id'), config.baseDomain)
    if (target.kind === 'invalid') return errorResponse(target.status, target.message)
    if (target.kind === 'control-plane' && target.isBare && ownPaths.has(withoutQuery(pathOf(request.url)))) return null
    if (Number(headers.get('content-length') ?? 0) > limits.bodyBytesMax)
      return errorResponse(413, `The request body exceeds the limit of ${limits.bodyBytesMax} bytes.`)
    const client = clientOfRequest(request, server, scheme)
    return target.kind === 'tenant' ? tenants.forward(request, target.key, client) : platform.forward(request, client)
  }

  /** Null: one of our own endpoints. */
  const handle = async (request: Request, server: Server<unknown>, scheme: Scheme) => {
    const startedAtMs = clock.monotonic()
    const response = await route(request, server, scheme)
    if (response === null) return undefined
    requests.inc({ code: response.status })
    seconds.observe((clock.monotonic() - startedAtMs) / 1_000)
    if (!isEventStream(response)) return response
    server.timeout(request, 0)
    // Else a client that does not read would keep its connection, and what waits for it in memory, for ever.
    return streams.track(response, () => server.timeout(request, lingerSeconds))
  }

  const isReady = () => controlPlane.members.length > 0
  /** What the gateway answers itself. Tenants' requests never pass it: their answers are theirs, byte for byte. */
  const makeApp = () =>
    new Elysia()
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

  const listen = (address: ListenAddress, scheme: Scheme, tls: ListenerOptions['tls']) => {
    const app = makeApp()
    const { url, server } = openListener({
      scheme,
      address,
      tls,
      bodyBytesMax: limits.bodyBytesMax,
      webSockets,
      fetch: async (request, server) => {
        try {
          if (isWebSocketRequest(request) && (await upgrade(request, server, scheme))) return undefined
          return (await handle(request, server, scheme)) ?? app.fetch(request)
        } catch (error) {
          log.error('gateway request failed', { error })
          return errorResponse(502, 'The gateway failed to handle the request.')
        }
      },
    })
    const endStreams = () => {
      streams.endAll()
      webSockets.endAll()
    }
    opened.defer(() => closeListener(server, clock, endStreams))
    return url
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
