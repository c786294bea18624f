// Goal: statements on a large database do by a process what they do in place, all or nothing, and the owner's thread goes
// on meanwhile.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TimeoutError } from '../../../lib/errors.ts'
import { Database } from './database.ts'
import { runScript, ScriptError } from './script-process.ts'

let dir: string
let db: Database
const rows = 60_000

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-script-'))
  db = Database.open({ path: join(dir, 'data.db'), checkpoint: 'owner' })
  await db.transaction(() => {
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)')
    db.run(
      `INSERT INTO t (v) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${rows})
       SELECT i || hex(randomblob(40)) FROM n`,
    )
  })
  await db.exclusively(() => db.checkpoint('TRUNCATE'))
  expect(statSync(db.path).size).toBeGreaterThan(4 * 1024 * 1024)
})
afterEach(async () => {
  await db.close()
  rmSync(dir, { recursive: true, force: true })
})

test('one commit, the rows of the last statement, nothing checkpointed', async () => {
  const before = db.commitSeq
  const size = statSync(db.path).size
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  expect(await runScript(db, "DELETE FROM t WHERE id > 59000; UPDATE t SET v = v || 'x'")).toBe(59_000)
  clearInterval(timer)
  expect(turns).toBeGreaterThan(3)
  expect(db.commitSeq).toBe(before + 1)
  expect(db.get("SELECT count(*) AS n FROM t WHERE v LIKE '%x'")).toEqual({ n: 59_000 })
  expect(statSync(db.path).size).toBe(size)
  expect(existsSync(db.walPath) && statSync(db.walPath).size > 0).toBe(true)
  await db.transaction(() => db.run("INSERT INTO t (v) VALUES ('after')"))
  expect(await runScript(db, 'CREATE TABLE u (a)')).toBe(0)
  expect(db.all('SELECT * FROM u')).toEqual([])
})

test('what fails leaves nothing behind, in the words and by the code of SQLite', async () => {
  const before = db.commitSeq
  const failing = runScript(db, 'DELETE FROM t WHERE id = 1; INSERT INTO t (v) SELECT v FROM t')
  const error = await failing.catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(ScriptError)
  expect(error).toMatchObject({ message: 'UNIQUE constraint failed: t.v', errno: 2067 })
  expect(db.get('SELECT count(*) AS n FROM t')).toEqual({ n: rows })
  expect(db.commitSeq).toBe(before)
})

test('a script that runs wild is ended, and the next one begins', async () => {
  const wild = runScript(db, 'UPDATE t SET v = (SELECT count(*) FROM t a, t b, t c)', 1_000)
  const error = await wild.catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(TimeoutError)
  expect(await runScript(db, 'DELETE FROM t WHERE id = 1')).toBe(1)
})

test('a write that is not admitted does not begin', async () => {
  db.admission = () => {
    throw new Error('not now')
  }
  await expect(runScript(db, 'DELETE FROM t')).rejects.toThrow('not now')
  db.admission = null
  expect(db.get('SELECT count(*) AS n FROM t')).toEqual({ n: rows })
})

test('of a small database too: a statement may count for ever without one', async () => {
  const path = join(dir, 'small.db')
  const small = Database.open({ path, checkpoint: 'owner' })
  await small.transaction(() => small.exec('CREATE TABLE t (n)'))
  const endless = 'INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n'
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  expect(await runScript(small, endless, 1_000).catch((error: unknown) => error)).toBeInstanceOf(TimeoutError)
  clearInterval(timer)
  expect(turns).toBeGreaterThan(3)
  await small.close()
})

test('what was committed before its process was ended counts as a commit', async () => {
  const before = db.commitSeq
  const ended = db.changedElsewhere(async () => {
    const other = new Sqlite(db.path)
    other.run('DELETE FROM t WHERE id = 1')
    other.close()
    throw new Error('ended')
  })
  await expect(ended).rejects.toThrow('ended')
  expect(db.commitSeq).toBe(before + 1)
})
