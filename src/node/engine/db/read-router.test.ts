// Goal: what may scan leaves the process, what cannot stays, and what turns out otherwise is learned. Method: a real
// database of SQLite on one side, counted calls and a clock of our own on the other.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { SimClock } from '../../../lib/clock.ts'
import { ReadRouter } from './read-router.ts'
import type { Row, SqlValue } from './sql.ts'

let sqlite: Sqlite
let clock: SimClock
let router: ReadRouter
/** Where the reads of the test ran, oldest first. */
let ran: ('here' | 'elsewhere')[]
/** What the next reads take, ms. */
let hereMs: number
let elsewhereMs: number

beforeEach(() => {
  sqlite = new Sqlite(':memory:')
  sqlite.run('CREATE TABLE big (id TEXT PRIMARY KEY, n INT)')
  sqlite.run('CREATE TABLE small (id TEXT PRIMARY KEY, n INT)')
  sqlite.run("INSERT INTO big (rowid, id, n) VALUES (500000, 'x', 1)")
  sqlite.run("INSERT INTO small (id, n) VALUES ('x', 1)")
  clock = new SimClock()
  ran = []
  hereMs = 0
  elsewhereMs = 5
  const all = (sql: string, params: readonly SqlValue[] = []) => sqlite.query(sql).all(...params) as Row[]
  router = new ReadRouter({
    clock: { now: () => clock.now(), setTimer: clock.setTimer.bind(clock), monotonic: () => time() },
    here: (sql, params) => {
      ran.push('here')
      spentMs += hereMs
      return all(sql, params)
    },
    look: (sql) => all(sql),
    elsewhere: async (sql, params) => {
      ran.push('elsewhere')
      return { rows: all(sql, params), tookMs: elsewhereMs }
    },
  })
})
afterEach(() => sqlite.close())

let spentMs = 0
const time = () => clock.monotonic() + spentMs

async function read(sql: string, params: readonly SqlValue[] = []): Promise<string> {
  const rows = await router.read(sql, params, 1_000)
  expect(rows.length).toBeGreaterThan(0)
  return ran.at(-1)!
}

const scan = 'SELECT * FROM big WHERE n = ?1 LIMIT 30'
const cheap = 'SELECT * FROM big WHERE id = ?1'

test('by plan and size', async () => {
  expect(await read(cheap, ['x'])).toBe('here')
  expect(await read('SELECT * FROM small WHERE n > 0')).toBe('here')
  expect(await read('SELECT * FROM big LIMIT 30')).toBe('here')
  expect(await read(scan, [1])).toBe('elsewhere')
})

test('a table that grew is looked at again', async () => {
  expect(await read('SELECT * FROM small WHERE n > 0')).toBe('here')
  sqlite.run("INSERT INTO small (rowid, id, n) VALUES (500000, 'y', 1)")
  router.noteChanges(999)
  expect(await read('SELECT * FROM small WHERE n > 0')).toBe('here')
  router.noteChanges(1)
  expect(await read('SELECT * FROM small WHERE n > 0')).toBe('elsewhere')
})

test('a new index counts at once', async () => {
  const sql = 'SELECT count(*) FROM big WHERE n = 0 OR id = ?1'
  expect(await read(sql, ['x'])).toBe('elsewhere')
  sqlite.run('DELETE FROM big')
  router.forget()
  expect(await read(sql, ['x'])).toBe('here')
})

test('a scan that ends early comes back, and leaves when it does not', async () => {
  elsewhereMs = 0.1
  expect([await read(scan, [1]), await read(scan, [1]), await read(scan, [1])]).toEqual(Array(3).fill('elsewhere'))
  expect(await read(scan, [1])).toBe('here')
  hereMs = 50
  expect(await read(scan, [1])).toBe('here')
  hereMs = 0
  expect(await read(scan, [1])).toBe('elsewhere')
  await clock.advance(61_000)
  for (let i = 0; i < 3; i++) await read(scan, [1])
  expect(await read(scan, [1])).toBe('here')
})

test('one slow run of many does not make a scan fast', async () => {
  for (const tookMs of [0.1, 0.1, 3, 0.1, 0.1]) {
    elsewhereMs = tookMs
    await read(scan, [1])
  }
  expect(await read(scan, [1])).toBe('elsewhere')
})

test('what was cheap by its plan is sent away after three slow runs', async () => {
  hereMs = 20
  for (let i = 0; i < 3; i++) expect(await read(cheap, ['x'])).toBe('here')
  expect(await read(cheap, ['x'])).toBe('elsewhere')
})

test('a machine that is slow now and then sends nothing away', async () => {
  for (let i = 0; i < 30; i++) {
    hereMs = i % 3 === 0 ? 20 : 0
    expect(await read(cheap, ['x'])).toBe('here')
  }
})

test('a database that keeps surprising loses the benefit of the doubt', async () => {
  elsewhereMs = 0.1
  const statements = Array.from({ length: 7 }, (_, i) => `SELECT * FROM big WHERE n = ?1 AND ${i} = ${i} LIMIT 30`)
  for (const sql of statements) for (let i = 0; i < 3; i++) await read(sql, [1])
  hereMs = 50
  for (const sql of statements.slice(0, 6)) expect(await read(sql, [1])).toBe('here')
  hereMs = 0
  expect(await read(statements[6]!, [1])).toBe('elsewhere')
})

test('a read that held everybody up sends its whole database away, for long', async () => {
  hereMs = 300
  expect(await read(cheap, ['x'])).toBe('here')
  hereMs = 0
  expect(await read('SELECT n FROM small WHERE id = ?1', ['x'])).toBe('elsewhere')
  await clock.advance(300 * 600 - 1_000)
  expect(await read(cheap, ['x'])).toBe('elsewhere')
  await clock.advance(2_000)
  expect(await read(cheap, ['x'])).toBe('here')
})

test('long patterns go elsewhere, however few rows there are', async () => {
  const search = 'SELECT 1 FROM small WHERE id LIKE ?1 OR id LIKE ?2 OR n = 1'
  expect(await read(search, ['%a%', '%b%'])).toBe('here')
  expect(await read(search, [`%${'a'.repeat(50)}%`, `%${'a'.repeat(50)}%`])).toBe('elsewhere')
  expect(await read(search, ['a'.repeat(500), '%b%'])).toBe('here')
})

test('a table that is not known yet may be any size', async () => {
  await read('SELECT * FROM small WHERE n > 0')
  sqlite.run('CREATE TABLE late (n INT)')
  sqlite.run('INSERT INTO late (n) VALUES (1)')
  expect(await read('SELECT * FROM late WHERE n > 0')).toBe('elsewhere')
  router.forget()
  expect(await read('SELECT * FROM late WHERE n > 0')).toBe('here')
})

test('nothing that could visit a million rows is ever trusted', async () => {
  sqlite.run("INSERT INTO big (rowid, id, n) VALUES (2000000, 'y', 1)")
  elsewhereMs = 0.1
  for (let i = 0; i < 5; i++) expect(await read(scan, [1])).toBe('elsewhere')
})
