// Goal: one writer, readers that see only what is committed, and nothing half-done.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../../../test/support/wait.ts'
import { afterArrivals, systemClock } from '../../../lib/clock.ts'
import { TimeoutError } from '../../../lib/errors.ts'
import { CorruptDatabaseError, Database } from './database.ts'
import { ReaderPool } from './reader-process.ts'

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

test('a transaction reads its own writes, others only committed ones', async () => {
  let inside: (() => void) | undefined
  let go: (() => void) | undefined
  const started = new Promise<void>((resolve) => {
    inside = resolve
  })
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const writing = db.transaction(async () => {
    db.run('INSERT INTO t (v) VALUES (?)', ['a'])
    expect(db.all('SELECT * FROM t')).toHaveLength(1)
    inside?.()
    await gate
    expect(db.all('SELECT * FROM t')).toHaveLength(1)
  })
  await started
  expect(db.inTransaction).toBe(false)
  expect(db.all('SELECT * FROM t')).toHaveLength(0)
  go?.()
  await writing
  expect(db.all('SELECT * FROM t')).toHaveLength(1)
})

test('an error rolls back all of it, also from a joined transaction', async () => {
  const seen: string[] = []
  const failing = db.transaction(async () => {
    db.afterCommit(() => void seen.push('committed'))
    db.afterRollback(() => void seen.push('rolled back'))
    db.run('INSERT INTO t (v) VALUES (?)', ['a'])
    await db.transaction(() => db.run('INSERT INTO t (v) VALUES (?)', ['b']))
    throw new Error('no')
  })
  await expect(failing).rejects.toThrow('no')
  expect(db.all('SELECT * FROM t')).toHaveLength(0)
  expect(seen).toEqual(['rolled back'])
})

test('writers take turns', async () => {
  await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      db.transaction(async () => {
        const { n } = db.get<{ n: number }>('SELECT count(*) AS n FROM t')!
        await Promise.resolve()
        db.run('INSERT INTO t (id, v) VALUES (?, ?)', [n + 1, String(i)])
      }),
    ),
  )
  expect(db.get('SELECT max(id) AS m, count(*) AS n FROM t')).toEqual({ m: 50, n: 50 })
  expect(db.commitSeq).toBe(51)
})

test('writes outside a transaction are our own mistake', () => {
  expect(() => db.run('DELETE FROM t')).toThrow('transaction')
})

test('the WAL outlives the last connection, and nothing is checkpointed behind the owner', async () => {
  for (let i = 0; i < 1_500; i++)
    await db.transaction(() => db.run('INSERT INTO t (v) VALUES (?)', ['x'.repeat(4_000)]))
  const before = await db.exclusively(() => db.checkpoint('PASSIVE'))
  expect(before.logFrames).toBeGreaterThan(1_500)
  await db.transaction(() => db.run('INSERT INTO t (v) VALUES (?)', ['y']))
  await db.close()
  expect(existsSync(db.walPath)).toBe(true)
})

test('a file that is no database is named', () => {
  const path = join(dir, 'junk.db')
  writeFileSync(path, 'not a database, but long enough to look at '.repeat(100))
  expect(() => Database.open({ path, checkpoint: 'sqlite' })).toThrow(CorruptDatabaseError)
})

test('a large WAL is checkpointed by a process, and the next write starts it over', async () => {
  const pool = new ReaderPool({ clock: systemClock })
  const path = join(dir, 'apart.db')
  const apart = Database.open({ path, checkpoint: 'owner', readers: { pool, clock: systemClock } })
  try {
    await apart.transaction(() => apart.exec('CREATE TABLE t (v)'))
    const fill = () => apart.transaction(() => apart.run('INSERT INTO t VALUES (randomblob(3000000))'))
    await fill()
    expect(await apart.exclusively(() => apart.checkpoint('PASSIVE'))).toMatchObject({ busy: false }) // in place: none yet
    const frames: number[] = []
    await until('a checkpoint that is not in place', async () => {
      await fill()
      return apart.exclusively(async () => {
        const answer = apart.checkpoint('PASSIVE')
        const { busy, logFrames, checkpointedFrames } = await answer
        expect([busy, checkpointedFrames]).toEqual([false, logFrames])
        frames.push(logFrames)
        return answer instanceof Promise
      })
    })
    await fill()
    frames.push((await apart.exclusively(() => apart.checkpoint('PASSIVE'))).logFrames)
    for (const count of frames) expect(count).toBeLessThan(1_000) // one filling each: it started over every time
    await apart.close()
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0)
  } finally {
    await apart.close()
    pool.close()
  }
}, 180_000)

test('reads of one round of the event loop see the same commits of others, and every one of our own', async () => {
  const count = () => db.get<{ n: number }>('SELECT count(*) AS n FROM t')!.n
  const other = new Sqlite(db.path)
  other.run('PRAGMA wal_autocheckpoint = 0')
  expect(count()).toBe(0)
  other.run("INSERT INTO t (v) VALUES ('theirs')")
  expect(count()).toBe(0)
  await new Promise<void>(afterArrivals)
  expect(count()).toBe(1)
  await db.transaction(() => db.run("INSERT INTO t (v) VALUES ('ours')"))
  expect(count()).toBe(2)
  other.run("INSERT INTO t (v) VALUES ('theirs')")
  other.close()
  await db.changedElsewhere(async () => {})
  expect(count()).toBe(3)
})

test('a checkpoint is not kept back by who read in the same round', async () => {
  await db.transaction(() => db.run("INSERT INTO t (v) VALUES ('a')"))
  db.all('SELECT * FROM t')
  await db.transaction(() => db.run("INSERT INTO t (v) VALUES ('b')"))
  db.all('SELECT * FROM t')
  const truncated = await db.exclusively(() => db.checkpoint('TRUNCATE'))
  expect(truncated.busy).toBe(false)
  expect(statSync(db.walPath).size).toBe(0)
})

test('a transaction may have a larger cache, and nobody else', async () => {
  expect(() => db.enlargeCache(8_192)).toThrow('only a transaction')
  await db.transaction(() => {
    const before = db.get('PRAGMA cache_size')
    const end = db.enlargeCache(8_192)
    expect(db.get('PRAGMA cache_size')).toEqual({ cache_size: -8_192 })
    end()
    expect(db.get('PRAGMA cache_size')).toEqual(before)
  })
})

test('rows that another process inserts are one commit, or none', async () => {
  const pool = new ReaderPool({ clock: systemClock })
  const apart = Database.open({
    path: join(dir, 'apart.db'),
    checkpoint: 'owner',
    readers: { pool, clock: systemClock },
  })
  try {
    await apart.transaction(() => apart.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v)'))
    const sql = 'INSERT INTO t (id, v) VALUES (?, ?)'
    const count = () => apart.get<{ n: number }>('SELECT count(*) AS n FROM t')!.n
    let made = 0
    const slice = (from: number) => () => {
      made++
      return [1, 2, 3].map((i) => [from + i, i === 2 ? -0 : `text ${i}`])
    }
    expect(await apart.insertElsewhere(sql, [slice(0)])).toBe(false) // none is there yet
    expect([made, count()]).toEqual([0, 0])
    const before = apart.commitSeq
    const slices = [0, 10, 20].map(slice)
    const [first, second] = await Promise.all([apart.insertElsewhere(sql, slices), apart.insertElsewhere(sql, slices)])
    expect([first, second]).toEqual([true, false]) // one at a time
    expect([made, count(), apart.commitSeq - before]).toEqual([3, 9, 1])
    const walBytes = statSync(apart.walPath).size
    const failing = apart.insertElsewhere(sql, [slice(100), slice(0)])
    await expect(failing).rejects.toThrow('UNIQUE')
    expect([count(), apart.commitSeq - before]).toEqual([9, 1])
    await apart.transaction(() => apart.run(sql, [1_000, null])) // nobody holds the lock any more
    expect(statSync(apart.walPath).size).toBeGreaterThanOrEqual(walBytes)
  } finally {
    await apart.close()
    pool.close()
  }
})

test('rows whose process goes away before the last of them are left to the caller, and so is a database that was closed', async () => {
  const pool = new ReaderPool({ clock: systemClock, command: ['sh', '-c', 'read line'] })
  const readers = { pool, clock: systemClock }
  const apart = Database.open({ path: join(dir, 'apart.db'), checkpoint: 'owner', readers })
  const sql = 'INSERT INTO t (v) VALUES (?)'
  const slices = [() => [['a']], () => [['b']]]
  try {
    await apart.transaction(() => apart.exec('CREATE TABLE t (v)'))
    expect(await apart.insertElsewhere(sql, slices)).toBe(false) // none is there yet
    expect(await apart.insertElsewhere(sql, slices)).toBe(false) // it has read a line and gone
    expect(apart.all('SELECT * FROM t')).toEqual([])
  } finally {
    await apart.close()
    pool.close()
  }
  let hasRun = false
  const late = Database.open({ path: join(dir, 'apart.db'), checkpoint: 'owner' })
  const closing = late.close()
  const change = late.changedElsewhere(async () => {
    hasRun = true
  })
  await expect(change).rejects.toThrow('closed')
  await closing
  expect(hasRun).toBe(false)
  expect(() => late.all('SELECT 1')).toThrow('closed')
})

test('what a killed process left behind the last commit is no commit to who reads the WAL alone', async () => {
  const copied = (name: string) => {
    const path = join(dir, name)
    copyFileSync(db.path, path)
    copyFileSync(db.walPath, `${path}-wal`)
    return new Sqlite(path)
  }
  await db.transaction(() => db.run("INSERT INTO t (v) VALUES ('kept')"))
  const other = copied('other.db')
  other.run('PRAGMA wal_autocheckpoint = 0')
  other.run("INSERT INTO t (v) VALUES ('lost')")
  const wal = readFileSync(`${other.filename}-wal`)
  other.close()
  expect(wal.length).toBeGreaterThan(statSync(db.walPath).size)
  const before = db.commitSeq
  const change = db.changedElsewhere(async () => {
    writeFileSync(db.walPath, wal, { flag: 'r+' }) // its frames are all there, and the index does not know of them
    throw new TimeoutError('it was killed')
  })
  await expect(change).rejects.toThrow('it was killed')
  const alone = copied('alone.db')
  expect(alone.query('SELECT v FROM t').all()).toEqual([{ v: 'kept' }])
  alone.close()
  expect([db.all('SELECT v FROM t'), db.commitSeq]).toEqual([[{ v: 'kept' }], before + 1])
})
