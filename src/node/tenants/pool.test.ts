// Goal: one load per tenant whoever asks, no tenant closed while it is used, no timer left when none is open.
// Method: the pool on a simulated clock with tenants that record what is done to them; loads can be held and fail.

import { expect, test } from 'bun:test'
import { clusterSecrets } from '../../ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName, signRouteHeader } from '../../ipc/messages/route-header.ts'
import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import type { Engine } from '../engine/engine.ts'
import { Usage } from '../engine/usage.ts'
import { type OpenTenant, type PoolLease, type PoolOptions, TenantPool } from './pool.ts'
import { WrongOwnerError } from './tenant-errors.ts'

const keys = routeHeaderKeys(clusterSecrets('a-secret-for-the-pool'))
const a = 'aaaaaaaaaaaaaaa' as TenantId
const b = 'bbbbbbbbbbbbbbb' as TenantId
const c = 'ccccccccccccccc' as TenantId

function setUp(options: Partial<PoolOptions> = {}) {
  const clock = new SimClock()
  const opened: TenantId[] = []
  const closed: TenantId[] = []
  const fences = new Map<TenantId, (epoch: Epoch) => void>()
  const reported: Epoch[] = []
  const control = { gate: Promise.resolve() as Promise<void>, failWith: null as Error | null, epoch: 1, memoryBytes: 0 }
  const pool = new TenantPool(
    { tenantsMax: 2, idleMs: 60_000, memoryBytesMax: 1_000, ...options },
    {
      clock,
      log,
      keys,
      memoryBytes: () => control.memoryBytes,
      onFenced: (_, seen) => reported.push(seen),
      async open(id) {
        opened.push(id)
        await control.gate
        if (control.failWith !== null) throw control.failWith
        const tenant: OpenTenant = {
          spec: { id } as TenantSpec,
          placement: { tenantId: id, nodeId: 'n' as NodeId, worker: 0, epoch: control.epoch as Epoch },
          engine: { usage: new Usage() } as Engine,
          lagMs: 0,
          footprintBytes: 1,
          onFenced: (listener) => fences.set(id, listener),
          update: async () => {},
          flush: async () => {},
          close: async () => {
            closed.push(id)
          },
        }
        return tenant
      },
    },
  )
  const request = (tenantId: TenantId, epoch = 1, accept = '*/*') =>
    new Request('http://w/', {
      headers: {
        accept,
        [routeHeaderName]: signRouteHeader(keys, {
          tenantId,
          epoch: epoch as Epoch,
          clientAddress: '192.0.2.1',
          scheme: 'https',
          host: 'h',
          expiresAtMs: clock.now() + 600_000,
        }),
      },
    })
  const lease = async (id: TenantId, epoch = 1, accept?: string) =>
    (await pool.acquire(request(id, epoch, accept))) as PoolLease
  const status = async (id: TenantId, epoch = 1) => ((await pool.acquire(request(id, epoch))) as Response).status
  return { pool, clock, opened, closed, fences, reported, control, request, lease, status }
}

/** In steps, so that a sweep can end and set the next timer. */
async function pass(clock: SimClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5_000) {
    await clock.advance(5_000)
    await Bun.sleep(0)
  }
}

test('concurrent first requests share one load, and the next request is answered in place', async () => {
  const { pool, opened, lease, request } = setUp()
  const leases = await Promise.all([lease(a), lease(a), lease(a)])
  expect(opened).toEqual([a])
  expect(leases.map(({ remoteAddress }) => remoteAddress)).toEqual(['192.0.2.1', '192.0.2.1', '192.0.2.1'])
  expect(pool.acquire(request(a))).not.toBeInstanceOf(Promise)
})

test('a load of one tenant does not wait for that of another', async () => {
  const { control, lease, opened } = setUp()
  const held = Promise.withResolvers<void>()
  control.gate = held.promise
  const first = lease(a)
  await Promise.resolve()
  control.gate = Promise.resolve()
  await lease(b)
  held.resolve()
  await first
  expect(opened).toEqual([a, b])
})

test('sixteen load at once, the others in turn, also those that come while a place changes hands', async () => {
  const { pool, control, opened, lease, status } = setUp({ tenantsMax: 100 })
  const idOf = (n: number) => `tenant${String(n).padStart(9, '0')}` as TenantId
  const held = Promise.withResolvers<void>()
  control.gate = held.promise
  const first = Array.from({ length: 16 }, (_, n) => lease(idOf(n)))
  const next = Promise.withResolvers<void>()
  const others = Array.from({ length: 16 }, (_, n) => lease(idOf(16 + n)))
  await Bun.sleep(0)
  expect(opened.length).toBe(16)
  control.gate = next.promise
  held.resolve()
  const late: Promise<unknown>[] = []
  for (let n = 32; n < 80; n++) {
    late.push(status(idOf(n)))
    await Promise.resolve() // each falls between the end of one load and the begin of the next
  }
  for (const { release } of await Promise.all(first)) release()
  await Bun.sleep(0)
  expect(opened.length).toBe(32)
  const closing = pool.close()
  next.resolve()
  // Who was loading is let go, who waited for a turn is told to come back.
  expect(await Promise.all(late)).toEqual(late.map(() => 503))
  expect(opened.length).toBe(32)
  for (const each of await Promise.allSettled(others)) if (each.status === 'fulfilled') each.value.release?.()
  await closing
})

test('a failed load is 503 for all who waited and is tried again; a wrong owner is 421', async () => {
  const { clock, pool, control, status, lease, opened } = setUp()
  control.failWith = new Error('the store is away')
  expect(await Promise.all([status(a), status(a)])).toEqual([503, 503])
  await clock.advance(300) // it rests after a failure
  control.failWith = new WrongOwnerError('elsewhere')
  expect(await status(a)).toBe(421)
  expect(pool.tenantsOpen).toBe(0)
  control.failWith = null
  await lease(a)
  expect(opened.length).toBeLessThanOrEqual(4)
})

test('epochs: an older route is sent away, a newer one opens the tenant anew', async () => {
  const { control, status, lease, closed, opened } = setUp()
  control.epoch = 2
  ;(await lease(a, 2)).release()
  expect(await status(a, 1)).toBe(421)
  control.epoch = 3
  await lease(a, 3)
  expect([opened, closed]).toEqual([[a, a], [a]])
})

test('a resting tenant closes; one with a request or a stream does not; then no timer is left', async () => {
  const { pool, clock, closed, lease } = setUp()
  const busy = await lease(a)
  const stream = await lease(b, 1, 'text/event-stream')
  await pass(clock, 120_000)
  expect(closed).toEqual([])
  busy.release()
  busy.release() // twice is once
  await pass(clock, 70_000)
  expect(closed).toEqual([a])
  stream.release()
  await pass(clock, 70_000)
  expect([closed, pool.tenantsOpen, clock.pendingTimers]).toEqual([[a, b], 0, 0])
})

test('a full pool closes who rests, streams last, and refuses when all are in use', async () => {
  const { pool, closed, lease, status } = setUp()
  await lease(a, 1, 'text/event-stream')
  ;(await lease(b)).release()
  const third = await lease(c)
  expect(closed).toEqual([b])
  const fourth = await lease(b) // only the one with a stream can go
  expect(closed).toEqual([b, a])
  expect(await status(a)).toBe(503)
  expect(pool.evictions).toBe(2)
  for (const held of [third, fourth]) held.release()
})

test('memory pressure closes tenants that still could rest', async () => {
  const { clock, control, closed, lease } = setUp()
  ;(await lease(a)).release()
  control.memoryBytes = 2_000
  await clock.advance(6_000)
  expect(closed).toEqual([a])
})

test('released: closed, and not opened again under that epoch', async () => {
  const { pool, closed, lease } = setUp()
  ;(await lease(a)).release()
  await pool.release(a, 1 as Epoch)
  await pool.release(b, 4 as Epoch)
  expect(closed).toEqual([a])
  expect([pool.isReleased(a, 1 as Epoch), pool.isReleased(a, 2 as Epoch), pool.isReleased(b, 4 as Epoch)]).toEqual([
    true,
    false,
    true,
  ])
})

test('fenced: reported once, closed, gone', async () => {
  const { pool, fences, reported, closed, lease } = setUp()
  const held = await lease(a)
  fences.get(a)!(7 as Epoch)
  await Promise.resolve()
  held.release()
  await Bun.sleep(0)
  expect([reported, closed, pool.tenantsOpen]).toEqual([[7 as Epoch], [a], 0])
})

test('closing the pool waits for requests, closes all and lets nobody in', async () => {
  const { pool, clock, closed, lease, status } = setUp()
  const held = await lease(a)
  const closing = pool.close()
  expect(await status(a)).toBe(503)
  held.release()
  await clock.advance(50)
  await closing
  expect([closed, clock.pendingTimers]).toEqual([[a], 0])
})

test('work on closed files keeps the tenant from opening meanwhile', async () => {
  const { pool, lease, opened } = setUp()
  const working = Promise.withResolvers<number>()
  const result = pool.whileClosed(a, () => working.promise)
  const waiting = lease(a)
  await Bun.sleep(0)
  expect(opened).toEqual([])
  working.resolve(5)
  expect(await result).toBe(5)
  await waiting
  expect(await pool.whileClosed(a, async () => 1)).toBeNull()
})

test('exclusive work closes the tenant first, and requests wait for its end', async () => {
  const { pool, clock, lease, opened, closed } = setUp()
  const held = await lease(a)
  const gate = Promise.withResolvers<void>()
  let isWorking = false
  const work = pool.exclusively(a, async () => {
    isWorking = true
    await gate.promise
    return 'done'
  })
  const later = lease(a) // comes while the first request is still under way
  await clock.advance(50)
  expect([isWorking, closed.length]).toEqual([false, 0])
  held.release()
  await clock.advance(50)
  await Bun.sleep(0)
  expect(isWorking).toBe(true)
  expect(closed).toEqual([a])
  expect(await pool.whileClosed(a, async () => true)).toBeNull()
  gate.resolve()
  expect(await work).toBe('done')
  ;(await later).release()
  expect(opened).toEqual([a, a])
  await expect(pool.exclusively(b, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  ;(await lease(b)).release()
})

test('who cuts nobody off gives up on a request that takes long, and those who waited go on', async () => {
  const { pool, clock, closed, opened, lease } = setUp()
  const held = await lease(a)
  const refused = pool.exclusively(a, async () => 'done', { waitMsMax: 500 }).catch((error: unknown) => error)
  const later = lease(a)
  for (let passed = 0; passed < 600; passed += 50) {
    await clock.advance(50)
    await Bun.sleep(0)
  }
  expect(await refused).toBeInstanceOf(OverloadedError)
  ;(await later).release()
  expect([closed, opened]).toEqual([[], [a]])
  held.release()
  expect(await pool.exclusively(a, async () => 'done', { waitMsMax: 500 })).toBe('done')
  expect(closed).toEqual([a])
})

test('the busiest tenants since the last call are told, heaviest first', async () => {
  const { pool, lease } = setUp()
  const ask = async (id: TenantId, times: number) => {
    for (let i = 0; i < times; i++) (await lease(id)).release()
  }
  await ask(a, 2)
  await ask(b, 5)
  const first = pool.busiest(8)
  expect(first.map(({ tenantId }) => tenantId)).toEqual([b, a])
  await ask(a, 3)
  const [only, ...others] = pool.busiest(8)
  expect([only!.tenantId, others.length]).toEqual([a, 0])
  expect(only!.usedMs).toBeGreaterThan(first[1]!.usedMs) // it goes on counting
  await ask(a, 1)
  await ask(b, 2)
  expect(pool.busiest(1).map(({ tenantId }) => tenantId)).toEqual([b])
})

test('a tenant that cannot be opened rests between attempts, ever longer, and is tried again', async () => {
  const { pool, clock, opened, control, status, lease } = setUp()
  control.failWith = new Error('damaged')
  expect(await status(a)).toBe(503)
  for (let i = 0; i < 10; i++) expect(await status(a)).toBe(503)
  expect(opened).toEqual([a]) // the others cost nothing
  await clock.advance(260)
  expect(await status(a)).toBe(503)
  await clock.advance(260)
  expect(await status(a)).toBe(503)
  expect(opened).toEqual([a, a]) // twice as long now
  await clock.advance(300)
  control.failWith = null
  const held = await lease(a)
  expect(held.engine).toBeDefined()
  held.release()
  await pool.close()
})
