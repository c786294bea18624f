// Goal: going back restores rows and files of one moment, loses neither what is needed now nor what undoing needs, and a
// fork shares nothing with its source. Method: real engines on a store in memory; jobs run in place.

import { expect, test } from 'bun:test'
import { LaterClock } from '../../../test/support/later-clock.ts'
import { addCollection, addRecord, specOfTest, TenantBench, titles } from '../../../test/support/tenant.ts'
import { newTenantId } from '../../lib/id.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { systemRng } from '../../lib/rng.ts'
import { toTexts } from '../engine/fields/cast.ts'
import { sweepDeletedFiles } from '../engine/files/deleted-files.ts'
import { NoSuchPointError } from './cut.ts'
import { SourceFileGoneError } from './fork.ts'
import type { OpenTenant } from './pool.ts'

const deletedKeys = (tenant: OpenTenant) =>
  tenant.engine.data.all<{ key: string }>('SELECT key FROM _pfDeletedFiles ORDER BY key').map(({ key }) => key)

/** Every file that a record refers to can be read. */
async function expectFiles(tenant: OpenTenant, collection: string): Promise<number> {
  const { engine } = tenant
  const { id: collectionId } = engine.collections.require(collection).data
  let count = 0
  for (const { id, photos } of engine.data.all<{ id: string; photos: string }>(`SELECT id, photos FROM ${collection}`))
    for (const name of toTexts(photos)) {
      expect(await engine.files.open(`${collectionId}/${id}/${name}`)).not.toBeNull()
      count++
    }
  return count
}

/** One clock for tenants and their store, so that moments differ without waiting for them. */
async function setUp() {
  const clock = new LaterClock()
  const store = new MemoryObjectStore({ clock })
  return { clock, store, bench: await TenantBench.start(store, clock) }
}

async function moment(tenant: OpenTenant, clock: LaterClock): Promise<number> {
  await tenant.flush()
  return clock.tick()
}

async function goBack(bench: TenantBench, tenant: OpenTenant, atMs: number): Promise<OpenTenant> {
  const { id } = tenant.spec
  const cut = await bench.job(id, { type: 'cut', wish: { type: 'time', atMs } })
  await bench.close(tenant)
  await bench.job(id, { type: 'restore', placement: bench.placement(id), cut })
  return bench.open(id)
}

test('back, forth, and on: rows and files of one moment', async () => {
  const { bench, clock } = await setUp()
  await using _ = bench
  let tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  const first = await addRecord(tenant, 'notes', 'first', ['one', 'two'])
  const before = await moment(tenant, clock)

  await tenant.engine.records.delete(first)
  await addRecord(tenant, 'notes', 'second', ['three'])
  await addCollection(tenant, 'later')
  await addRecord(tenant, 'later', 'x')
  const after = await moment(tenant, clock)
  expect(deletedKeys(tenant).length).toBe(2)

  const preview = await bench.job(tenant.spec.id, { type: 'preview', wish: { type: 'time', atMs: before } })
  expect(
    preview.collections.map(({ name, fate, added, changed, removed }) => [name, fate, added, changed, removed]),
  ).toEqual([
    ['later', 'removed', 0, 0, 1],
    ['notes', 'kept', 1, 0, 1],
  ])
  expect(preview.hooks).toEqual({ added: 0, changed: 0, removed: 0 })
  expect(preview.isSettingsChanged).toBe(false)

  tenant = await goBack(bench, tenant, before)
  expect(titles(tenant, 'notes')).toEqual(['first'])
  expect(() => titles(tenant, 'later')).toThrow()
  expect(await expectFiles(tenant, 'notes')).toBe(2)
  // The file of the state that was left is released, and none that a record refers to.
  expect(deletedKeys(tenant).length).toBe(1)
  expect(await sweepDeletedFiles(tenant.engine.data, tenant.engine.files, 0)).toEqual({ deleted: 0, isDone: true })

  await addRecord(tenant, 'notes', 'third', ['four'])
  await moment(tenant, clock)
  tenant = await goBack(bench, tenant, after) // undoing the undo
  expect(titles(tenant, 'notes')).toEqual(['second'])
  expect(titles(tenant, 'later')).toEqual(['x'])
  expect(await expectFiles(tenant, 'notes')).toBe(1)
  // Of `first` and of `third`.
  expect(deletedKeys(tenant).length).toBe(3)
  const swept = await sweepDeletedFiles(tenant.engine.data, tenant.engine.files, clock.now() + 1)
  expect(swept.deleted).toBe(3)
  expect(await expectFiles(tenant, 'notes')).toBe(1)
})

test('points outside the history are refused with what there is', async () => {
  const { bench, clock } = await setUp()
  await using _ = bench
  const tenant = await bench.create()
  await tenant.flush()
  const { id } = tenant.spec
  const ask = (wish: Parameters<typeof bench.job<'cut'>>[1]['wish']) => bench.job(id, { type: 'cut', wish })
  await expect(ask({ type: 'time', atMs: 1_000 })).rejects.toThrow(/the oldest point is/)
  await expect(ask({ type: 'time', atMs: clock.now() + 60_000 })).rejects.toBeInstanceOf(NoSuchPointError)
  await expect(ask({ type: 'txid', txid: 10_000 as never })).rejects.toBeInstanceOf(NoSuchPointError)
  const latest = await ask({ type: 'latest' })
  expect(await ask({ type: 'txid', txid: latest.data })).toMatchObject({ data: latest.data })
  const points = await bench.job(id, { type: 'points', latestMax: 5 })
  expect(points.latest[0]?.txid).toBe(latest.data)
  expect(points.ranges.at(-1)?.toTxid).toBe(latest.data)
})

test('a restore that was interrupted between its slots is repeated', async () => {
  const { bench, store, clock } = await setUp()
  await using _ = bench
  let tenant = await bench.create()
  await addCollection(tenant, 'notes')
  await addRecord(tenant, 'notes', 'first')
  const before = await moment(tenant, clock)
  await addRecord(tenant, 'notes', 'second')
  await tenant.flush()
  const { id } = tenant.spec
  const cut = await bench.job(id, { type: 'cut', wish: { type: 'time', atMs: before } })
  await bench.close(tenant)
  const placement = bench.placement(id)
  // One request after another fails. Each attempt makes the history longer, so it is attempts that are counted.
  let failures = 0
  for (let failAt = 1; failAt <= 30; failAt++) {
    let requests = 0
    store.fault = () => (++requests === failAt ? { type: 'error', status: 500 } : null)
    const outcome = await bench.job(id, { type: 'restore', placement, cut }).catch(String)
    store.fault = null
    if (typeof outcome === 'string') {
      expect(outcome).toContain('500')
      failures++
    }
  }
  expect(failures).toBeGreaterThan(10)
  await bench.job(id, { type: 'restore', placement, cut })
  tenant = await bench.open(id)
  expect(titles(tenant, 'notes')).toEqual(['first'])
  tenant.engine.data.quickCheck()
})

test('a fork has the rows and files of a moment, its own secrets, and needs its source no more', async () => {
  const { bench, store, clock } = await setUp()
  await using _ = bench
  const source = await bench.create()
  await addCollection(source, 'notes', true)
  const kept = await addRecord(source, 'notes', 'first', ['one', 'two'])
  const atMs = await moment(source, clock)
  await addRecord(source, 'notes', 'second', ['three'])
  await source.engine.records.delete(kept)
  await source.flush()

  const id = newTenantId(systemRng)
  const cut = await bench.job(source.spec.id, { type: 'cut', wish: { type: 'time', atMs } })
  const order = {
    type: 'fork',
    tenant: specOfTest(id),
    placement: bench.placement(id),
    source: source.spec.id,
    cut,
  } as const
  let copies = 0
  store.fault = (operation) => (operation === 'copy' && ++copies === 2 ? { type: 'error', status: 500 } : null)
  await expect(bench.job(id, order)).rejects.toThrow('500')
  store.fault = null
  const report = await bench.job(id, order)
  expect(report).toMatchObject({ filesCount: 2, filesBytes: 6, notes: [] })
  expect(store.requestCountOf('copy')).toBe(3) // what was there was not copied again
  await bench.job(id, order) // a lost reply

  // The source goes away whole.
  const secretsOf = (tenant: OpenTenant) =>
    tenant.engine.data
      .all<{ options: string }>("SELECT options FROM _collections WHERE type = 'auth' ORDER BY name")
      .flatMap(({ options }) => [...options.matchAll(/"secret":"(\w+)"/g)].map(([, secret]) => secret))
  const sourceSecrets = secretsOf(source)
  expect(sourceSecrets.length).toBeGreaterThan(5)
  await bench.close(source)
  await store.delete(store.keys.filter((key) => key.includes(source.spec.id)))
  const fork = await bench.open(id)
  expect(titles(fork, 'notes')).toEqual(['first'])
  expect(await expectFiles(fork, 'notes')).toBe(2)
  const forkSecrets = secretsOf(fork)
  expect(forkSecrets.length).toBe(sourceSecrets.length)
  expect(forkSecrets.filter((secret) => sourceSecrets.includes(secret))).toEqual([])
  await addRecord(fork, 'notes', 'own', ['mine'])
  await fork.flush()
})

test('a fork of a moment whose files are gone says so', async () => {
  const { bench, store } = await setUp()
  await using _ = bench
  const source = await bench.create()
  await addCollection(source, 'notes', true)
  await addRecord(source, 'notes', 'first', ['one'])
  await source.flush()
  const cut = await bench.job(source.spec.id, { type: 'cut', wish: { type: 'latest' } })
  await store.delete(store.keys.filter((key) => key.includes('/files/')))
  const id = newTenantId(systemRng)
  const order = {
    type: 'fork',
    tenant: specOfTest(id),
    placement: bench.placement(id),
    source: source.spec.id,
    cut,
  } as const
  await expect(bench.job(id, order)).rejects.toBeInstanceOf(SourceFileGoneError)
  expect(store.keys.filter((key) => key.includes(id))).toEqual([])
})

test('what a superuser broke in its own tables is mended by going back, and nobody goes back to it', async () => {
  const { bench, clock } = await setUp()
  await using _ = bench
  let tenant = await bench.create()
  await addCollection(tenant, 'notes')
  await addRecord(tenant, 'notes', 'first')
  await moment(tenant, clock)
  const { id } = tenant.spec
  const latest = () => bench.job(id, { type: 'cut', wish: { type: 'latest' } })
  const good = await latest()
  await tenant.engine.data.transaction(() => {
    tenant.engine.data.run("UPDATE _collections SET fields = 'no json' WHERE name = 'notes'")
  })
  await tenant.flush()
  const broken = await latest()
  const preview = bench.job(id, { type: 'preview', wish: { type: 'txid', txid: good.data } })
  await expect(preview).rejects.toMatchObject({ code: 'corrupt_database' })
  await bench.close(tenant)
  const restore = (cut: typeof good) => bench.job(id, { type: 'restore', placement: bench.placement(id), cut })
  await expect(restore(broken)).rejects.toMatchObject({ code: 'corrupt_database' })
  expect((await latest()).data).toBe(broken.data) // nothing was written
  await restore(good)
  tenant = await bench.open(id)
  expect(titles(tenant, 'notes')).toEqual(['first'])
})
