// Goal: an archived tenant is a few cheap objects, opens with everything that it had, and its fence still holds; what
// retention promises, or somebody reads, is left alone. Method: real engines on a store in memory with a clock of its own.

import { expect, test } from 'bun:test'
import { LaterClock } from '../../../test/support/later-clock.ts'
import { addCollection, addRecord, TenantBench, titles } from '../../../test/support/tenant.ts'
import type { Txid } from '../../lib/brand.ts'
import { systemClock } from '../../lib/clock.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { StaleEpochError } from '../../replicate/errors.ts'
import { findTail } from '../../replicate/history.ts'
import { getSlot } from '../../replicate/ltx-store.ts'
import { release, reserve } from '../../replicate/reservation.ts'
import { sealHistory } from '../../replicate/seal.ts'
import { locate } from './cut.ts'

const dayMs = 86_400_000

async function usedTenant() {
  const store = new MemoryObjectStore()
  const clock = new LaterClock()
  const bench = await TenantBench.start(store, clock)
  const tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  for (let i = 0; i < 5; i++) {
    await addRecord(tenant, 'notes', `note ${i}`, [`${i}`.repeat(200_000)])
    await tenant.flush()
  }
  await bench.close(tenant)
  const { id } = tenant.spec
  const classes = async () => {
    const page = await store.list({ prefix: `pf/t/${id}/` })
    return new Set(page.objects.filter(({ sizeBytes }) => sizeBytes >= 131_072).map((each) => each.storageClass))
  }
  const levels = () => store.keys.filter((key) => key.includes('/data.db/0')).map((key) => key.split('/').at(-2)!)
  return { bench, store, clock, id, classes, levels }
}

test('infrequent: larger objects change their class, and nothing else', async () => {
  const { bench, store, id, classes } = await usedTenant()
  await using _ = bench
  const manifestKey = `pf/t/${id}/manifest.json`
  await store.put(
    manifestKey,
    new TextEncoder().encode(new TextDecoder().decode(await store.get(manifestKey)).padEnd(200_000)),
  )
  const before = store.keys
  const report = await bench.job(id, { type: 'archive', stage: 'infrequent', storageClass: 'STANDARD_IA' })
  const { objects } = await store.list({ prefix: manifestKey })
  expect(objects).toMatchObject([{ sizeBytes: 200_000 }])
  expect(objects[0]!.storageClass).not.toBe('STANDARD_IA') // its owner may overwrite it meanwhile
  await store.delete([manifestKey])
  before.splice(before.indexOf(manifestKey), 1)
  expect(report.objectsMoved).toBeGreaterThanOrEqual(5)
  expect(report.filesDeleted).toBe(0)
  expect(store.keys).toEqual(before)
  expect(await classes()).toEqual(new Set(['STANDARD_IA']))
  const again = await bench.job(id, { type: 'archive', stage: 'infrequent', storageClass: 'STANDARD_IA' })
  expect(again.objectsMoved).toBe(0)
  const tenant = await bench.open(id)
  expect(titles(tenant, 'notes').length).toBe(5)
})

test('archived: one image, seals and the newest slot; it opens, goes on, and no older owner comes back', async () => {
  const { bench, store, clock, id, classes, levels } = await usedTenant()
  await using _ = bench
  const order = { type: 'archive', stage: 'archived', storageClass: 'GLACIER_IR' } as const
  const at = locate({ store, objectPrefix: 'pf', tenantId: id }, 'data.db')
  const tail = (await findTail(at)).last
  const slots = levels().length

  // Within the time that retention promises, everything stays.
  const early = await bench.job(id, order)
  expect(early.filesDeleted).toBe(0)
  const withImage = levels().length
  expect(withImage).toBeGreaterThanOrEqual(slots)
  expect(await classes()).toEqual(new Set(['GLACIER_IR']))

  clock.laterMs = 40 * dayMs
  // While a restore reads, nothing goes.
  await reserve(at, { name: 'a-restore', untilMs: clock.now() + dayMs, points: [2 as Txid], files: [] })
  await bench.job(id, order)
  expect(levels().length).toBe(withImage)
  await release(at, 'a-restore')
  const report = await bench.job(id, order)
  expect(report.filesDeleted).toBeGreaterThan(3)
  const left = levels()
  expect(left.filter((level) => level === '0009').length).toBe(1)
  expect(left.filter((level) => level === '0000').length).toBeLessThan(slots)
  expect(await getSlot(at, tail.header.maxTxid)).not.toBeNull()
  expect((await findTail(at)).last.header.maxTxid).toBe(tail.header.maxTxid)
  const again = await bench.job(id, order)
  expect(again).toEqual({ objectsMoved: 0, bytesMoved: 0, filesDeleted: 0 })

  // An owner of before, that wakes up now, meets what is left.
  await bench.deps.files.remove(id)
  const tenant = await bench.open(id)
  expect(titles(tenant, 'notes').length).toBe(5)
  await addRecord(tenant, 'notes', 'later', ['x'])
  await tenant.flush()
  const writer = { epoch: 1, incarnation: 1 }
  await expect(sealHistory(at, tail, { writer, clock: systemClock })).rejects.toBeInstanceOf(StaleEpochError)
  await bench.close(tenant)
  await bench.deps.files.remove(id)
  const reopened = await bench.open(id)
  expect(titles(reopened, 'notes').length).toBe(6)
})

test('an image that is damaged takes the place of nothing', async () => {
  const { bench, store, clock, id, levels } = await usedTenant()
  await using _ = bench
  clock.laterMs = 100 * dayMs
  const image = store.keys.find((key) => key.includes('/data.db/0009/'))!
  const whole = await store.get(image)
  await store.put(image, whole.subarray(0, whole.length >> 1))
  const before = levels()
  const order = { type: 'archive', stage: 'archived', storageClass: null } as const
  await expect(bench.job(id, order)).rejects.toThrow(image)
  expect(levels()).toEqual(before)
  await bench.deps.files.remove(id)
  const tenant = await bench.open(id)
  expect(titles(tenant, 'notes').length).toBe(5)
})

test('interrupted anywhere, it is repeated; a store without classes keeps one copy', async () => {
  const { bench, store, clock, id, levels } = await usedTenant()
  await using _ = bench
  clock.laterMs = 100 * dayMs
  const order = { type: 'archive', stage: 'archived', storageClass: null } as const
  let failures = 0
  for (let failAt = 1; ; failAt++) {
    let requests = 0
    store.fault = () => (++requests === failAt ? { type: 'error', status: 500 } : null)
    const outcome = await bench.job(id, order).catch(() => null)
    store.fault = null
    if (outcome !== null && requests < failAt) break
    failures++
    if (failures % 10 === 0) {
      const tenant = await bench.open(id) // it comes back half-way
      expect(titles(tenant, 'notes').length).toBe(5)
      await bench.close(tenant)
      await bench.deps.files.remove(id)
    }
    if (failAt > 200) throw new Error('it never gets through')
  }
  expect(failures).toBeGreaterThan(10)
  clock.laterMs += 40 * dayMs // the last return is a restore point too, for a while
  await bench.job(id, order)
  expect(levels().filter((level) => level === '0009').length).toBe(1)
  const tenant = await bench.open(id)
  expect(titles(tenant, 'notes').length).toBe(5)
})
