// Goal: a copy is as new as its owner's history after each hint, costs nothing between them, is known again after a restart,
// goes when disk is short, never touches what another may hold alone, and opens without a restore. Method: an owner and a
// second node's folder on one store in memory.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LaterClock } from '../../../test/support/later-clock.ts'
import { addCollection, addRecord, specOfTest, TenantBench } from '../../../test/support/tenant.ts'
import { until } from '../../../test/support/wait.ts'
import type { TenantId } from '../../lib/brand.ts'
import { systemClock as clock } from '../../lib/clock.ts'
import { MeteredObjectStore } from '../../lib/object-store/metered.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { openTenant } from './open-tenant.ts'
import type { OpenTenant } from './pool.ts'
import { databaseNames, TenantFiles } from './tenant-files.ts'
import { WarmCopies, type WarmCopiesDeps } from './warm-copies.ts'

let bench: TenantBench
let owner: OpenTenant
let dir: string
let files: TenantFiles
let copies: WarmCopies
let freeBytes: number
let copiesMax: number
let copiesClock: LaterClock
/** As the copies see the store. */
let store: MeteredObjectStore
/** Tenants that are worked on, now and at most at once. */
let working: { now: number; max: number }
/** Tenants that are open on the second node. */
let open: Set<TenantId>

const depsOf = (): WarmCopiesDeps => ({
  index: 0,
  workers: 1,
  files,
  storeOf: () => store,
  objectPrefix: 'pf',
  clock: copiesClock,
  copiesMax,
  log,
  pool: {
    async whileClosed(id, work) {
      if (open.has(id)) return null
      working.max = Math.max(working.max, ++working.now)
      return work().finally(() => working.now--)
    },
  },
  freeBytesOf: async () => freeBytes,
})

beforeEach(async () => {
  bench = await TenantBench.start()
  owner = await bench.create()
  await addCollection(owner, 'notes')
  dir = mkdtempSync(join(tmpdir(), 'pf-warm-'))
  files = new TenantFiles(dir, clock)
  freeBytes = 100 * 2 ** 30
  copiesMax = 100
  copiesClock = new LaterClock()
  store = new MeteredObjectStore(bench.store)
  working = { now: 0, max: 0 }
  open = new Set()
  copies = await WarmCopies.open(depsOf())
})
afterEach(async () => {
  await copies.close()
  await bench[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

async function hinted(tenant: OpenTenant = owner): Promise<void> {
  await tenant.flush()
  copies.hint(tenant.spec.id, databaseNames)
  await until('the copy to be up to date', () => copies.totals.lagMsMax === 0)
}

/** Takes the tenant over on the second node. */
async function takeOver() {
  const { id } = owner.spec
  const origins: boolean[] = []
  await copies.forget(id)
  const deps = { ...bench.deps, files, onOpened: (_: number, isRestored: boolean) => void origins.push(isRestored) }
  const successor = await openTenant(specOfTest(id), bench.placement(id), deps)
  const found = successor.engine.data.values('SELECT title FROM notes ORDER BY title').map(([title]) => title)
  await successor.close()
  return { found, isRestored: origins[0] }
}

test('it follows with each hint, and a takeover restores nothing and lacks nothing', async () => {
  await addRecord(owner, 'notes', 'a')
  await hinted()
  expect(copies.totals).toMatchObject({ copies: 1 })
  expect(copies.totals.bytes).toBeGreaterThan(0)
  for (const title of ['b', 'c']) {
    await addRecord(owner, 'notes', title)
    await hinted()
  }
  await addRecord(owner, 'notes', 'd') // nobody tells of this one
  await owner.flush()
  expect(await takeOver()).toEqual({ found: ['a', 'b', 'c', 'd'], isRestored: false })
})

test('a worker that starts again knows its copies and goes on with them', async () => {
  await hinted()
  await copies.close()
  copies = await WarmCopies.open(depsOf())
  expect(copies.totals.bytes).toBeGreaterThan(0)
  await addRecord(owner, 'notes', 'a')
  await hinted()
  expect(await takeOver()).toEqual({ found: ['a'], isRestored: false })
  copies = await WarmCopies.open(depsOf())
  expect(copies.totals).toEqual({ copies: 0, bytes: 0, lagMsMax: 0 }) // it is the owner's folder now
})

test('when disk is short the copy that heard nothing for longest goes, and none is begun that does not fit', async () => {
  await hinted()
  const other = await bench.create()
  freeBytes = 2 ** 30 // what stays for the node's own tenants, and nothing more
  await other.flush()
  copies.hint(other.spec.id, databaseNames)
  await until('the older copy to go', () => !existsSync(files.dir(owner.spec.id)))
  await until('a decision', () => copies.totals.lagMsMax === 0)
  expect(existsSync(files.path(other.spec.id, 'data.db'))).toBe(false)
  expect(copies.totals).toMatchObject({ copies: 0, bytes: 0 })
})

test('files of an earlier time as its owner are not touched', async () => {
  const { id } = owner.spec
  await files.markDirty(id)
  writeFileSync(files.path(id, 'data.db'), 'commits that nobody else has')
  await hinted()
  expect(await Bun.file(files.path(id, 'data.db')).text()).toBe('commits that nobody else has')
  expect(copies.totals.copies).toBe(0)
})

test('another worker that opens the tenant waits for what is under way, and is left alone from then on', async () => {
  await hinted()
  const { id } = owner.spec
  const elsewhere = new TenantFiles(dir, clock)
  const isAsked = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  const get = store.get.bind(store)
  store.get = async (...args) => {
    isAsked.resolve()
    await gate.promise
    return get(...args)
  }
  await addRecord(owner, 'notes', 'a')
  await owner.flush()
  copies.hint(id, databaseNames)
  await isAsked.promise
  expect(elsewhere.tryLock(id)).toBeNull()
  const waiting = elsewhere.lock(id)
  gate.resolve()
  using _ = await waiting
  await elsewhere.unmarkWarm(id)
  expect(elsewhere.isClean(id)).toBe(true)
  await addRecord(owner, 'notes', 'b')
  await hinted()
  expect(copies.totals).toMatchObject({ copies: 0, bytes: 0 })
})

test('after another worker had the tenant, what is here is looked at anew', async () => {
  await hinted()
  const listings = () => store.reading.calls.list
  const before = listings()
  await addRecord(owner, 'notes', 'a')
  await hinted()
  expect(listings()).toBe(before)
  await new TenantFiles(dir, clock).unmarkWarm(owner.spec.id)
  await addRecord(owner, 'notes', 'b')
  await hinted()
  expect(listings()).toBeGreaterThan(before)
  expect(await takeOver()).toEqual({ found: ['a', 'b'], isRestored: false })
})

test('copies that begin take turns, so that each finds the room that the others left', async () => {
  for (const tenant of [owner, await bench.create(), await bench.create()]) {
    await tenant.flush()
    copies.hint(tenant.spec.id, databaseNames)
  }
  await until('all copies', () => copies.totals.copies === 3)
  expect(working.max).toBe(1)
})

test('what the evictor has taken is forgotten, and begun again with the next hint', async () => {
  const other = await bench.create()
  await hinted()
  await hinted(other)
  await files.remove(other.spec.id)
  await copies.forgetGone()
  const { bytes, ...rest } = copies.totals
  expect(rest).toEqual({ copies: 1, lagMsMax: 0 })
  expect(bytes).toBe(databaseNames.reduce((sum, name) => sum + statSync(files.path(owner.spec.id, name)).size, 0))
  await hinted(other)
  expect(copies.totals.copies).toBe(2)
})

test('where no more are remembered, one that was not told of anything for long gives its place, with its folder', async () => {
  copiesMax = 1
  await copies.close()
  copies = await WarmCopies.open(depsOf())
  await hinted()
  const other = await bench.create()
  await hinted(other)
  expect(existsSync(files.dir(other.spec.id))).toBe(false)
  copiesClock.laterMs = 3_700_000
  await hinted(other)
  expect(copies.totals.copies).toBe(1)
  await until('the idle one to go', () => !existsSync(files.dir(owner.spec.id)))
  expect(existsSync(files.dir(other.spec.id))).toBe(true)
})

test('a worker that starts with more than it remembers takes those that were told last', async () => {
  const other = await bench.create()
  await hinted()
  await hinted(other)
  const past = new Date(clock.now() - 60_000)
  utimesSync(join(files.dir(other.spec.id), 'warm'), past, past)
  copiesMax = 1
  await copies.close()
  copies = await WarmCopies.open(depsOf())
  await addRecord(owner, 'notes', 'a')
  await hinted()
  expect(copies.totals.copies).toBe(1)
})

test('a tenant that is open here is left alone', async () => {
  open.add(owner.spec.id)
  await hinted()
  expect(existsSync(files.dir(owner.spec.id))).toBe(false)
})
