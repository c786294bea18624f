// Goal: a drill passes on every sound history and finds each way in which one may be unsound, also those that a restore
// would not notice. Method: histories of a real database, with an image that takes the place of slots, made false.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { DamagedDatabaseError } from '../../src/replicate/check-file.ts'
import { DrillFailedError, drillHistory } from '../../src/replicate/drill.ts'
import { checksumText, type ManifestFile } from '../../src/replicate/history-manifest.ts'
import { ltxChecksumOf } from '../../src/replicate/ltx/decoder.ts'
import { encodeLtx, imagePages } from '../../src/replicate/ltx/encoder.ts'
import { LtxFormatError } from '../../src/replicate/ltx/errors.ts'
import { decodeLtxHeader } from '../../src/replicate/ltx/header.ts'
import { ltxKey, slotKey } from '../../src/replicate/ltx-store.ts'
import { ImageHistory } from './image-histories.ts'

/** Others may use the machine; nothing here waits for time. */
setDefaultTimeout(180_000)

const dir = mkdtempSync(join(tmpdir(), 'pf-drill-'))
const store = new MemoryObjectStore()
const history = new ImageHistory(store)
const { at } = history
const image = { level: 9, minTxid: 1 as Txid, maxTxid: 3 as Txid }

/** An image of slots 1 to 3 with this content. */
async function putImage(content: Uint8Array): Promise<Uint8Array> {
  const header = decodeLtxHeader(await store.get(slotKey(at, 3 as Txid)))
  const merged = { ...header, minTxid: 1 as Txid, commit: content.length / 4_096 }
  const { bytes } = encodeLtx(merged, imagePages(content, 4_096), merged.commit)
  await store.put(ltxKey(at, image), bytes)
  return bytes
}

beforeAll(async () => {
  await history.ship((db) => {
    db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)') // page 2
    db.run('CREATE TABLE quiet (id INTEGER PRIMARY KEY, v TEXT)') // page 3, which no later slot has
  })
  await history.ship((db) => db.run("INSERT INTO t (v) VALUES ('a'), ('b')"))
  await history.ship((db) => db.run('CREATE INDEX i ON t (v)'))
  await history.ship((db) => db.run("INSERT INTO t (v) VALUES ('c')"))
})
afterAll(() => {
  history[Symbol.dispose]()
  rmSync(dir, { recursive: true, force: true })
})

const noted = (bytes: Uint8Array): ManifestFile[] => [
  { ...image, sizeBytes: bytes.length, timestampMs: null, checksum: checksumText(ltxChecksumOf(bytes)) },
]
const drill = (files: readonly ManifestFile[] = []) =>
  drillHistory(at, dir, { noted: files, clock: systemClock, signal: new AbortController().signal })

test('slots alone: restored and checked; there is no second way', async () => {
  const result = await drill()
  expect(result).toMatchObject({ txid: 4, filesCount: 4, notedCount: 0, otherFilesCount: null })
  expect(result.sizeBytes).toBe(history.images[3]!.length)
  expect(readdirSync(dir)).toEqual([])
})

test('with an image: both ways give the same bytes, and the checksum is the one that was noted', async () => {
  const bytes = await putImage(history.images[2]!)
  expect(await drill(noted(bytes))).toMatchObject({ txid: 4, filesCount: 2, notedCount: 1, otherFilesCount: 4 })
})

test('an image with another content than its slots, sound in itself, is found', async () => {
  const false_ = history.images[2]!.slice()
  // One letter of a row that no index and no check of SQLite looks at twice.
  const place = Buffer.from(false_).lastIndexOf('CREATE INDEX i ON t (v)')
  expect(place).toBeGreaterThan(0)
  false_.set(Buffer.from('CREATE INDEX i ON t (V)'), place)
  const good = await putImage(history.images[2]!)
  await putImage(false_)
  await expect(drill()).rejects.toThrow(DrillFailedError)
  await expect(drill(noted(good))).rejects.toThrow(/its owner noted/)
  await putImage(history.images[2]!)
})

test('damage to a file, and a database that is broken although its files are sound, are found', async () => {
  const bytes = await putImage(history.images[2]!)
  const bad = bytes.slice()
  bad[bad.length >> 1] = bad[bad.length >> 1]! ^ 1
  await store.put(ltxKey(at, image), bad)
  await expect(drill()).rejects.toThrow(LtxFormatError)
  const broken = history.images[2]!.slice()
  broken.fill(0xff, 2 * 4_096, 2 * 4_096 + 100) // the head of page 3
  await putImage(broken)
  await expect(drill()).rejects.toThrow(DamagedDatabaseError)
  expect(readdirSync(dir)).toEqual([])
})
