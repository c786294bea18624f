// Goal: a gateway routes, streams, strips, retries and refuses as designed. Method: a real gateway over real IPC with a
// control plane made of a map, and real HTTP servers as workers.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Gateway, GatewayConfig } from '../../src/gw/config.ts'
import { openGateway } from '../../src/gw/gateway.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName, verifyRouteHeader } from '../../src/ipc/messages/route-header.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { type FakeControlPlane, makeRoute, startFakeControlPlane } from '../support/fake-control-plane.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const secrets = clusterSecrets('a secret for the tests of the gateway')
const keys = routeHeaderKeys(secrets)
const deps = () => ({ clock: systemClock, rng: systemRng, log: silentLogger, metrics: new Metrics() })

/** Far above what a busy machine adds to anything: a request that is held waits for news, never for its end. */
const patientHoldMs = 30_000

let controlPlane: FakeControlPlane
let gateway: Gateway
let base: string
const closers: (() => unknown)[] = []

const openFor = ({ address }: FakeControlPlane, limits: NonNullable<GatewayConfig['limits']>) =>
  openGateway(
    {
      http: { host: '127.0.0.1', port: 0 },
      https: null,
      controlPlane: [address],
      baseDomain: 'fleet.test',
      secrets,
      limits,
    },
    deps(),
  )

/** How many requests wait for a route. */
async function heldBy({ httpUrl }: Gateway): Promise<number> {
  const metrics = await (await fetch(`${httpUrl}/metrics`)).text()
  return Number(/^pocketfleet_gateway_held_requests (\d+)$/m.exec(metrics)![1])
}

beforeAll(async () => {
  controlPlane = startFakeControlPlane(secrets)
  gateway = await openFor(controlPlane, { bodyBytesMax: 300 * 1024 * 1024, holdMs: patientHoldMs })
  base = gateway.httpUrl
  await until('the gateway to be ready', async () => (await fetch(`${base}/health/ready`)).status === 200)
})

afterAll(async () => {
  await gateway.close()
  await controlPlane.close()
  for (const close of closers) await close()
})

type Fetch = (request: Request) => Response | Promise<Response>

/** A worker that owns a new tenant, announced to the control plane. */
let tenants = 0
function startTenant(
  answer: Fetch,
  options: { hostname?: string } = {},
): { slug: string; url: string; stop: () => Promise<void> } {
  const slug = `tenant-${++tenants}`
  const server = Bun.serve({
    port: 0,
    hostname: options.hostname ?? '127.0.0.1',
    development: false,
    idleTimeout: 0,
    maxRequestBodySize: 1024 ** 3,
    fetch: answer,
  })
  const url = `http://127.0.0.1:${server.port}`
  controlPlane.replies.set(slug, { found: 'route', route: makeRoute(slug, url) })
  closers.push(() => server.stop(true))
  return { slug, url, stop: () => server.stop(true) }
}

const ask = (slug: string, path = '/', init: RequestInit & { headers?: Record<string, string> } = {}) =>
  fetch(base + path, { redirect: 'manual', ...init, headers: { host: `${slug}.fleet.test`, ...init.headers } })

/** Sends raw bytes and returns everything that comes back. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(base).port), '127.0.0.1', () => socket.write(text))
    let received = ''
    socket.on('data', (data) => {
      received += data
    })
    socket.on('close', () => resolve(received))
    socket.on('error', reject)
  })
}

describe('what reaches the worker', () => {
  test('is the request, with the signed route header and the gateway’s own forwarding headers', async () => {
    const { slug } = startTenant(async (request) =>
      Response.json({
        method: request.method,
        url: request.url,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
      }),
    )
    const response = await ask(slug, '/api/a%2Fb/?filter=(x%3D%27y%27)&q=%zz', {
      method: 'POST',
      body: 'hello',
      headers: {
        'x-pocketfleet-route': 'v1.forged.forged',
        'x-pocketfleet-anything': 'forged',
        'x-forwarded-for': '6.6.6.6',
        'x-forwarded-proto': 'https',
        'x-real-ip': '6.6.6.6',
        forwarded: 'for=6.6.6.6',
        'x-tenant-id': 'someone-else',
        connection: 'x-custom-hop',
        'x-custom-hop': 'dropped',
        authorization: 'kept',
        te: 'trailers',
      },
    })
    const seen = (await response.json()) as {
      method: string
      url: string
      body: string
      headers: Record<string, string>
    }
    expect(seen.method).toBe('POST')
    expect(seen.body).toBe('hello')
    expect(seen.url).toEndWith('/api/a%2Fb/?filter=(x%3D%27y%27)&q=%zz')
    expect(seen.headers).toMatchObject({
      host: `${slug}.fleet.test`,
      authorization: 'kept',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `${slug}.fleet.test`,
      'x-real-ip': '127.0.0.1',
    })
    for (const name of ['x-pocketfleet-anything', 'forwarded', 'x-tenant-id', 'x-custom-hop', 'te'])
      expect(seen.headers[name]).toBeUndefined()
    const route = makeRoute(slug, '')
    expect(verifyRouteHeader(keys, seen.headers[routeHeaderName] ?? '', Date.now())).toMatchObject({
      ok: true,
      value: {
        tenantId: route.tenantId,
        epoch: 1,
        clientAddress: '127.0.0.1',
        scheme: 'http',
        host: `${slug}.fleet.test`,
      },
    })
  })

  test('is chosen by X-Tenant-ID on a bare host only', async () => {
    const { slug } = startTenant(() => new Response('mine'))
    const byHeader = await fetch(base, { headers: { host: 'fleet.test', 'x-tenant-id': slug } })
    expect(await byHeader.text()).toBe('mine')
    expect(await (await fetch(base, { headers: { 'x-tenant-id': slug } })).text()).toBe('mine')
    const { slug: other } = startTenant(() => new Response('other'))
    expect(await (await ask(other, '/', { headers: { 'x-tenant-id': slug } })).text()).toBe('other')
  })
})

describe('what comes back', () => {
  test('keeps status, cookies, compressed bytes and lengths', async () => {
    const zipped = Bun.gzipSync(Buffer.from('x'.repeat(10_000)))
    const { slug } = startTenant((request) => {
      const { pathname } = new URL(request.url)
      if (pathname === '/cookies') {
        const headers = new Headers({ 'x-pocketfleet-internal': 'secret', connection: 'keep-alive' })
        headers.append('set-cookie', 'a=1; Path=/')
        headers.append('set-cookie', 'b=2; Path=/')
        return new Response('ok', { headers })
      }
      if (pathname === '/zip') return new Response(zipped, { headers: { 'content-encoding': 'gzip' } })
      if (pathname === '/none') return new Response(null, { status: 204 })
      if (pathname === '/same') return new Response(null, { status: 304, headers: { etag: '"1"' } })
      if (pathname === '/away') return Response.redirect('/elsewhere', 302)
      return new Response('12345', { status: 418, headers: { 'content-type': 'text/plain' } })
    })
    const cookies = await ask(slug, '/cookies')
    expect(cookies.headers.getSetCookie()).toEqual(['a=1; Path=/', 'b=2; Path=/'])
    expect(cookies.headers.get('x-pocketfleet-internal')).toBeNull()
    const zip = await ask(slug, '/zip', { decompress: false } as object)
    expect(zip.headers.get('content-encoding')).toBe('gzip')
    expect(zip.headers.get('content-length')).toBe(String(zipped.length))
    expect(Buffer.compare(Buffer.from(await zip.arrayBuffer()), zipped)).toBe(0)
    expect((await ask(slug, '/none')).status).toBe(204)
    const same = await ask(slug, '/same')
    expect([same.status, same.headers.get('etag')]).toEqual([304, '"1"'])
    const away = await ask(slug, '/away')
    expect([away.status, away.headers.get('location')]).toEqual([302, '/elsewhere'])
    const head = await ask(slug, '/head', { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([418, '5', ''])
    const teapot = await ask(slug, '/any')
    expect([teapot.status, await teapot.text()]).toEqual([418, '12345'])
  })

  test('is compressed only when the client asked for it', async () => {
    const { slug } = startTenant((request) => new Response(request.headers.get('accept-encoding')))
    const silent = await raw(`GET / HTTP/1.1\r\nHost: ${slug}.fleet.test\r\nConnection: close\r\n\r\n`)
    expect(silent).toContain('Content-Length: 0\r\n') // nothing was said for it either
  })

  test('streams: each event arrives before the next is sent', async () => {
    let push: (text: string) => void = () => {}
    let ended = false
    const { slug } = startTenant(
      () =>
        new Response(
          new ReadableStream({
            start(controller) {
              push = (text) => controller.enqueue(new TextEncoder().encode(text))
              push('data: 0\n\n')
            },
            cancel() {
              ended = true
            },
          }),
          { headers: { 'content-type': 'text/event-stream' } },
        ),
    )
    const controller = new AbortController()
    const response = await ask(slug, '/api/realtime', { signal: controller.signal })
    const reader = response.body!.getReader()
    for (let i = 0; i < 5; i++) {
      const { value } = await reader.read()
      expect(new TextDecoder().decode(value)).toBe(`data: ${i}\n\n`)
      push(`data: ${i + 1}\n\n`)
    }
    controller.abort()
    await until('the worker to hear that the client left', () => ended)
  })
})

describe('large bodies', () => {
  const sizeBytes = 150 * 1024 * 1024
  const chunk = Buffer.alloc(1024 * 1024, 7)
  /** What may lie between a sender and a reader that has stopped: buffers of sockets and streams, not the body. */
  const underwayBytesMax = sizeBytes / 2

  /** Writes `head` and the body at the pace of `socket`; tells what has been handed to it so far. */
  function send(socket: Socket, head: string): () => number {
    let sentBytes = 0
    const more = () => {
      while (sentBytes < sizeBytes) {
        sentBytes += chunk.length
        if (!socket.write(chunk)) return
      }
    }
    socket.on('drain', more)
    socket.write(head)
    more()
    return () => sentBytes
  }

  /** Waits until a sender has not moved for a while: its reader has stopped, and all buffers between them are full. */
  async function untilHeld(sentBytes: () => number): Promise<void> {
    let last = -1
    await until('the sender to be held back', async () => {
      const before = last
      last = sentBytes()
      await Bun.sleep(200)
      return last > 0 && last === before && last === sentBytes()
    })
  }

  /** A worker that speaks HTTP by hand, since only a bare socket stops reading when it is told to. */
  async function startBareTenant(onConnection: (socket: Socket) => void): Promise<string> {
    const server = createServer(onConnection).listen(0, '127.0.0.1')
    await once(server, 'listening')
    closers.push(() => server.close())
    const slug = `tenant-${++tenants}`
    const { port } = server.address() as AddressInfo
    controlPlane.replies.set(slug, { found: 'route', route: makeRoute(slug, `http://127.0.0.1:${port}`) })
    return slug
  }

  async function openSocket(): Promise<Socket> {
    const socket = connect(Number(new URL(base).port), '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }

  test('go up at the pace of the worker', async () => {
    const arrived = Promise.withResolvers<Socket>()
    let receivedBytes = 0
    const slug = await startBareTenant((socket) => {
      socket.pause()
      arrived.resolve(socket)
    })
    const client = await openSocket()
    const sent = send(client, `POST /up HTTP/1.1\r\nHost: ${slug}.fleet.test\r\nContent-Length: ${sizeBytes}\r\n\r\n`)
    const worker = await arrived.promise
    await untilHeld(sent)
    expect(sent()).toBeLessThan(underwayBytesMax)
    let headBytes: number | undefined
    worker.on('data', (data: Buffer) => {
      headBytes ??= data.indexOf('\r\n\r\n') + 4
      receivedBytes += data.length
      if (receivedBytes === headBytes + sizeBytes) worker.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    worker.resume()
    const [answer] = (await once(client, 'data')) as [Buffer]
    expect(answer.toString()).toStartWith('HTTP/1.1 200')
    expect(sent()).toBe(sizeBytes)
    client.destroy()
  })

  test('come down at the pace of the client', async () => {
    const sender = Promise.withResolvers<() => number>()
    const slug = await startBareTenant((socket) => {
      socket.once('data', () => sender.resolve(send(socket, `HTTP/1.1 200 OK\r\nContent-Length: ${sizeBytes}\r\n\r\n`)))
    })
    const client = await openSocket()
    client.write(`GET /down HTTP/1.1\r\nHost: ${slug}.fleet.test\r\nConnection: close\r\n\r\n`)
    const sent = await sender.promise
    await untilHeld(sent)
    expect(sent()).toBeLessThan(underwayBytesMax)
    let receivedBytes = 0
    client.on('data', (data: Buffer) => {
      receivedBytes += data.length
    })
    await once(client, 'end')
    expect(receivedBytes).toBeGreaterThan(sizeBytes)
    client.destroy()
  })

  test('beyond the limit are refused before anything is sent on', async () => {
    let reached = false
    const { slug } = startTenant(() => {
      reached = true
      return new Response('ok')
    })
    const answer = await raw(
      `POST / HTTP/1.1\r\nHost: ${slug}.fleet.test\r\nContent-Length: ${400 * 1024 * 1024}\r\nConnection: close\r\n\r\n`,
    )
    expect(answer).toStartWith('HTTP/1.1 413')
    expect(reached).toBe(false)
  })
})

describe('hosts', () => {
  const get = (host: string, more = '') => raw(`GET / HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`)

  test('in any spelling lead to their tenant', async () => {
    const { slug } = startTenant(() => new Response('here'))
    for (const host of [`${slug.toUpperCase()}.Fleet.TEST`, `${slug}.fleet.test:8443`, `${slug}.fleet.test.`])
      expect(await get(host)).toEndWith('here')
  })

  test('that are odd or forged are refused in PocketBase’s shape', async () => {
    for (const host of ['a b', 'x/../y', 'a.fleet.test, b.fleet.test', '..', '[::1', 'x@y'])
      expect(await get(host)).toStartWith('HTTP/1.1 400')
    expect(await raw('GET / HTTP/1.1\r\nConnection: close\r\n\r\n')).toStartWith('HTTP/1.1 400')
    expect(await get('fleet.test', 'X-Tenant-ID: ../../etc\r\n')).toStartWith('HTTP/1.1 400')
    const answer = await get('deep.sub.fleet.test')
    expect(answer).toStartWith('HTTP/1.1 404')
    expect(JSON.parse(answer.slice(answer.indexOf('{')))).toEqual({
      status: 404,
      message: 'There is no tenant here.',
      data: {},
    })
  })

  test('of nobody are 404 and asked for once', async () => {
    const before = controlPlane.asked()
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await ask('nobody')).status))
    expect(new Set(statuses)).toEqual(new Set([404]))
    expect((await ask('nobody')).status).toBe(404)
    expect(controlPlane.asked() - before).toBe(1)
  })

  test('of the platform lead to the control plane, without what only gateways may say', async () => {
    for (const host of ['fleet.test', 'app.fleet.test', 'admin.fleet.test', 'api.fleet.test', '127.0.0.1']) {
      const response = await fetch(`${base}/api/cp/health`, {
        headers: { host, 'x-pocketfleet-peer': 'v1.node.1.00' },
      })
      expect(await response.json()).toMatchObject({
        controlPlane: '/api/cp/health',
        headers: { host, 'x-forwarded-for': '127.0.0.1' },
      })
    }
    const directory = await fetch(`${base}/api/cp/ipc`, { headers: { 'x-pocketfleet-peer': 'v1.node.1.00' } })
    expect(directory.status).toBe(401)
  })

  test('that are bare have the gateway’s own endpoints, which shadow no tenant', async () => {
    const { slug } = startTenant((request) => new Response(`tenant ${new URL(request.url).pathname}`))
    expect(await (await fetch(`${base}/health/live`)).json()).toEqual({ status: 'live' })
    expect(await (await fetch(`${base}/metrics`)).text()).toContain('pocketfleet_gateway_requests_total')
    for (const path of ['/health/live', '/metrics', '/api/health'])
      expect(await (await ask(slug, path)).text()).toBe(`tenant ${path}`)
  })
})

describe('failures', () => {
  test('a dead worker is 502 with Retry-After, then the breaker answers early', async () => {
    const tenant = startTenant(() => new Response('alive'))
    expect(await (await ask(tenant.slug)).text()).toBe('alive')
    await tenant.stop()
    const first = await Promise.all(Array.from({ length: 5 }, () => ask(tenant.slug)))
    expect(first.map((response) => response.status)).toEqual([502, 502, 502, 502, 502])
    expect(first[0]!.headers.get('retry-after')).toBe('1')
    expect(await first[0]!.json()).toMatchObject({ status: 502, data: {} })
    // An attempt ends in 502; on a busy machine one may fall due, as a probe, before this asks.
    const early = await until('an answer without an attempt', async () => {
      const response = await ask(tenant.slug)
      return response.status === 503 && response
    })
    expect(early.headers.get('retry-after')).toMatch(/^[12]$/)
  }, 180_000)

  test('a worker that comes back elsewhere costs its callers only time', async () => {
    const tenant = startTenant(() => new Response('old'))
    await ask(tenant.slug)
    await tenant.stop()
    const asking = Promise.all(
      Array.from({ length: 10 }, async (_, i) =>
        (await ask(tenant.slug, '/', { method: 'POST', body: `${i}` })).text(),
      ),
    )
    await until('requests to be held', async () => (await heldBy(gateway)) > 0)
    const next = startTenant(async (request) => new Response(`new ${await request.text()}`))
    const route = makeRoute(tenant.slug, next.url)
    controlPlane.replies.set(tenant.slug, { found: 'route', route })
    controlPlane.publish('node.', { type: 'node.changed', nodeId: route.nodeId })
    expect(await asking).toEqual(Array.from({ length: 10 }, (_, i) => `new ${i}`))
  }, 180_000)

  test('a wrong owner is corrected once per request, with its body', async () => {
    const wrong = startTenant(() => new Response(null, { status: 421 }))
    const right = startTenant(async (request) => new Response(`got ${(await request.text()).length}`))
    await ask(wrong.slug, '/', { signal: AbortSignal.timeout(100) }).catch(() => {}) // fills the cache
    controlPlane.replies.set(wrong.slug, { found: 'route', route: makeRoute(wrong.slug, right.url, 2) })
    const response = await ask(wrong.slug, '/', { method: 'POST', body: 'x'.repeat(100_000) })
    expect([response.status, await response.text()]).toEqual([200, 'got 100000'])
  })

  test('a tenant that moves is held, then served; one that is suspended is 503 at once', async () => {
    const tenant = startTenant(() => new Response('arrived'))
    const route = makeRoute(tenant.slug, tenant.url, 2)
    controlPlane.replies.set(tenant.slug, { found: 'unavailable', tenantId: route.tenantId, reason: 'moving' })
    const held = Array.from({ length: 20 }, async () => (await ask(tenant.slug)).text())
    await until('all of them to be held', async () => (await heldBy(gateway)) === 20)
    controlPlane.replies.set(tenant.slug, { found: 'route', route })
    controlPlane.publish('route.', { type: 'route.changed', tenantId: route.tenantId, names: [tenant.slug], route })
    expect(new Set(await Promise.all(held))).toEqual(new Set(['arrived']))
    const paused = makeRoute('paused', '')
    controlPlane.replies.set('paused', { found: 'unavailable', tenantId: paused.tenantId, reason: 'suspended' })
    const startedMs = performance.now()
    expect((await ask('paused')).status).toBe(503)
    expect(performance.now() - startedMs).toBeLessThan(patientHoldMs) // it was not held
  }, 180_000)

  test('a broadcast moves the next request, without a question', async () => {
    const one = startTenant(() => new Response('one'))
    const two = startTenant(() => new Response('two'))
    expect(await (await ask(one.slug)).text()).toBe('one')
    const before = controlPlane.asked()
    const route = makeRoute(one.slug, two.url, 2)
    controlPlane.publish('route.', { type: 'route.changed', tenantId: route.tenantId, names: [one.slug], route })
    await until('the route to move', async () => (await (await ask(one.slug)).text()) === 'two')
    expect(controlPlane.asked()).toBe(before)
  })

  test('a reset after delivery is retried for safe methods only', async () => {
    let calls = 0
    const server = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        data(socket) {
          calls++
          if (calls % 2 === 1) socket.terminate()
          else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
        },
      },
    })
    closers.push(() => server.stop(true))
    controlPlane.replies.set('flaky', { found: 'route', route: makeRoute('flaky', `http://127.0.0.1:${server.port}`) })
    expect(await (await ask('flaky')).text()).toBe('ok')
    expect(calls).toBe(2)
    const post = await ask('flaky', '/', { method: 'POST', body: 'once' })
    expect(post.status).toBe(502)
    expect(calls).toBe(3)
  })
})

test('a tenant that stays away is 503 once a request was held for its time', async () => {
  const impatient = await openFor(controlPlane, { holdMs: 300 })
  closers.push(() => impatient.close())
  const { tenantId } = makeRoute('away', '')
  controlPlane.replies.set('away', { found: 'unavailable', tenantId, reason: 'failing over' })
  await until('the gateway to be ready', async () => (await fetch(`${impatient.httpUrl}/health/ready`)).status === 200)
  const startedMs = performance.now()
  const response = await fetch(impatient.httpUrl, { headers: { host: 'away.fleet.test' } })
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1'])
  expect(performance.now() - startedMs).toBeGreaterThan(250)
})

test('without the control plane known tenants keep answering, unknown ones are 503', async () => {
  const own = startFakeControlPlane(secrets)
  const alone = await openFor(own, { resolveMs: 1_000, holdMs: patientHoldMs, heldMax: 2 })
  closers.push(() => alone.close())
  const tenant = startTenant(() => new Response('still here'))
  own.replies.set(tenant.slug, { found: 'route', route: makeRoute(tenant.slug, tenant.url) })
  const get = (slug: string) => fetch(alone.httpUrl, { headers: { host: `${slug}.fleet.test` } })
  await until('the first answer', async () => (await get(tenant.slug)).status === 200)
  // Only so many requests are held at once; the rest hear so at once.
  const moving = makeRoute('moving', '')
  own.replies.set('moving', { found: 'unavailable', tenantId: moving.tenantId, reason: 'moving' })
  const statuses: number[] = []
  const asking = Array.from({ length: 6 }, async () => statuses.push((await get('moving')).status))
  await until('four answers', () => statuses.length === 4)
  expect(statuses).toEqual([503, 503, 503, 503])
  await until('two to be held', async () => (await heldBy(alone)) === 2)
  const route = { ...moving, workerUrl: tenant.url }
  own.replies.set('moving', { found: 'route', route })
  own.publish('route.', { type: 'route.changed', tenantId: route.tenantId, names: ['moving'], route })
  await Promise.all(asking)
  expect(statuses.slice(4)).toEqual([200, 200])
  await own.close()
  for (let i = 0; i < 20; i++) expect(await (await get(tenant.slug)).text()).toBe('still here')
  const unknown = await get('stranger')
  expect([unknown.status, unknown.headers.get('retry-after')]).toEqual([503, '1'])
  expect((await fetch(alone.httpUrl)).status).toBe(503)
}, 180_000)
