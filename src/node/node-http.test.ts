// Goal: operators see whether a node is ready, and two nodes never share an address unseen. Method: real sockets, a node
// whose worker has not started.

import { afterEach, expect, test } from 'bun:test'
import { idleWorkers } from '../../test/support/idle-workers.ts'
import { ConfigError } from '../lib/errors.ts'
import { Metrics } from '../lib/obs/metrics.ts'
import { serveNodeHttp } from './node-http.ts'
import { totalLoad } from './worker-protocol.ts'

const opened: { stop(isNow: boolean): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((server) => server.stop(true)))
})

function serve(port: number, link: { readonly isDraining: boolean; readonly isRegistered: boolean }) {
  const workers = idleWorkers(1)
  const server = serveNodeHttp(
    { host: '127.0.0.1', port },
    {
      workers,
      link,
      shifts: { counts: { busy: 3, ordinary: 2, failed: 1 } },
      meter: { totals: () => totalLoad([]) },
      standbyLogs: { heldBytes: 0, refusals: 0 },
      metrics: new Metrics(),
    },
  )
  opened.push(server)
  return server
}

const readiness = async (link: Parameters<typeof serve>[1]) => {
  const response = await fetch(new URL('/health/ready', serve(0, link).url))
  return { status: response.status, message: ((await response.json()) as { message: string }).message }
}

test('why it is not ready, and what it counted', async () => {
  const ready = { isDraining: false, isRegistered: true }
  expect(await readiness({ ...ready, isDraining: true })).toEqual({ status: 503, message: 'The node is draining.' })
  expect(await readiness({ ...ready, isRegistered: false })).toMatchObject({ status: 503 })
  expect(await readiness(ready)).toEqual({ status: 503, message: 'A worker is starting.' })
  const metrics = await (await fetch(new URL('/metrics', serve(0, ready).url))).text()
  expect(metrics).toContain('node_busy_shifts_total{to="ordinary"} 2')
  expect(metrics).toContain('node_workers_ready 0')
})

test('an address that is taken is an error that names it', () => {
  const link = { isDraining: false, isRegistered: true }
  const { port } = serve(0, link)
  expect(() => serve(port!, link)).toThrow(ConfigError)
  expect(() => serve(port!, link)).toThrow(`127.0.0.1:${port}`)
})
