// Goal: a question that runs wild is killed at its deadline, and nobody else waits for it.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { TimeoutError } from '../../../lib/errors.ts'
import { Database } from './database.ts'
import { ReaderPool, ReaderQueryError } from './reader-process.ts'

let dir: string
let databases: Database[]
let pool: ReaderPool

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pf-reader-'))
  databases = ['a.db', 'b.db'].map((name) => Database.open({ path: join(dir, name), checkpoint: 'owner' }))
  for (const [i, db] of databases.entries())
    await db.transaction(() => db.exec(`CREATE TABLE t (v); INSERT INTO t VALUES ('db ${i}')`))
  pool = new ReaderPool({ clock: systemClock })
})
afterEach(async () => {
  pool.close()
  for (const db of databases) await db.close()
  await rm(dir, { recursive: true, force: true })
})

const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'
const ask = (name: string, sql: string, deadlineMs = 20_000) =>
  pool.run({ path: join(dir, name), sql, rowsMax: 10, bytesMax: 1_000_000 }, deadlineMs)

test('rows from the WAL, errors in the words of SQLite, no writes', async () => {
  expect((await ask('a.db', 'SELECT v FROM t')).rows).toEqual([['db 0']])
  expect(ask('a.db', 'SELECT missing')).rejects.toThrow('no such column')
  expect(ask('a.db', "INSERT INTO t VALUES ('x')")).rejects.toBeInstanceOf(ReaderQueryError)
  await databases[0]!.transaction(() => databases[0]!.run("UPDATE t SET v = 'new'"))
  expect((await ask('a.db', 'SELECT v FROM t')).rows).toEqual([['new']])
})

test('an endless query of one database is killed; the other one is answered meanwhile', async () => {
  let isKilled = false
  const wild = ask('a.db', endless, 1_500).then(
    () => null,
    (error: unknown) => {
      isKilled = true
      return error
    },
  )
  const calm = await ask('b.db', 'SELECT v FROM t')
  expect([calm.rows, isKilled]).toEqual([[['db 1']], false])
  expect(await wild).toBeInstanceOf(TimeoutError)
  expect((await ask('a.db', 'SELECT v FROM t')).rows).toEqual([['db 0']])
})
