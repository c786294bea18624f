// Goal: what an app asks its server for, such as the address of a client or a longer time-out, is asked of the socket that
// the request came by, though a second one sends plain HTTP over.

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Elysia } from 'elysia'
import { systemClock } from '../lib/clock.ts'
import { silentLogger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import { openListeners } from './standalone-listeners.ts'

const tls = join(import.meta.dir, '../../test/support/tls')

test('the app is served by HTTPS, and plain HTTP is not its server', async () => {
  const app = new Elysia().onRequest(({ request, server }) =>
    Response.json({ port: server?.port, address: server?.requestIP(request)?.address }),
  )
  const certificates = {
    from: 'files',
    certPath: join(tls, 'fleet.test.crt'),
    keyPath: join(tls, 'fleet.test.key'),
  } as const
  const listeners = await openListeners({
    app,
    http: { host: '127.0.0.1', port: 0 },
    https: { host: '127.0.0.1', port: 0, certificates, domains: [] },
    dir: tls,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
  })
  try {
    const answer = await fetch(listeners.url, { tls: { rejectUnauthorized: false } })
    expect(await answer.json()).toEqual({ port: Number(new URL(listeners.url).port), address: '127.0.0.1' })
  } finally {
    await listeners.close()
  }
})
