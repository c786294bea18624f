// Goal: what a node tells of a tenant's use of the store counts every worker, also one that is starting. Method: the
// handler, workers that do not serve, and files as workers write them.

import { afterAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { idleWorkers } from '../../test/support/idle-workers.ts'
import type { RpcContext } from '../ipc/server.ts'
import type { TenantId } from '../lib/brand.ts'
import { SimClock } from '../lib/clock.ts'
import { MemoryObjectStore } from '../lib/object-store/memory.ts'
import { noReading } from '../lib/object-store/metered.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { orderHandlers } from './node-orders.ts'
import { MeterBook, meterPath } from './tenants/meter-book.ts'

const dir = mkdtempSync(join(tmpdir(), 'pf-orders-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('workers that do not serve are counted by what they left', async () => {
  const clock = new SimClock()
  const tenantId = 'aaaaaaaaaaaaaaa' as TenantId
  const startedAtMs = clock.now()
  const book = await MeterBook.open({ store: new MemoryObjectStore(), path: meterPath(dir, 1), clock, log })
  book.add(tenantId, { ...noReading, bytesSent: 9 })
  book.close()
  await clock.advance(5_000)
  const workers = idleWorkers(3)
  const handlers = orderHandlers({
    dir,
    workers,
    clock,
    shifts: { during: (_tenantId, _isJob, work) => work() },
    placements: { get: () => undefined, put: async () => {}, delete: async () => {} },
    link: { placement: () => Promise.reject(new Error('nobody asks')), drain: () => {} },
  })
  const { signal } = new AbortController()
  const context: RpcContext = { role: 'control-plane', peer: 'cp', deadlineMs: 1_000, signal }
  const { sinceMs, reading } = await handlers['tenant.meter']({ type: 'tenant.meter', tenantId }, context)
  expect(reading).toEqual({ ...noReading, bytesSent: 9 })
  expect(sinceMs).toBe(startedAtMs)
})
