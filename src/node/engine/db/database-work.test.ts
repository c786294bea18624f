// Goal: whole databases are copied, checked and replaced under an open one, here and by a process, all or nothing.

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive, openFiles, processTree } from '../../../../test/support/processes.ts'
import { until } from '../../../../test/support/wait.ts'
import { CorruptDatabaseError, Database } from './database.ts'
import { DatabaseWorkError, doDatabaseWork, doDatabaseWorkApart, replaceContent } from './database-work.ts'

let dir: string
let db: Database

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-db-'))
  db = Database.open({ path: join(dir, 'data.db'), checkpoint: 'owner' })
  await db.transaction(() => db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)'))
})

afterEach(async () => {
  await db.close()
  rmSync(dir, { recursive: true, force: true })
})

/** Another database, `path`, with a table of `rows` rows, an index and a view. */
async function another(path: string, rows: number, bytes: number): Promise<void> {
  const other = Database.open({ path, checkpoint: 'sqlite' })
  await other.transaction(() => {
    other.exec('CREATE TABLE u (name TEXT UNIQUE, n INTEGER)')
    other.exec('CREATE INDEX u_n ON u (n)')
    other.exec('CREATE VIEW v AS SELECT name FROM u WHERE n > 1')
    for (let n = 1; n <= rows; n++)
      other.run('INSERT INTO u (rowid, name, n) VALUES (?, ?, ?)', [n * 10, `name ${n}`.padEnd(bytes, '.'), n])
  })
  await other.close()
}

describe.each([
  ['here', 3, 1],
  ['by a process', 60, 100_000],
])('%s', (_, rows, bytes) => {
  test('the content of another file replaces everything in one commit', async () => {
    const path = join(dir, 'other.db')
    await another(path, rows, bytes)
    let commits = 0
    db.onCommit = () => commits++
    const before = db.commitSeq
    await replaceContent(db, path)
    expect([db.commitSeq, commits]).toEqual([before + 1, 1])
    expect(db.all('SELECT rowid FROM u ORDER BY n LIMIT 3')).toEqual([{ rowid: 10 }, { rowid: 20 }, { rowid: 30 }])
    expect(db.all('SELECT * FROM v')).toHaveLength(rows - 1)
    expect(db.get("SELECT count(*) AS n FROM sqlite_schema WHERE name = 't'")).toEqual({ n: 0 })
    await db.transaction(() => db.run('INSERT INTO u (name) VALUES (?)', ['one more']))
    expect(existsSync(db.walPath)).toBe(true) // nobody but its owner checkpoints it

    const copy = join(dir, 'copy.db')
    await doDatabaseWork({ type: 'copy', path: db.path, target: copy })
    await doDatabaseWork({ type: 'check', path: copy })
    const copied = Database.open({ path: copy, checkpoint: 'sqlite' })
    expect(copied.get('SELECT count(*) AS n FROM u')).toEqual({ n: rows + 1 })
    await copied.close()
  })

  test('a damaged file changes nothing', async () => {
    const junk = join(dir, 'junk.db')
    writeFileSync(junk, 'damaged '.repeat(Math.max(1_000, (rows * bytes) / 8)))
    await expect(replaceContent(db, junk)).rejects.toThrow(CorruptDatabaseError)
    await expect(doDatabaseWork({ type: 'check', path: junk })).rejects.toThrow(CorruptDatabaseError)
    expect(db.all('SELECT * FROM t')).toEqual([])
    await db.transaction(() => db.run('INSERT INTO t (v) VALUES (?)', ['still writable']))
  })
})

test('a process that cannot do its work says why', async () => {
  const work = doDatabaseWorkApart({ type: 'copy', path: db.path, target: join(dir, 'no/such/folder.db') })
  await expect(work).rejects.toThrow(DatabaseWorkError)
  await work.catch((error) => expect(error.message).toContain('unable to open database'))
})

test('a process that waits for the database dies with its parent', async () => {
  const script = join(import.meta.dir, '../../../../test/support/database-work-parent.ts')
  await db.transaction(async () => {
    db.exec("INSERT INTO t (v) VALUES ('the write lock is held')")
    const parent = Bun.spawn([process.execPath, script, db.path], { stdout: 'ignore', stderr: 'inherit' })
    const isWorking = ({ pid, argv }: ReturnType<typeof processTree>[number]) =>
      pid !== parent.pid && argv.includes('database-work') && openFiles(pid)?.includes(db.path)
    const child = await until('the process to have the database open', () => processTree(parent.pid).find(isWorking))
    parent.kill('SIGKILL')
    await parent.exited
    await until('the process to end', () => !isAlive(child.pid)) // by itself it waits for the lock twice as long
  })
}, 180_000)

test('a schema that holds more than its statements smuggles nothing in', async () => {
  const path = join(dir, 'evil.db')
  const comment = '/*'.padEnd(600, 'x')
  const other = Database.open({ path, checkpoint: 'sqlite' })
  await other.transaction(() => other.exec(`CREATE TABLE pad (a ${comment}*/)`))
  await other.close()
  const reached = join(dir, 'reached.db')
  const bytes = readFileSync(path).toString('latin1')
  const tail = `); ATTACH '${reached}' AS evil; CREATE TABLE evil.reached (a) --`.padEnd(comment.length, '-')
  expect(bytes).toContain(comment)
  writeFileSync(path, Buffer.from(bytes.replace(comment, tail), 'latin1'))
  await expect(replaceContent(db, path)).rejects.toThrow(CorruptDatabaseError) // SQLite itself reads one statement only
  await db.transaction(() => db.exec(`CREATE TABLE more (a); ATTACH '${reached}' AS evil`))
  expect(existsSync(reached)).toBe(false)
  expect(db.all('PRAGMA database_list')).toHaveLength(1)
})
