// Goal: a time names the state that was true then, and going back is one more step forward.

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { FencedError } from '../../src/replicate/errors.ts'
import { getSlot } from '../../src/replicate/ltx-store.ts'
import { pointAt, rollBackTo } from '../../src/replicate/point-in-time.ts'
import { deadlineMs, Owner, restoredHash } from './histories.ts'

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
  expect(undone.origin).toBe('restored')
  expect(undone.values()).toEqual(['a', 'b', 'c'.repeat(50_000)])
})
