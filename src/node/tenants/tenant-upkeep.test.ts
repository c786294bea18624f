// Goal: a tenant's manifest tells the truth when it closes, files go when nothing promised needs them, and a tenant that
// nobody uses costs no request and no timer. Method: real engines on a store in memory, months of a simulated clock.

import { expect, test } from 'bun:test'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ShortPagesStore } from '../../../test/support/short-pages.ts'
import { addCollection, addRecord, TenantBench, titles } from '../../../test/support/tenant.ts'
import { until } from '../../../test/support/wait.ts'
import type { TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { listLtx } from '../../replicate/ltx-store.ts'
import { readFacts, tenantPrefix } from './manifest.ts'
import { passClosed, UpkeepSchedule } from './upkeep-schedule.ts'

const day = 24 * 3_600_000

test('the manifest of a new, an open and a closed tenant', async () => {
  await using bench = await TenantBench.start()
  let tenant = await bench.create()
  const { id } = tenant.spec
  const created = (await readFacts(bench.deps, id))!
  expect(Object.keys(created.databases).sort()).toEqual(['auxiliary.db', 'data.db', 'hooks.db'])
  expect(created.hooks).toMatchObject({ anyEnabled: false, txid: 1 })

  await addCollection(tenant, 'notes')
  for (let n = 0; n < 40; n++) {
    await addRecord(tenant, 'notes', `n${n}`)
    await tenant.flush()
  }
  await tenant.update({ ...tenant.spec, plan: 'large' }, tenant.placement)
  expect((await readFacts(bench.deps, id))!.databases['data.db']!.tail.txid).toBeGreaterThan(40)
  await bench.close(tenant)
  const closed = (await readFacts(bench.deps, id))!
  const at = { store: bench.store, prefix: `${tenantPrefix('pf', id)}/data.db` }
  const newest = Math.max(...(await listLtx(at)).map(({ maxTxid }) => maxTxid))
  const data = closed.databases['data.db']!
  expect(data.tail.txid).toBe(newest as typeof data.tail.txid)
  expect(data.files.some(({ level }) => level > 0)).toBe(true)
  expect(data.files.length).toBeLessThan(30)
  expect(closed.hooks).toMatchObject({ anyEnabled: false, txid: closed.databases['hooks.db']!.tail.txid })

  // A torn manifest costs a listing and nothing else.
  await bench.store.put(`${tenantPrefix('pf', id)}/manifest.json`, new TextEncoder().encode('{"version":2,'))
  tenant = await bench.open(id)
  expect(titles(tenant, 'notes')).toHaveLength(40)
  await bench.close(tenant)
  expect((await readFacts(bench.deps, id))!.databases['data.db']).toBeDefined()
})

test('a history that has grown long opens by its manifest; without one it is listed level by level', async () => {
  const store = new ShortPagesStore(10)
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  const { id } = tenant.spec
  await addCollection(tenant, 'notes')
  for (let n = 0; n < 25; n++) {
    await addRecord(tenant, 'notes', `n${n}`)
    await tenant.flush()
  }
  await bench.close(tenant)
  const listsOfOpening = async () => {
    const before = store.requestCountOf('list')
    const opened = await bench.open(id)
    const lists = store.requestCountOf('list') - before
    expect(titles(opened, 'notes')).toHaveLength(25)
    await bench.close(opened)
    return lists
  }
  expect(await listsOfOpening()).toBe(3 + 1 + 1) // the other two are short
  await store.delete([`${tenantPrefix('pf', id)}/manifest.json`])
  expect(await listsOfOpening()).toBeGreaterThan(11)
})

test('months of a closed tenant: passes from its manifest, until nothing is left to do; deleted files go at its next opening', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  await using bench = await TenantBench.start(store, clock)
  let due: number | null = null
  const deps = { ...bench.deps, onUpkeepDue: (_: TenantId, dueAtMs: number | null) => (due = dueAtMs) }
  Object.assign(bench.deps, deps)
  let tenant = await bench.create()
  const { id } = tenant.spec
  await addCollection(tenant, 'notes', true)
  const old = await addRecord(tenant, 'notes', 'with a file', ['gone'])
  await tenant.engine.records.delete(old)
  for (let n = 0; n < 80; n++) {
    await addRecord(tenant, 'notes', `n${n}`)
    await tenant.flush()
  }
  await bench.close(tenant)
  const fileKeys = () => store.keys.filter((key) => key.includes('/files/'))
  expect(fileKeys()).toHaveLength(1)
  const countBefore = store.keys.length
  expect(due).not.toBeNull()

  let passes = 0
  for (; due !== null && passes < 20; passes++) {
    await clock.advance(Math.max(0, due - clock.now()))
    due = await passClosed(id, bench.deps)
  }
  expect(due).toBeNull()
  expect(passes).toBeGreaterThan(1)
  expect(store.keys.length).toBeLessThan(countBefore - 60)
  const requests = store.requestCount
  await clock.advance(365 * day)
  expect(store.requestCount).toBe(requests)

  tenant = await bench.open(id)
  expect(titles(tenant, 'notes')).toHaveLength(80)
  await bench.close(tenant) // waits for the sweep
  expect(fileKeys()).toHaveLength(0)
})

test('uploads that no record ever named are found, noted, and go a month later; all others stay', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  await using bench = await TenantBench.start(store, clock)
  let tenant = await bench.create()
  const { id } = tenant.spec
  await addCollection(tenant, 'notes', true)
  const kept = await addRecord(tenant, 'notes', 'kept', ['one', 'two'])
  const deleted = await addRecord(tenant, 'notes', 'deleted', ['three'])
  await clock.advance(20 * day)
  await tenant.engine.records.delete(deleted)
  const prefix = `${tenantPrefix('pf', id)}/files/${kept.collection.id}`
  const body = new TextEncoder().encode('lost')
  await store.put(`${prefix}/${kept.id}/lost_abcdefghij.txt`, body)
  await store.put(`${prefix}/norecord1234567/lost_abcdefghij.txt`, body)
  await store.put(`${tenantPrefix('pf', id)}/files/nocollection123/norecord1234567/lost_abcdefghij.txt`, body)
  await clock.advance(15 * day)
  const files = () => store.keys.filter((key) => key.includes('/files/'))
  const reopen = async () => {
    await bench.close(tenant)
    tenant = await bench.open(id)
  }
  await reopen()
  expect(files()).toHaveLength(6) // all that was uploaded: none of it is old enough
  await clock.advance(20 * day)
  await store.put(`${prefix}/${kept.id}/young_abcdefghij.txt`, body)
  await reopen()
  const noted = () => tenant.engine.data.all<{ key: string }>('SELECT key FROM `_pfDeletedFiles`')
  await clock.advance(12 * day)
  await reopen()
  await until('three to be noted', () => noted().length === 3)
  expect(noted().every(({ key }) => key.endsWith('lost_abcdefghij.txt'))).toBe(true)
  await clock.advance(31 * day)
  await reopen()
  await until('them to go', () => files().length === 3)
  expect(noted()).toHaveLength(1) // the young one has become old
  expect(files().filter((key) => key.includes('lost'))).toEqual([])
  await bench.close(tenant)
  expect((await readFacts(bench.deps, id))!.filesListedAtMs).toBeGreaterThan(0)
})

test('how long every point stays is what the tenant says, open and closed', async () => {
  const clock = new SimClock()
  await using bench = await TenantBench.start(new MemoryObjectStore({ clock }), clock)
  const asked: (number | undefined)[] = []
  const upkeep = {
    merge: bench.upkeep.merge.bind(bench.upkeep),
    retain: (...[prefix, state]: Parameters<typeof bench.upkeep.retain>) => {
      asked.push(state.keepEveryMs)
      return bench.upkeep.retain(prefix, state)
    },
  }
  Object.assign(bench.deps, { upkeep })
  const tenant = await bench.create()
  await tenant.update({ ...tenant.spec, keepEveryMs: 3 * day }, tenant.placement)
  await clock.advance(8 * day)
  await addCollection(tenant, 'notes')
  await tenant.flush()
  await until('a pass while it is open', () => asked.includes(3 * day))
  await bench.close(tenant)
  asked.length = 0
  await clock.advance(8 * day)
  await passClosed(tenant.spec.id, bench.deps)
  expect(new Set(asked)).toEqual(new Set([3 * day]))
})

test('a pass changes nothing of a tenant that was opened meanwhile', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  await using bench = await TenantBench.start(store, clock)
  const tenant = await bench.create()
  const { id } = tenant.spec
  await bench.close(tenant)
  await clock.advance(40 * day)
  const key = `${tenantPrefix('pf', id)}/manifest.json`
  const other = new TextEncoder().encode('{"version":2}')
  const upkeep = {
    merge: bench.upkeep.merge.bind(bench.upkeep),
    retain: async (...args: Parameters<typeof bench.upkeep.retain>) => {
      await store.put(key, other)
      return bench.upkeep.retain(...args)
    },
  }
  await passClosed(id, { ...bench.deps, upkeep })
  expect(await store.get(key)).toEqual(other)
})

/** Lets what the clock has started come to its end: all of it is promises. */
const settled = () => new Promise<void>((resolve) => void setImmediate(resolve))

test('the list: one timer while there is something on it; it survives a restart and damage', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-schedule-'))
  try {
    const clock = new SimClock()
    const path = join(dir, 'upkeep.json')
    const passed: string[] = []
    const open = (isOurs = true) =>
      new UpkeepSchedule({
        clock,
        log: silentLogger,
        path,
        isOurs: async () => isOurs,
        pass: async (id) => {
          passed.push(id)
          if (id.startsWith('c')) throw new Error('the store is down')
          return id.startsWith('b') ? clock.now() + day : null
        },
      })
    const id = (letter: string) => letter.repeat(15) as TenantId
    const first = open()
    expect(clock.pendingTimers).toBe(0)
    first.note(id('a'), clock.now() + day)
    first.note(id('b'), clock.now() + day)
    first.note(id('d'), clock.now() + day)
    first.note(id('d'), null)
    expect(clock.pendingTimers).toBe(1)
    await clock.advance(60_000)
    expect(existsSync(path)).toBe(true)
    first.stop()
    expect(clock.pendingTimers).toBe(0)

    const second = open()
    expect(second.size).toBe(2)
    await clock.advance(day + 3_600_000)
    await settled()
    expect(passed.sort()).toEqual([id('a'), id('b')])
    expect(second.size).toBe(1)
    second.note(id('b'), null)
    second.note(id('c'), clock.now())
    await clock.advance(2 * 60_000)
    await settled()
    expect(passed).toContain(id('c'))
    expect(second.size).toBe(1) // tried again later
    second.stop()
    expect(open(false).size).toBe(1)
    writeFileSync(path, '{"version":1,"due":{"../../etc":1,"')
    expect(open().size).toBe(0)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
