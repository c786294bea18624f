// Goal: what a tenant asked of the store is counted once, by kind, across restarts; a damaged file loses the count and
// nothing else.

import { afterAll, expect, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addCollection, addRecord, TenantBench } from '../../../test/support/tenant.ts'
import type { TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { noReading } from '../../lib/object-store/metered.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { MeterBook, storedMeter } from './meter-book.ts'

const dir = mkdtempSync(join(tmpdir(), 'pf-meter-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const [a, b] = ['aaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbb'] as TenantId[]

test('counted by tenant and kind, kept across restarts', async () => {
  const clock = new SimClock()
  const path = join(dir, 'meter.json')
  const deps = { store: new MemoryObjectStore(), path, clock, log }
  const book = await MeterBook.open(deps)
  await book.storeOf(a!).put('k', new Uint8Array(10))
  await book.storeOf(a!).get('k')
  await book.storeOf(b!).list({ prefix: '' })
  book.add(b!, { ...noReading, bytesReceived: 5 })
  expect(book.readingOf(a!)).toMatchObject({ calls: { put: 1, get: 1, list: 0 }, bytesSent: 10, bytesReceived: 10 })
  expect(book.readingOf(b!)).toMatchObject({ calls: { put: 0, list: 1 }, bytesReceived: 5 })
  expect(book.total).toMatchObject({ calls: { put: 1, get: 1, list: 1 }, bytesSent: 10, bytesReceived: 15 })
  await clock.advance(120_000) // a crash from here on loses nothing of this
  const again = await MeterBook.open(deps)
  expect(again.sinceMs).toBe(book.sinceMs)
  expect(again.readingOf(a!)).toEqual(book.readingOf(a!))
  expect(again.total).toEqual(noReading)
  await again.storeOf(a!).head('none')
  again.close()
  const later = await MeterBook.open(deps)
  expect(later.readingOf(a!)).toMatchObject({ calls: { put: 1, head: 1 } })
  const next = { sinceMs: later.sinceMs, reading: later.readingOf(a!) }
  expect(await storedMeter(path, a!, 7)).toEqual(next)
  expect(await storedMeter(path, 'ccccccccccccccc' as TenantId, 7)).toEqual({ ...next, reading: noReading })
  expect(await storedMeter(join(dir, 'none.json'), a!, 7)).toEqual({ sinceMs: 7, reading: noReading })
  expect(clock.pendingTimers).toBe(0)

  const text = readFileSync(path, 'utf8')
  for (const damaged of [
    '',
    text.slice(0, 40),
    '[]',
    '{"version":9}',
    '{"version":1,"sinceMs":1,"tenants":{"x":[1]}}',
  ]) {
    writeFileSync(path, damaged)
    expect((await MeterBook.open(deps)).readingOf(a!)).toEqual(noReading)
    expect((await storedMeter(path, a!, 7)).reading).toEqual(noReading)
  }
})

test('what lies in the store, by what it is and by class', async () => {
  const store = new MemoryObjectStore()
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  await addRecord(tenant, 'notes', 'first', ['12345', '123'])
  await tenant.flush()
  const moved = store.keys.find((key) => key.includes('/files/'))!
  await store.copy(moved, moved, { storageClass: 'GLACIER_IR' })
  const { stored } = await bench.job(tenant.spec.id, { type: 'usage' })
  const files = stored.filter(({ kind }) => kind === 'files')
  expect(files.map(({ storageClass, objects }) => [storageClass, objects])).toEqual([
    ['GLACIER_IR', 1],
    ['STANDARD', 1],
  ])
  expect(files.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(8)
  const all = stored.reduce((sum, { objects }) => sum + objects, 0)
  expect(all).toBe(store.keys.filter((key) => key.startsWith(`pf/t/${tenant.spec.id}/`)).length)
})
