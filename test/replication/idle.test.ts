// Goal: tenants that were written to and left alone cost nothing: no request to the store, no descriptor, no timer.
// Method: a real node over an S3 server that counts; a sample of what `bun run test:long idle` does with a thousand tenants
// and true minutes. Timers are counted on a simulated clock, where every one of ours would show.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { watchIdleTenants } from '../support/idle-tenants.ts'
import { addCollection, addRecord, TenantBench } from '../support/tenant.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

test('a node with resting tenants asks its store for nothing and holds nothing open', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-idle-'))
  try {
    const outcome = await watchIdleTenants({ dir, tenants: 24, idleMs: 1_000, restMs: 3_000, watchMs: 3_000 })
    expect(outcome.requestsBefore).toBeGreaterThan(24 * 5)
    expect(outcome.requestsWatched).toEqual({})
    expect(outcome).toMatchObject({ tenantsOpen: 0, tenantDescriptors: 0, answered: 24 })
    // Pooled connections to the store may still be open, and are no tenant's.
    expect(outcome.descriptorsAfter).toBeLessThan(outcome.descriptorsBefore + 24)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}, 180_000)

test('closed tenants have no timer, open ones some', async () => {
  const clock = new SimClock()
  await using bench = await TenantBench.start(new MemoryObjectStore({ clock }), clock)
  const tenants = []
  for (let n = 0; n < 5; n++) {
    const tenant = await bench.create()
    await addCollection(tenant, 'notes')
    await addRecord(tenant, 'notes', 'text')
    tenants.push(tenant)
  }
  expect(clock.pendingTimers).toBeGreaterThan(0)
  for (const tenant of tenants) await bench.close(tenant)
  expect(clock.pendingTimers).toBe(0)
})
