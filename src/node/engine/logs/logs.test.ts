// Goal: log entries reach the table in batches without holding anybody up, and are found again.
// Method: a simulated clock drives the batches of a real database.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimClock, systemClock } from '../../../lib/clock.ts'
import { seededRng } from '../../../lib/rng.ts'
import { Database } from '../db/database.ts'
import { ReaderPool } from '../db/reader-process.ts'
import { FilterError } from '../filter/resolver.ts'
import { toSortedJson } from '../json/json-text.ts'
import { createAuxiliaryTables } from '../schema/fresh.ts'
import { findLog, listLogs, logStats } from './log-query.ts'
import { LogStore } from './log-store.ts'

let dir: string
let aux: Database
let clock: SimClock
let store: LogStore
const errors: unknown[] = []

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pf-logs-'))
  aux = Database.open({ path: join(dir, 'auxiliary.db'), checkpoint: 'sqlite' })
  await createAuxiliaryTables(aux)
  clock = new SimClock(Date.parse('2026-01-01T10:30:00Z'))
  store = new LogStore({ aux, clock, rng: seededRng(1), onError: (error) => errors.push(error) })
  errors.length = 0
})
afterEach(async () => {
  await aux.close()
  await rm(dir, { recursive: true, force: true })
})

const add = (message: string, level = 0, data: Record<string, unknown> = {}) =>
  store.add({ level, message, data: toSortedJson(data), atMs: clock.now() })
const count = () => aux.get<{ n: number }>('SELECT count(*) AS n FROM `_logs`')!.n

test('a few wait for the timer, many do not', async () => {
  add('one')
  expect([count(), clock.pendingTimers]).toEqual([0, 1])
  await clock.advance(3_000)
  await store.flush()
  expect([count(), clock.pendingTimers]).toEqual([1, 0])
  for (let i = 0; i < 450; i++) add(`many ${i}`)
  await store.flush()
  expect(count()).toBe(451)
})

test('entries past the bound are dropped, and that is said', async () => {
  const held = Promise.withResolvers<void>()
  const busy = aux.exclusively(() => held.promise)
  for (let i = 0; i < 20_000; i++) add('x')
  held.resolve()
  await busy
  await store.flush()
  expect(count()).toBeLessThan(15_500) // the bound, and the batch that was under way
  const { items } = await listLogs(aux, { ...page, filter: 'level > 0' }, clock.now())
  expect(items).toMatchObject([{ message: 'Log entries were dropped' }])
})

test('large entries are dropped before they fill the memory, and there is room again when they are written', async () => {
  const large = { text: 'x'.repeat(1_000_000) }
  for (let i = 0; i < 40; i++) add('large', 0, large)
  await store.flush()
  expect(count()).toBe(34) // 33 fit, and one says what became of the others
  for (let i = 0; i < 20; i++) add('large', 0, large)
  await store.flush()
  expect(count()).toBe(54)
})

test('many are written by another process, in their order, and a failure there is told', async () => {
  await aux.close()
  const pool = new ReaderPool({ clock: systemClock })
  aux = Database.open({ path: aux.path, checkpoint: 'sqlite', readers: { pool, clock: systemClock } })
  store = new LogStore({ aux, clock, rng: seededRng(1), onError: (error) => errors.push(error) })
  let elsewhere = 0
  const insert = aux.insertElsewhere.bind(aux)
  aux.insertElsewhere = async (...args) => {
    const isDone = await insert(...args)
    if (isDone) elsewhere++
    return isDone
  }
  try {
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 1_500; i++) add(`GET /${round}/${i}`)
      await store.flush()
    }
    expect([elsewhere, count()]).toEqual([1, 3_000])
    const messages = aux.values('SELECT message FROM `_logs` ORDER BY rowid').flat()
    expect([messages[1_500], messages[2_999]]).toEqual(['GET /1/0', 'GET /1/1499'])
    await aux.transaction(() => aux.exec('DROP TABLE `_logs`'))
    for (let i = 0; i < 1_500; i++) add('lost')
    await store.flush()
    expect(errors).toHaveLength(1)
  } finally {
    await aux.close()
    pool.close()
  }
})

const page = { page: 1, perPage: 30, skipTotal: false, filter: '', sort: '' }

test('they are listed, filtered by their data, counted by hour and deleted by age and level', async () => {
  add('GET /a', 0, { auth: 'users', status: 200 })
  await clock.advance(60 * 60_000)
  add('GET /b', 8, { auth: '_superusers', status: 400 })
  await store.flush()
  const all = await listLogs(aux, { ...page, sort: '-@rowid' }, clock.now())
  expect(all).toMatchObject({ totalItems: 2, totalPages: 1, items: [{ message: 'GET /b' }, { message: 'GET /a' }] })
  const some = await listLogs(aux, { ...page, filter: "(data.auth != '_superusers') && created <= @now" }, clock.now())
  expect(some).toMatchObject({ totalItems: 1, items: [{ message: 'GET /a', level: 0 }] })
  expect(findLog(aux, (some['items'] as { id: string }[])[0]!.id)).toMatchObject({ message: 'GET /a' })
  expect(findLog(aux, 'missing')).toBeNull()
  await expect(listLogs(aux, { ...page, filter: 'rowid2 = 1' }, clock.now())).rejects.toBeInstanceOf(FilterError)
  await expect(listLogs(aux, { ...page, sort: 'data); DROP' }, clock.now())).rejects.toBeInstanceOf(FilterError)
  expect(await logStats(aux, '', clock.now())).toEqual([
    { date: '2026-01-01 10:00:00.000Z', total: 1 },
    { date: '2026-01-01 11:00:00.000Z', total: 1 },
  ])
  await store.deleteOld(7, 4)
  expect(count()).toBe(1)
  await clock.advance(8 * 24 * 60 * 60_000)
  await store.deleteOld(7, null)
  expect(count()).toBe(0)
})

test('many old entries go a few at a time: a write in between need not wait for all of them', async () => {
  for (let n = 0; n < 1_050; n++) add(`old ${n}`, n % 2 === 0 ? 0 : 8)
  await store.flush()
  await clock.advance(8 * 24 * 60 * 60_000)
  for (let n = 0; n < 10; n++) add(`new ${n}`, n < 5 ? 0 : 8)
  await store.flush()
  const deleting = store.deleteOld(7, 4)
  await aux.transaction(() => {})
  expect(count()).toBeGreaterThan(500)
  await deleting
  expect(count()).toBe(5)
})

test('a database that fails costs entries, never a request', async () => {
  await aux.transaction(() => aux.exec('DROP TABLE `_logs`'))
  add('lost')
  await store.flush()
  expect(errors).toHaveLength(1)
})
