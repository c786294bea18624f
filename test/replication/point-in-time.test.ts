// Goal: a time names the state that was true then, and going back is one more step forward.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { FencedError } from '../../src/replicate/errors.ts'
import { getSlot, listLtx } from '../../src/replicate/ltx-store.ts'
import { mergeFiles, Pacer } from '../../src/replicate/merge-files.ts'
import {
  appendImage,
  HistoryMovedError,
  pointAt,
  pointOfTxid,
  restorableFiles,
  restorablePoints,
  rollBackTo,
} from '../../src/replicate/point-in-time.ts'
import { planRestore } from '../../src/replicate/restore-plan.ts'
import { deadlineMs, Owner, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

test('a time means the last slot at or before it', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  for (let i = 0; i < 9; i++) {
    await owner.insert(`v${i}`)
    await owner.flush()
  }
  let previous = 0
  for (let txid = 1; txid <= 10; txid++) {
    const { header } = (await getSlot(owner.at, txid as Txid))!
    expect(header.timestampMs).toBeGreaterThan(previous)
    previous = header.timestampMs
    expect((await pointAt(owner.at, header.timestampMs))?.txid).toBe(txid as Txid)
    expect((await pointAt(owner.at, header.timestampMs - 1))?.txid ?? 0).toBe(txid === 1 ? 0 : ((txid - 1) as Txid))
  }
  expect((await pointAt(owner.at, previous + 1_000_000))?.txid).toBe(10 as Txid)
})

test('going back, going on, and undoing the undo', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  for (const value of ['a', 'b', 'c'.repeat(50_000)]) {
    await owner.insert(value)
    await owner.flush()
  }
  const full = owner.shipper.txid
  const deps = { clock: systemClock, rng: seededRng(4) }
  const scratchPath = join(owner.dir, 'scratch.db')
  const back = await rollBackTo(owner.at, 2 as Txid, { epoch: 2, scratchPath, ...deps })
  expect(await Bun.file(scratchPath).exists()).toBe(false)
  expect(await restoredHash(owner.at, back)).toBe(await restoredHash(owner.at, 2 as Txid))
  const seq = await owner.insert('too late')
  await expect(owner.shipper.waitDurable(seq, deadlineMs)).rejects.toBeInstanceOf(FencedError)

  await using next = await Owner.open(store, 2)
  expect(next.values()).toEqual(['a'])
  await next.insert('d')
  await next.flush()
  expect(await restoredHash(next.at, null)).toBe(next.hash())
  await next.close()

  await rollBackTo(owner.at, full, { epoch: 3, scratchPath, ...deps })
  await using undone = await Owner.open(store, 3, { dir: next.dir })
  expect(undone.origin).toBe('caught-up')
  expect(undone.values()).toEqual(['a', 'b', 'c'.repeat(50_000)])
})

const file = (level: number, minTxid: number, maxTxid: number, sizeBytes = 1_000) => ({
  level,
  minTxid: minTxid as Txid,
  maxTxid: maxTxid as Txid,
  sizeBytes,
  modifiedAtMs: 0,
})

test('what can be restored is what a plan reaches, for any set of files', () => {
  const rng = seededRng(7)
  for (let round = 0; round < 300; round++) {
    const files = Array.from({ length: 1 + rng.below(12) }, () => {
      const minTxid = 1 + rng.below(rng.below(3) === 0 ? 1 : 12)
      return file(rng.below(10), minTxid, minTxid + rng.below(6))
    })
    const expected = [...new Set(files.map(({ maxTxid }) => maxTxid))]
      .sort((a, b) => a - b)
      .filter((txid) => planRestore(files, txid).ok)
    expect(restorableFiles(files).map(({ maxTxid }) => maxTxid)).toEqual(expected)
  }
})

/** Slots 1 to `last` as one file of level 1. */
async function mergeSlots(owner: Owner, last: number): Promise<void> {
  const inputs = (await listLtx(owner.at))
    .filter(({ level, maxTxid }) => level === 0 && maxTxid <= last)
    .map((file) => ({ ...file, timestampMs: null, checksum: null }))
    .sort((a, b) => a.minTxid - b.minTxid)
  const pacer = new Pacer(systemClock, 1e9)
  await mergeFiles(owner.at, { level: 1, inputs }, { clock: systemClock, scratchDir: owner.dir, pacer })
}

test('ranges and latest points, with the older part merged', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  for (let i = 0; i < 79; i++) {
    await owner.insert(`v${i}`)
    await owner.flush()
  }
  await mergeSlots(owner, 64)
  const all = await restorablePoints(owner.at, 3)
  expect(all.ranges.map(({ from, to, resolution }) => [from.txid, to.txid, resolution])).toEqual([
    [1, 80, 'transaction'],
  ] as never)
  expect(all.latest.map(({ txid }) => txid)).toEqual([80, 79, 78] as Txid[])
  // Retention keeps the merged file alone.
  await store.delete(store.keys.filter((key) => /\/0000\/[0-9a-f]{14}[0-3]/.test(key)))
  const left = await restorablePoints(owner.at, 0)
  expect(left.ranges.map(({ from, to, resolution }) => [from.txid, to.txid, resolution])).toEqual([
    [64, 80, 'transaction'],
  ] as never)
  expect(left.latest).toEqual([])
  const oldest = left.ranges[0]!.from
  expect(await pointAt(owner.at, oldest.timestampMs)).toEqual(oldest)
  expect(await pointAt(owner.at, oldest.timestampMs - 1)).toBeNull()
  expect(await pointOfTxid(owner.at, 63 as Txid)).toBeNull()
  expect((await pointOfTxid(owner.at, 70 as Txid))?.txid).toBe(70 as Txid)
})

test('an image is not appended to a history that went on', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  await owner.insert('a')
  await owner.flush()
  const path = join(owner.dir, 'image.db')
  await Bun.write(path, owner.db.image())
  const deps = { epoch: 2, clock: systemClock, rng: seededRng(4) }
  await expect(appendImage(owner.at, path, { ...deps, tail: 1 as Txid })).rejects.toBeInstanceOf(HistoryMovedError)
  const before = await restoredHash(owner.at, null)
  expect(await appendImage(owner.at, path, { ...deps, tail: 3 as Txid })).toBe(5 as Txid)
  expect(await restoredHash(owner.at, null)).toBe(before)
})
