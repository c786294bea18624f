// Goal: a copy made while another node owns the tenant is its databases, costs little when repeated, is what the new owner
// opens, and never touches what a node may hold alone. Method: two nodes' folders over one store in memory.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { specOfTest, TenantBench } from '../../../test/support/tenant.ts'
import { until } from '../../../test/support/wait.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import { systemClock } from '../../lib/clock.ts'
import type { FreeBytes } from '../../lib/free-bytes.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { MeteredObjectStore } from '../../lib/object-store/metered.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { seededRng } from '../../lib/rng.ts'
import { openTenant } from './open-tenant.ts'
import type { OpenTenant } from './pool.ts'
import { warmCopy } from './warm-copy.ts'

setDefaultTimeout(180_000)

function copyTo(
  target: TenantBench,
  tenantId: TenantId,
  { store = target.store, ...room }: { readonly store?: ObjectStore; readonly freeBytesOf?: FreeBytes } = {},
) {
  const { files } = target.deps
  const { signal } = new AbortController()
  const deps = { files, clock: systemClock, log: silentLogger, signal, report: () => {}, ...room }
  return warmCopy({ store, objectPrefix: 'pf', tenantId }, deps)
}

async function fill(tenant: OpenTenant, bytes: number): Promise<void> {
  await tenant.engine.data.transaction(() => {
    tenant.engine.data.exec('CREATE TABLE IF NOT EXISTS filler (v BLOB)')
    tenant.engine.data.run('INSERT INTO filler VALUES (?)', [seededRng(bytes).bytes(bytes)])
  })
  await tenant.flush()
}

const fillers = (tenant: OpenTenant) =>
  tenant.engine.data.get<{ count: number }>('SELECT count(*) AS count FROM filler')!.count

test('copied while it is served, again for what came since, then opened with hardly a byte from the store', async () => {
  const store = new MemoryObjectStore()
  await using source = await TenantBench.start(store)
  await using target = await TenantBench.start(store)
  const tenant = await source.create()
  const { id } = tenant.spec
  await fill(tenant, 3_000_000)
  // Growing so much makes an image, which is then the way to the newest state.
  await until('the image', () => store.keys.some((key) => key.includes('data.db/0009/')))
  expect((await copyTo(target, id)).databases.map(({ name }) => name)).toEqual(['data.db'])
  expect(target.deps.files.isClean(id)).toBe(true)
  await fill(tenant, 10_000)
  const metered = new MeteredObjectStore(store)
  await copyTo(target, id, { store: metered })
  expect(metered.reading.bytesReceived).toBeLessThan(200_000)
  await fill(tenant, 10_001)
  await source.close(tenant)
  const opening = new MeteredObjectStore(store)
  const placement = { ...target.placement(id), epoch: 50 as Epoch }
  const moved = await openTenant(specOfTest(id), placement, { ...target.deps, store: opening })
  expect(fillers(moved)).toBe(3)
  expect(opening.reading.bytesReceived).toBeLessThan(400_000)
  await moved.close()
})

test('small tenants are not copied, and files that may hold more than the store are not touched', async () => {
  const store = new MemoryObjectStore()
  await using source = await TenantBench.start(store)
  await using target = await TenantBench.start(store)
  const tenant = await source.create()
  const { id } = tenant.spec
  expect(await copyTo(target, id)).toEqual({ databases: [] })
  expect(await target.deps.files.list()).toEqual([])
  await fill(tenant, 3_000_000)
  await target.deps.files.markDirty(id)
  const path = target.deps.files.path(id, 'data.db')
  writeFileSync(path, 'commits of an earlier time')
  expect(await copyTo(target, id)).toEqual({ databases: [] })
  expect(await Bun.file(path).text()).toBe('commits of an earlier time')
})

test('where there is no room nothing is written; what a copy has here already counts as room', async () => {
  const store = new MemoryObjectStore()
  await using source = await TenantBench.start(store)
  await using target = await TenantBench.start(store)
  const tenant = await source.create()
  const { id } = tenant.spec
  await fill(tenant, 3_000_000)
  const copy = () => copyTo(target, id, { freeBytesOf: async () => 1 + (512 << 20) })
  const refused = await copy().catch((error) => error)
  expect(refused).toMatchObject({ code: 'ENOSPC' })
  expect(await Bun.file(target.deps.files.path(id, 'data.db')).exists()).toBe(false)
  await copyTo(target, id)
  expect((await copy()).databases.map(({ name }) => name)).toEqual(['data.db'])
  await source.close(tenant)
})
