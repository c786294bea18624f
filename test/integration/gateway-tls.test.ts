// Goal: the gateway speaks HTTPS with a certificate from files, says so to workers, refuses what it cannot use in one
// line, and ends within its time although event streams are open. Method: a real gateway and a real worker.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Gateway, GatewayConfig } from '../../src/gw/config.ts'
import { openGateway } from '../../src/gw/gateway.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { ConfigError } from '../../src/lib/errors.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { makeRoute, startFakeControlPlane } from '../support/fake-control-plane.ts'
import { clockWithoutTimers } from '../support/patient-clock.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const secrets = clusterSecrets('a secret for the tests of TLS')
const tls = join(import.meta.dir, '..', 'support', 'tls')
const certPath = join(tls, 'fleet.test.crt')
const keyPath = join(tls, 'fleet.test.key')
const controlPlane = startFakeControlPlane(secrets)
let streamEnded = false
const worker = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  development: false,
  fetch(request) {
    if (!request.url.endsWith('/stream')) return Response.json(Object.fromEntries(request.headers))
    request.signal.addEventListener('abort', () => {
      streamEnded = true
    })
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  },
})
const config = (changes: Partial<GatewayConfig> = {}): GatewayConfig => ({
  http: { host: '127.0.0.1', port: 0 },
  https: { host: '127.0.0.1', port: 0, certPath, keyPath },
  controlPlane: [controlPlane.address],
  baseDomain: 'fleet.test',
  secrets,
  ...changes,
})
/** Nothing of the gateway may need the drain's deadline (`drainMs`) to end. */
const clock = clockWithoutTimers(5_000)
const open = (changes?: Partial<GatewayConfig>) =>
  openGateway(config(changes), { clock, rng: systemRng, log: silentLogger, metrics: new Metrics() })

let gateway: Gateway
beforeAll(async () => {
  controlPlane.replies.set('acme', { found: 'route', route: makeRoute('acme', `http://127.0.0.1:${worker.port}`) })
  gateway = await open()
})
afterAll(async () => {
  await worker.stop(true)
  await controlPlane.close()
})

const get = (path: string) =>
  fetch(`${gateway.httpsUrl}${path}`, {
    headers: { host: 'acme.fleet.test' },
    tls: { ca: readFileSync(certPath, 'utf8'), serverName: 'acme.fleet.test' },
  } as RequestInit)

test('HTTPS is answered, and the worker hears of it', async () => {
  await until('the tenant', async () => (await get('/')).status === 200)
  expect(await (await get('/')).json()).toMatchObject({ 'x-forwarded-proto': 'https', host: 'acme.fleet.test' })
})

test('what cannot be used is refused in one line that names the flag', async () => {
  const failure = (changes: Partial<GatewayConfig>) => open(changes).catch((error: unknown) => error as Error)
  const taken = { host: '127.0.0.1', port: Number(new URL(gateway.httpUrl).port) }
  const errors = await Promise.all([
    failure({ http: taken }),
    failure({ https: { host: '127.0.0.1', port: 0, certPath: join(tls, 'missing'), keyPath } }),
    failure({ https: { host: '127.0.0.1', port: 0, certPath: keyPath, keyPath: certPath } }),
  ])
  for (const error of errors) expect(error).toBeInstanceOf(ConfigError)
  const messages = errors.map((error) => (error as Error).message)
  expect(messages[0]).toBe(`--http: cannot listen on 127.0.0.1:${taken.port}: the address is in use`)
  expect(messages[1]).toStartWith(`--tls-cert: cannot read ${join(tls, 'missing')}`)
  expect(messages[2]).toStartWith('--https-addr: cannot listen on 127.0.0.1:0')
})

test('closing ends event streams and what listens', async () => {
  const response = await get('/stream')
  const reader = response.body!.getReader()
  await reader.read()
  await gateway.close()
  expect((await reader.read()).done).toBe(true)
  await until('the worker to hear of the end', () => streamEnded)
  await expect(fetch(gateway.httpUrl)).rejects.toThrow()
}, 180_000)
