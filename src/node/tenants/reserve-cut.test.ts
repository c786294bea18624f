// Goal: what a job reads stays while it reads it, and no longer; a job that fails or is called off lets go too.

import { expect, test } from 'bun:test'
import { addCollection, addRecord, TenantBench } from '../../../test/support/tenant.ts'
import type { Txid } from '../../lib/brand.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { readReservations } from '../../replicate/reservation.ts'
import { locate } from './cut.ts'
import { whileReserved } from './reserve-cut.ts'

test('reserved while it is read, released after success, failure and abort', async () => {
  const store = new MemoryObjectStore()
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  const histories = { ...bench.deps, tenantId: tenant.spec.id }
  const stop = new AbortController()
  const context = { clock: bench.clock, rng: bench.deps.rng, signal: stop.signal }
  const points = { 'data.db': 1 as Txid, 'hooks.db': 1 as Txid }
  const held = async () => (await readReservations(locate(histories, 'data.db'), bench.clock.now()))!.points
  await whileReserved(histories, points, context, async () => expect(await held()).toEqual([1 as Txid]))
  expect(await held()).toEqual([])
  const failing = whileReserved(histories, points, context, async () => {
    stop.abort()
    throw new Error('called off')
  })
  await expect(failing).rejects.toThrow('called off')
  expect(store.keys.filter((key) => key.includes('/keep/'))).toEqual([])
})

test('jobs reserve what they read', async () => {
  const store = new MemoryObjectStore()
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  await addCollection(tenant, 'notes')
  await addRecord(tenant, 'notes', 'one')
  await tenant.flush()
  const puts: string[] = []
  store.fault = (operation, key) => {
    if (operation === 'put' && key.includes('/keep/')) puts.push(key.replace(/.*\/(\w+\.db)\/.*/, '$1'))
    return null
  }
  await bench.job(tenant.spec.id, { type: 'preview', wish: { type: 'latest' } })
  expect(puts.sort()).toEqual(['auxiliary.db', 'data.db', 'hooks.db'])
  expect(store.keys.filter((key) => key.includes('/keep/'))).toEqual([])
})
