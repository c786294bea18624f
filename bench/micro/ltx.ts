// How fast the codecs are on one core: `bun bench/micro/ltx.ts`. Prints one JSON row a line: {name, value, unit}. MB are
// 10^6 bytes of plain database pages; the best of several rounds counts, because other work only ever slows one down.

import { Database } from 'bun:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { Crc64 } from '../../src/lib/crc/crc64.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { decodeLtx } from '../../src/replicate/ltx/decoder.ts'
import { encodeLtx, imagePages } from '../../src/replicate/ltx/encoder.ts'
import type { LtxHeader } from '../../src/replicate/ltx/header.ts'
import { decodeLz4Block, Lz4BlockEncoder, lz4BlockBound } from '../../src/replicate/ltx/lz4.ts'
import { captureWal } from '../../src/replicate/wal/reader.ts'

const pageSize = 4_096
const rowsCount = 40_000
const rounds = 5

function print(name: string, value: number, unit: string): void {
  console.log(JSON.stringify({ name, value: Math.round(value * 1_000) / 1_000, unit }))
}

async function best(work: () => void | Promise<void>): Promise<number> {
  let bestMs = Number.POSITIVE_INFINITY
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now()
    await work()
    bestMs = Math.min(bestMs, performance.now() - startMs)
  }
  return bestMs
}

function megabytesPerSecond(sizeBytes: number, timeMs: number): number {
  return sizeBytes / 1e6 / (timeMs / 1e3)
}

/** Rows such as applications store: ids, words, numbers, dates. Left in the WAL. */
function fill(path: string): Database {
  const db = new Database(path, { create: true })
  db.run(`PRAGMA page_size = ${pageSize}`)
  db.run('PRAGMA journal_mode = WAL')
  db.run('PRAGMA wal_autocheckpoint = 0')
  db.run('CREATE TABLE posts (id TEXT PRIMARY KEY, title TEXT, body TEXT, views INTEGER, created TEXT) WITHOUT ROWID')
  const rng = seededRng(1)
  const words = 'lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt labore'.split(
    ' ',
  )
  const text = (count: number) => Array.from({ length: count }, () => words[rng.below(words.length)]).join(' ')
  const insert = db.prepare('INSERT INTO posts VALUES (?, ?, ?, ?, ?)')
  db.transaction(() => {
    for (let row = 0; row < rowsCount; row++) {
      const id = Buffer.from(rng.bytes(8)).toString('hex')
      insert.run(id, text(4), text(30), rng.below(100_000), `2026-01-${1 + (row % 28)} 12:00:00.000Z`)
    }
  })()
  return db
}

const dir = mkdtempSync(join(tmpdir(), 'pf-bench-ltx-'))
try {
  const path = join(dir, 'data.db')
  const db = fill(path)
  const image = new Uint8Array(db.serialize())
  const pages = imagePages(image, pageSize)
  const header: LtxHeader = {
    pageSize,
    commit: image.length / pageSize,
    minTxid: 1 as Txid,
    maxTxid: 1 as Txid,
    timestampMs: 1_700_000_000_000,
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer: { epoch: 1, incarnation: 1 },
  }

  const checksum = new Crc64().update(image).value
  const crc = await best(() => {
    if (new Crc64().update(image).value !== checksum) throw new Error('the checksum changed')
  })
  print('crc64', megabytesPerSecond(image.length, crc), 'MB/s')

  const lz4 = new Lz4BlockEncoder()
  const target = new Uint8Array(lz4BlockBound(pageSize))
  const compress = await best(() => {
    for (const page of pages.values()) lz4.encode(page, target)
  })
  print('lz4 encode', megabytesPerSecond(image.length, compress), 'MB/s')
  const blocks = [...pages.values()].map((page) => target.slice(0, lz4.encode(page, target)))
  const plain = new Uint8Array(pageSize)
  const expand = await best(() => {
    for (const block of blocks) decodeLz4Block(block, plain)
  })
  print('lz4 decode', megabytesPerSecond(image.length, expand), 'MB/s')
  print('lz4 ratio', blocks.reduce((sum, block) => sum + block.length, 0) / image.length, 'compressed/plain')

  const encode = await best(() => {
    encodeLtx(header, pages, 0)
  })
  print('ltx encode', megabytesPerSecond(image.length, encode), 'MB/s')
  const { bytes } = encodeLtx(header, pages, 0)
  const decode = await best(() => {
    decodeLtx(bytes, () => () => undefined)
  })
  print('ltx decode', megabytesPerSecond(image.length, decode), 'MB/s')

  const wal = await open(`${path}-wal`, 'r')
  const walBytes = (await wal.stat()).size
  const verify = await best(async () => {
    const read = await captureWal(wal, null)
    if (read.type !== 'frames' || read.commit === 0) throw new Error('the WAL was not read')
  })
  print('wal read and verify', megabytesPerSecond(walBytes, verify), 'MB/s')
  const capture = await best(async () => {
    const read = await captureWal(wal, null)
    if (read.type === 'frames') encodeLtx({ ...header, commit: read.commit }, read.pages, 0)
  })
  print('capture: wal to ltx', megabytesPerSecond(walBytes, capture), 'MB/s')
  await wal.close()
  db.close()
} finally {
  rmSync(dir, { recursive: true, force: true })
}
