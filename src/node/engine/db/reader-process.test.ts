// Goal: a question that runs wild is killed at its deadline, and nobody else waits for it; who closes a database finds
// no reader holding it.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive, openFiles, processTree } from '../../../../test/support/processes.ts'
import { until } from '../../../../test/support/wait.ts'
import { systemClock } from '../../../lib/clock.ts'
import { OverloadedError, TimeoutError } from '../../../lib/errors.ts'
import { Database } from './database.ts'
import { vacuumDatabase } from './database-work.ts'
import { ReaderEndedError, ReaderQueryError, ReaderTooLargeError } from './reader.ts'
import { ReaderPool } from './reader-process.ts'

const tenants = ['a', 'b', 'c']
let dir: string
let databases: Database[]
let pool: ReaderPool

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pf-reader-'))
  pool = new ReaderPool({ clock: systemClock, memoryBytesMax: 200 * 1024 * 1024 })
  databases = []
  for (const name of tenants) {
    await mkdir(join(dir, name))
    const db = Database.open({
      path: pathOf(name),
      checkpoint: 'owner',
      readers: { pool, clock: systemClock },
    })
    databases.push(db)
    await db.transaction(() => {
      db.exec('CREATE TABLE t (v)')
      db.run('INSERT INTO t VALUES (?)', [`db ${name}`])
    })
  }
})
afterEach(async () => {
  for (const db of databases) await db.close()
  pool.close()
  await rm(dir, { recursive: true, force: true })
})

const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'
const pathOf = (name: string) => join(dir, name, 'data.db')
const ask = (name: string, sql: string, deadlineMs = 60_000, bytesMax = 1_000_000) =>
  pool.run({ path: pathOf(name), sql, params: [], rowsMax: null, bytesMax, isApart: false }, deadlineMs)
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => error,
  )

/** Children of this process that have a file below `folder` open. */
function holdersOf(folder: string): readonly string[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
  return children.filter((pid) => openFiles(Number(pid))?.some((file) => file.startsWith(folder)))
}

const holders = (folder: string) => holdersOf(folder).length

test('rows from the WAL, errors in the words of SQLite, no writes', async () => {
  expect((await ask('a', 'SELECT v FROM t')).rows).toEqual([['db a']])
  expect(await failure(ask('a', 'SELECT missing'))).toMatchObject({ message: 'no such column: missing' })
  expect(await failure(ask('a', "INSERT INTO t VALUES ('x')"))).toBeInstanceOf(ReaderQueryError)
  const [db] = databases
  await db!.transaction(() => db!.run("UPDATE t SET v = 'new'"))
  expect((await ask('a', 'SELECT v FROM t')).rows).toEqual([['new']])
})

test('an endless query of one tenant is killed; the others are answered meanwhile', async () => {
  let ended = 0
  const wild = [1, 2].map(() => failure(ask('a', endless, 120_000)).finally(() => ended++))
  const calm = await Promise.all([ask('b', 'SELECT v FROM t'), ask('c', 'SELECT v FROM t')])
  expect([calm.map((each) => each.rows), ended]).toEqual([[[['db b']], [['db c']]], 0])
  expect(await failure(ask('b', endless, 1_000))).toBeInstanceOf(TimeoutError)
  expect([(await ask('b', 'SELECT v FROM t')).rows, ended]).toEqual([[['db b']], 0])
  await databases[0]!.close()
  for (const error of await Promise.all(wild)) expect(error).toBeInstanceOf(ReaderEndedError)
}, 180_000)

test('too many questions of one tenant are refused, those of another one are not', async () => {
  const wild = Array.from({ length: 300 }, () => failure(ask('a', endless, 60_000)))
  const refused = await Promise.race(wild)
  expect(refused).toBeInstanceOf(OverloadedError)
  expect((await ask('b', 'SELECT v FROM t')).rows).toEqual([['db b']])
  await databases[0]!.close()
  const errors = await Promise.all(wild)
  expect(errors.filter((error) => error instanceof OverloadedError)).toHaveLength(98) // two run, 200 wait
  expect(errors.filter((error) => error instanceof ReaderEndedError)).toHaveLength(202)
})

test('closing a database ends what reads it, and leaves no descriptor', async () => {
  await ask('a', 'SELECT v FROM t')
  const wild = failure(ask('b', endless, 60_000))
  await until('the query has begun', () => holders(join(dir, 'b')) === 1)
  const [reader] = holdersOf(join(dir, 'b'))
  await databases[0]!.close()
  expect(holders(join(dir, 'a'))).toBe(0)
  expect(holdersOf(join(dir, 'b'))).toEqual([reader!]) // the same process as before: nothing was killed and begun anew
  await databases[1]!.close()
  expect(holders(join(dir, 'b'))).toBe(0)
  expect(await wild).toBeInstanceOf(ReaderEndedError)
})

test('a reader in the middle of a statement dies with its parent', async () => {
  const script = join(import.meta.dir, '../../../../test/support/reader-parent.ts')
  const parent = Bun.spawn([process.execPath, script, pathOf('a')], { stdout: 'ignore', stderr: 'inherit' })
  const child = await until('its reader has the file open', () =>
    processTree(parent.pid).find(({ pid, argv }) => argv.at(-1) === 'reader' && openFiles(pid)?.includes(pathOf('a'))),
  )
  parent.kill('SIGKILL')
  await parent.exited
  await until('the reader has gone', () => !isAlive(child.pid))
}, 180_000)

test('a WAL that outgrew every bound under a reader starts over before anybody else reads', async () => {
  const [db] = databases
  const wild = failure(ask('a', `${endless}, t`, 5_000)) // only who reads a table reads the WAL
  await until('it is being read', () => holders(join(dir, 'a')) === 1)
  for (let i = 0; i < 18; i++) await db!.transaction(() => db!.run('INSERT INTO t VALUES (randomblob(4000000))')) // some 72 MB
  const checkpoint = () => db!.exclusively(() => db!.checkpoint('PASSIVE'))
  expect((await checkpoint()).logFrames).toBeGreaterThan(16_000)
  let isKilled = false
  void wild.then(() => {
    isKilled = true
  })
  const next = ask('a', 'SELECT count(*) FROM t').then(({ rows }) => ({ rows, isKilled }))
  await until('the WAL is small again', async () => {
    await db!.transaction(() => db!.run("INSERT INTO t VALUES ('x')"))
    return (await checkpoint()).logFrames < 1_000
  })
  expect((await next).isKilled).toBe(true)
  expect(await wild).toBeInstanceOf(TimeoutError)
}, 180_000)

test('a database that shrinks while a reader has it mapped is read as it is', async () => {
  const db = databases[0]!
  const fill = (bytes: number) => () => {
    for (let i = 0; i < 100; i++) db.run('INSERT INTO t VALUES (zeroblob(?))', [bytes])
  }
  const settle = () => db.exclusively(() => db.checkpoint('TRUNCATE'))
  const sum = async () => (await ask('a', 'SELECT count(*), sum(length(v)) FROM t')).rows
  for (let round = 0; round < 3; round++) {
    await db.transaction(fill(50_000))
    await settle()
    const large = statSync(pathOf('a')).size
    expect(await sum()).toEqual([[101, 5_000_004]])
    await db.transaction(() => db.run('DELETE FROM t WHERE length(v) > 4'))
    await vacuumDatabase(db)
    expect(await sum()).toEqual([[1, 4]])
    await settle()
    expect(statSync(pathOf('a')).size).toBeLessThan(large / 10)
    expect(await sum()).toEqual([[1, 4]])
  }
})

test('a database that nobody asks about is let go of by itself', async () => {
  await ask('a', 'SELECT v FROM t')
  expect(holders(join(dir, 'a'))).toBe(1)
  await until('its file is closed', () => holders(join(dir, 'a')) === 0)
  expect((await ask('a', 'SELECT v FROM t')).rows).toEqual([['db a']])
})

test('an answer past its limit, and one that no limit sees coming, end', async () => {
  expect(await failure(ask('a', "SELECT printf('%.*c', 5000, 'x')", 60_000, 1_000))).toBeInstanceOf(ReaderTooLargeError)
  const many = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(randomblob(500)) FROM n'
  expect(await failure(ask('a', many, 60_000))).toBeInstanceOf(ReaderTooLargeError)
  expect((await ask('a', 'SELECT v FROM t')).rows).toEqual([['db a']])
}, 180_000)

test('every value of SQLite comes back as it was', async () => {
  const [db] = databases
  const sql = `SELECT 1 AS i, -2.5 AS f, 9e999 AS inf, -9e999 AS ninf, NULL AS none, x'00ff' AS b, 'ü"\n' AS t,
    9007199254740991 AS big, -0.0 AS zero, 1e-300 AS tiny FROM t, (${endless.replace('count(*) FROM n', 'i FROM n LIMIT 1')})`
  const here = db!.all(sql)
  expect(await db!.read(sql)).toEqual(here)
})
