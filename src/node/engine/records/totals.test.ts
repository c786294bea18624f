// Goal: a remembered number is the one that counting again would give. Method: the statements that reach the database are
// watched while it changes under them.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { join } from 'node:path'
import { openTestEngine, saveUser, type TestEngine } from '../../../../test/support/engine.ts'
import { afterArrivals } from '../../../lib/clock.ts'
import { total } from './totals.ts'

let opened: TestEngine
let counted: number

beforeEach(async () => {
  opened = await openTestEngine()
  counted = 0
  const { data } = opened.engine
  const read = data.read.bind(data)
  data.read = ((...args: Parameters<typeof read>) => {
    counted++
    return read(...args)
  }) as typeof data.read
})
afterEach(() => opened[Symbol.asyncDispose]())

const all = 'SELECT COUNT(*) AS n FROM `users`'
const ask = (sql = all, params: readonly (string | number | bigint)[] = []) => total(opened.engine, sql, params)

test('it is counted once between two commits, whoever makes them', async () => {
  expect([await ask(), await ask(), counted]).toEqual([0, 0, 1])
  await saveUser(opened.engine, 'users', { email: 'a@example.com' })
  expect([await ask(), await ask(), counted]).toEqual([1, 1, 2])
  const other = new Sqlite(join(opened.dir, 'data.db'))
  other.run('DELETE FROM users')
  other.close()
  await new Promise<void>(afterArrivals) // reads of one round see the same commits
  expect([await ask(), await ask(), counted]).toEqual([0, 0, 3])
})

test('a transaction counts its own writes, and what it rolls back was never there', async () => {
  await ask()
  await opened.engine.data
    .transaction(async () => {
      await saveUser(opened.engine, 'users', { email: 'a@example.com' })
      expect([await ask(), await ask(), counted]).toEqual([1, 1, 3])
      throw new Error('rolled back')
    })
    .catch(() => {})
  expect([await ask(), counted]).toEqual([0, 3])
})

test('other values are another number', async () => {
  await saveUser(opened.engine, 'users', { email: 'a@example.com' })
  const by = `${all} WHERE email = ?1 AND ?2 = ?2`
  for (const params of [
    ['a@example.com', '1'],
    ['a@example.com', 1],
    ['a@example.com', 1n],
    ['a@example.com', '{"bigint":"1"}'],
    ['a@example.com","1', ''],
  ])
    await ask(by, params)
  expect(counted).toBe(5)
})

test('what depends on more than the content is counted each time', async () => {
  for (const sql of [
    `${all} WHERE strftime('%s', 'now') > 0`,
    `${all} WHERE RANDOM() > 0`,
    `${all} /* ${'x'.repeat(2_000)} */`,
  ])
    expect([await ask(sql), await ask(sql)]).toEqual([0, 0])
  expect(counted).toBe(6)
})
