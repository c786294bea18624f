// Goal: a capture sees whole transactions and nothing else. Method: WAL files written by SQLite itself, then damaged.

import { constants, Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeWalHeader, walChecksum } from './header.ts'
import { captureWal, type WalCapture, type WalPosition } from './reader.ts'

let dir: string
let path: string
let db: Sqlite
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pf-wal-'))
  path = join(dir, 'data.db')
  db = new Sqlite(path, { create: true })
  db.run('PRAGMA journal_mode = WAL')
  db.run('PRAGMA wal_autocheckpoint = 0')
  db.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1)
  db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)')
})
afterEach(() => {
  db.close()
  rmSync(dir, { recursive: true })
})

function insert(rows: number, bytes: number): void {
  db.run(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
     INSERT INTO t (v) SELECT hex(randomblob(${bytes})) FROM n`,
  )
}

async function capture(position: WalPosition | null): Promise<WalCapture> {
  const file = await open(`${path}-wal`, 'r')
  try {
    return await captureWal(file, position)
  } finally {
    await file.close()
  }
}

async function frames(position: WalPosition | null): Promise<Extract<WalCapture, { type: 'frames' }>> {
  const captured = await capture(position)
  if (captured.type !== 'frames') throw new Error(`captured ${captured.type}`)
  return captured
}

test('captures go on where the last one ended and equal the image of SQLite', async () => {
  const first = await frames(null)
  insert(50, 400)
  const second = await frames(first.to)
  expect(second.from).toEqual(first.to)
  expect((await frames(second.to)).pages.size).toBe(0)
  const image = db.serialize()
  const pageSize = second.header.pageSize
  expect(second.commit * pageSize).toBe(image.length)
  for (const [pgno, page] of new Map([...first.pages, ...second.pages]))
    expect(Buffer.compare(page, image.subarray((pgno - 1) * pageSize, pgno * pageSize))).toBe(0)
})

test('a rolled-back transaction that was spilled is no part of it', async () => {
  const before = await frames(null)
  db.run('PRAGMA cache_size = 2')
  db.run('BEGIN')
  insert(50, 2_000)
  db.run('ROLLBACK')
  expect((await frames(before.to)).pages.size).toBe(0)
  db.run("INSERT INTO t (v) VALUES ('kept')")
  const after = await frames(before.to)
  expect(after.pages.size).toBeGreaterThan(0)
  expect(after.commit * after.header.pageSize).toBe(db.serialize().length)
})

test('a WAL that was reset does not match', async () => {
  const before = await frames(null)
  db.run('PRAGMA wal_checkpoint(TRUNCATE)')
  expect((await capture(before.to)).type).toBe('empty')
  db.run("INSERT INTO t (v) VALUES ('x')")
  expect((await capture(before.to)).type).toBe('mismatch')
  expect((await frames(null)).pages.size).toBeGreaterThan(0)
})

test('a torn tail ends the capture at the last whole transaction', async () => {
  db.run("INSERT INTO t (v) VALUES ('first')")
  const whole = await frames(null)
  db.run("INSERT INTO t (v) VALUES ('second')")
  const bytes = await Bun.file(`${path}-wal`).bytes()
  for (const cut of [1, 24, 4_000]) {
    await Bun.write(join(dir, 'torn'), bytes.slice(0, bytes.length - cut))
    const file = await open(join(dir, 'torn'), 'r')
    const torn = await captureWal(file, null)
    await file.close()
    expect(torn.type === 'frames' && torn.to).toEqual(whole.to)
  }
  const flipped = bytes.slice()
  flipped[whole.to.offset + 100]! ^= 1
  await Bun.write(join(dir, 'flipped'), flipped)
  const file = await open(join(dir, 'flipped'), 'r')
  const captured = await captureWal(file, null)
  await file.close()
  expect(captured.type === 'frames' && captured.to).toEqual(whole.to)
})

test('big-endian checksums are read as well', async () => {
  const bytes = (await Bun.file(`${path}-wal`).bytes()).slice()
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 0x377f0683)
  const put = (at: number, sum: { s0: number; s1: number }) => {
    view.setUint32(at, sum.s0)
    view.setUint32(at + 4, sum.s1)
    return sum
  }
  let sum = put(24, walChecksum(bytes.subarray(0, 24), false, { s0: 0, s1: 0 }))
  const pageSize = view.getUint32(8)
  for (let at = 32; at < bytes.length; at += 24 + pageSize) {
    sum = walChecksum(bytes.subarray(at, at + 8), false, sum)
    sum = put(at + 16, walChecksum(bytes.subarray(at + 24, at + 24 + pageSize), false, sum))
  }
  await Bun.write(join(dir, 'big'), bytes)
  const file = await open(join(dir, 'big'), 'r')
  const big = await captureWal(file, null)
  await file.close()
  const little = await frames(null)
  expect(big.type === 'frames' && big.pages).toEqual(little.pages)
})

test('damaged headers count as an empty WAL', () => {
  expect(decodeWalHeader(new Uint8Array(10))).toBeNull()
  expect(decodeWalHeader(new Uint8Array(32))).toBeNull()
})
