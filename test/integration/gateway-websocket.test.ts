// Goal: WebSockets cross the gateway with their messages, protocols, headers and ends. Method: a real gateway, a worker
// that echoes.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import type { Gateway } from '../../src/gw/config.ts'
import { openGateway } from '../../src/gw/gateway.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName, verifyRouteHeader } from '../../src/ipc/messages/route-header.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { makeRoute, startFakeControlPlane } from '../support/fake-control-plane.ts'
import { clockWithoutTimers } from '../support/patient-clock.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const secrets = clusterSecrets('a secret for the tests of WebSockets')
const controlPlane = startFakeControlPlane(secrets)
const closed: number[] = []
let handshake = new Headers()
const worker = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  development: false,
  fetch(request, server) {
    handshake = new Headers(request.headers)
    if (new URL(request.url).pathname === '/forbidden') return Response.json({ status: 403 }, { status: 403 })
    const offered = request.headers.get('sec-websocket-protocol')
    const headers = offered ? { 'sec-websocket-protocol': offered.split(',')[1]!.trim() } : undefined
    return server.upgrade(request, { headers }) ? undefined : new Response('plain')
  },
  websocket: {
    open: (socket) => void socket.send('hello'), // before the client is connected to the gateway
    message: (socket, message) => {
      if (message === 'end') socket.close(4_321, 'as asked')
      else socket.send(message)
    },
    close: (_socket, code) => void closed.push(code),
  },
})

/** Nothing of the gateway may need the drain's deadline (`drainMs`) to end. */
const clock = clockWithoutTimers(5_000)
let gateway: Gateway
beforeAll(async () => {
  controlPlane.replies.set('acme', { found: 'route', route: makeRoute('acme', `http://127.0.0.1:${worker.port}`) })
  gateway = await openGateway(
    {
      http: { host: '127.0.0.1', port: 0 },
      https: null,
      controlPlane: [controlPlane.address],
      baseDomain: 'fleet.test',
      secrets,
    },
    { clock, rng: systemRng, log: silentLogger, metrics: new Metrics() },
  )
  await until('the gateway to be ready', async () => (await fetch(`${gateway.httpUrl}/health/ready`)).status === 200)
})
afterAll(async () => {
  await gateway.close()
  await worker.stop(true)
  await controlPlane.close()
})

interface Client {
  readonly socket: WebSocket
  readonly messages: (string | Uint8Array)[]
  readonly ended: Promise<{ readonly code: number; readonly reason: string }>
}

async function connect(
  path: string,
  options: { readonly protocols?: string[]; readonly slug?: string } = {},
): Promise<Client> {
  const socket = new WebSocket(gateway.httpUrl.replace('http', 'ws') + path, {
    headers: { host: `${options.slug ?? 'acme'}.fleet.test`, 'x-pocketfleet-route': 'forged' },
    protocols: options.protocols ?? [],
  })
  socket.binaryType = 'nodebuffer'
  const messages: (string | Uint8Array)[] = []
  socket.onmessage = ({ data }) => void messages.push(data)
  const ended = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.onclose = ({ code, reason }) => resolve({ code, reason })
  })
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve()
    socket.onerror = () => reject(new Error('refused'))
  })
  return { socket, messages, ended }
}

test('messages of both kinds cross, the first one too, with the chosen protocol and a signed header', async () => {
  const { socket, messages, ended } = await connect('/api/graphql?x=1', { protocols: ['one', 'two'] })
  expect(socket.protocol).toBe('two')
  const header = verifyRouteHeader(routeHeaderKeys(secrets), handshake.get(routeHeaderName) ?? '', Date.now())
  expect(header).toMatchObject({ ok: true, value: { host: 'acme.fleet.test' } })
  const binary = new Uint8Array(300_000).map((_, i) => i & 255)
  socket.send('text')
  socket.send(binary)
  await until('three messages', () => messages.length === 3)
  expect(messages.slice(0, 2)).toEqual(['hello', 'text'])
  expect(Buffer.compare(messages[2] as Uint8Array, binary)).toBe(0)
  socket.close(4_000, 'done')
  await ended
  await until('the worker to hear of the end', () => closed.includes(4_000))
})

test('an end by the worker reaches the client with its code', async () => {
  const { socket, ended } = await connect('/')
  socket.send('end')
  expect(await ended).toEqual({ code: 4_321, reason: 'as asked' })
})

test('a refusal is the worker’s own answer; an unknown tenant is 404', async () => {
  await expect(connect('/forbidden')).rejects.toThrow('refused')
  const upgrade = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'x',
  }
  const ask = (slug: string) =>
    fetch(`${gateway.httpUrl}/forbidden`, { headers: { ...upgrade, host: `${slug}.fleet.test` } })
  expect((await ask('acme')).status).toBe(403)
  expect((await ask('nobody')).status).toBe(404)
  const odd = { ...upgrade, 'sec-websocket-protocol': 'a b, (c)', host: 'acme.fleet.test' }
  expect((await fetch(`${gateway.httpUrl}/forbidden`, { headers: odd })).status).toBe(403)
})

test('a client that vanishes and a gateway that closes end the worker’s side', async () => {
  const before = closed.length
  const vanishing = await connect('/')
  vanishing.socket.terminate()
  await until('the worker to hear of it', () => closed.length === before + 1)
  const open = await connect('/')
  await gateway.close()
  await open.ended
  await until('the worker to hear of it', () => closed.length === before + 2)
})
