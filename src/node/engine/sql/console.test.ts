// Goal: the console answers as PocketBase's, a failed write leaves nothing, and no statement reaches another file.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { systemClock } from '../../../lib/clock.ts'
import { Database } from '../db/database.ts'
import { readerPool } from '../db/reader-process.ts'
import { splitStatements } from '../db/reader-query.ts'
import { leavesTransaction, reachesOtherFiles, runSql, SqlConsoleError } from './console.ts'

let dir: string
let db: Database
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pf-sql-'))
  const readers = { pool: readerPool(systemClock), clock: systemClock }
  db = Database.open({ path: join(dir, 'data.db'), checkpoint: 'owner', readers })
  await db.transaction(() => {
    db.exec('CREATE TABLE t (a TEXT, b REAL, c BLOB)')
    db.exec("INSERT INTO t VALUES ('x', 1.5, x'ff61')")
  })
})
afterEach(async () => {
  await db.close()
  await rm(dir, { recursive: true, force: true })
})
const run = (query: string) => runSql(db, systemClock, query)

test('values are text, at most a thousand rows', async () => {
  const found = await run('SELECT a, b, c, NULL AS d FROM t')
  expect(found.rows).toEqual([['x', '1.5', '\ufffda', null]])
  expect(found.columns.map((each) => each.name)).toEqual(['a', 'b', 'c', 'd'])
  const many = await run(
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n',
  )
  expect(many.rows).toHaveLength(1000)
})

test('several writes are one transaction', async () => {
  expect(await run('CREATE TABLE u (x); INSERT INTO u VALUES (1), (2)')).toMatchObject({ affectedRows: 2, rows: [] })
  expect(await run('CREATE TABLE v (x)')).toMatchObject({ affectedRows: 0 })
  await expect(run('CREATE TABLE w (x); INSERT INTO w VALUES (1); nonsense')).rejects.toBeInstanceOf(SqlConsoleError)
  expect((await run("SELECT name FROM sqlite_schema WHERE name IN ('u', 'w')")).rows).toEqual([['u']])
})

test('of several questions the last one answers', async () => {
  expect(await run('SELECT 1; SELECT \';\' AS "a;b" -- ; no\n; /* ; */ ;')).toMatchObject({
    columns: [{ name: 'a;b' }],
    rows: [[';']],
  })
  for (const nothing of [';', '-- SELECT 1', '/* ; */;;'])
    expect(await run(nothing)).toMatchObject({ columns: [], rows: [] })
  expect((await run('SELECT 9007199254740993 AS large, 9e999 AS infinite')).rows).toEqual([
    ['9007199254740993', '+Inf'],
  ])
  await expect(run('SELECT nope; SELECT 1')).rejects.toThrow('SQL logic error: no such column: nope (1)')
})

test('statements are told apart outside quotes and comments only', () => {
  const text = fc.array(
    fc.constantFrom(';', "';'", '";"', '`;`', '[;]', '--;\n', '/*;*/', 'a', ' ', "''", '-', '/', '*'),
  )
  fc.assert(
    fc.property(text, (pieces) => {
      const statements = splitStatements(pieces.join(''))
      expect(statements.every((each) => each.trim() !== '')).toBe(true)
      const semicolons = pieces.filter((piece) => piece === ';').length
      expect(statements.length).toBeLessThanOrEqual(semicolons + 1)
    }),
  )
})

test('VACUUM, REINDEX and ANALYZE', async () => {
  const before = db.commitSeq
  for (const query of ['VACUUM', 'vacuum ;', 'REINDEX', 'ANALYZE'])
    expect(await run(query)).toMatchObject({ affectedRows: 0, columns: [], rows: [] })
  expect(db.commitSeq).toBeGreaterThan(before)
  expect((await run('SELECT count(*) FROM t')).rows).toEqual([['1']])
})

test('what asks for rows cannot write', async () => {
  for (const query of ['WITH x AS (SELECT 1) INSERT INTO t (a) SELECT 1', 'PRAGMA user_version = 7'])
    await run(query).catch(() => {})
  expect((await run('SELECT count(*) FROM t')).rows).toEqual([['1']])
  expect((await run('PRAGMA user_version')).rows).toEqual([['0']])
})

test('no other file', async () => {
  const other = join(dir, 'other.db')
  const queries = [
    `ATTACH '${other}' AS o`,
    `attach/**/database '${other}' AS o`,
    `VACUUM INTO '${other}'`,
    `CREATE TABLE z (x); ATTACH '${other}' AS o`,
    "SELECT load_extension('/x.so')",
    `SELECT "load_extension"('/x.so')`,
    `INSERT INTO t (a) VALUES ($a(')); ATTACH "${other}" AS o; SELECT ('')`,
    `INSERT INTO t (a) VALUES (@a::b(")); ATTACH '${other}' AS o; SELECT ("")`,
    `INSERT INTO t (a) VALUES (:a(/*)); ATTACH '${other}' AS o; SELECT (1 /* */)`,
    `INSERT INTO t (a) VALUES (#é([)); ATTACH '${other}' AS o; SELECT ([])`,
  ]
  for (const query of queries) await expect(run(query)).rejects.toBeInstanceOf(SqlConsoleError)
  for (const query of queries) await run(query).catch(() => {})
  expect(existsSync(other)).toBe(false)
  expect(reachesOtherFiles('SELECT \'attach\' AS "vacuum" -- attach')).toBe(false)
})

test('a script stays in its transaction and leaves the connection as it is', async () => {
  const kept = [
    'INSERT INTO t (a) VALUES (1); COMMIT; BEGIN',
    'INSERT INTO t (a) VALUES (1); end; BEGIN',
    'INSERT INTO t (a) VALUES (1); /* ; */ PRAGMA wal_autocheckpoint = 1',
    'INSERT INTO t (a) VALUES (1); EXPLAIN QUERY PLAN -- x\n PRAGMA wal_autocheckpoint = 1',
    'CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END; END; BEGIN',
    'DELETE FROM t; SAVEPOINT a; RELEASE a',
  ]
  for (const script of kept) {
    expect([script, leavesTransaction(script)]).toEqual([script, true])
    await expect(run(script)).rejects.toThrow('not authorized')
  }
  expect((await run('SELECT count(*) FROM t')).rows).toEqual([['1']])
  const trigger =
    "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = 'commit; end'; END; INSERT INTO t (a) VALUES (2)"
  expect(await run(trigger)).toMatchObject({ rows: [] })
  expect((await run("SELECT count(*) FROM t WHERE a = 'commit; end'")).rows).toEqual([['2']])
})
