// Goal: what was acknowledged is in the store, in one linear history, whatever requests do. Method: real databases over
// a store in memory that fails as told.

import { expect, setDefaultTimeout, test } from 'bun:test'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { seededRng } from '../../src/lib/rng.ts'
import {
  FencedError,
  HistoryExistsError,
  LtxGapError,
  NeverShippedError,
  StaleEpochError,
} from '../../src/replicate/errors.ts'
import { createHistory, openHistory } from '../../src/replicate/history.ts'
import { listLtx, slotKey } from '../../src/replicate/ltx-store.ts'
import { until } from '../support/wait.ts'
import { deadlineMs, Owner, prefix, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const deps = { clock: systemClock, rng: seededRng(99) }

test('every TXID restores byte for byte, over page sizes, vacuum and schema changes', async () => {
  for (const pageSize of [512, 4_096, 65_536])
    for (const autoVacuum of [false, true]) {
      const store = new MemoryObjectStore()
      await using owner = await Owner.create(store, { pageSize, autoVacuum })
      expect(owner.db.pageSize).toBe(pageSize)
      const hashes = new Map<Txid, string>([[owner.shipper.txid, owner.hash()]])
      const step = async (body: () => void) => {
        await owner.db.transaction(body)
        await owner.flush()
        hashes.set(owner.shipper.txid, owner.hash())
      }
      const rng = seededRng(pageSize)
      for (let i = 0; i < 8; i++)
        await step(() => owner.db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(pageSize * 4)]))
      await step(() => {
        owner.db.exec('CREATE INDEX by_v ON t (length(v))')
        owner.db.exec('CREATE TABLE u (x)')
      })
      await step(() => owner.db.run('DELETE FROM t WHERE id > 2'))
      await step(() => owner.db.exec('DROP TABLE u'))
      await step(() => owner.db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(pageSize * 30)]))
      expect(hashes.size).toBe(13)
      for (const [txid, hash] of hashes) expect(await restoredHash(owner.at, txid)).toBe(hash)
      expect(await restoredHash(owner.at, null)).toBe(owner.hash())
    }
})

test('several commits become one file; nothing new becomes none; a timer ships without a waiter', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { delayMs: 20 })
  for (let i = 0; i < 5; i++) await owner.insert(`v${i}`)
  await until('the timer to ship', () => owner.shipper.lagMs === 0, deadlineMs)
  expect(owner.shipper.txid).toBe(2 as Txid)
  const requests = store.requestCount
  await owner.flush()
  await owner.db.transaction(() => {}) // commits, but changes nothing
  await owner.flush()
  expect(store.requestCount).toBe(requests)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('an idle database makes no request and has no timer', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { delayMs: 5 })
  await owner.insert('x')
  await owner.flush()
  const requests = store.requestCount
  await Bun.sleep(50)
  expect(store.requestCount).toBe(requests)
})

test('a clean close is reopened from the local files, without reading the history', async () => {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.insert('a')
  expect(await first.close()).toBe(true)
  const requests = store.requestCount
  await using second = await Owner.open(store, 1, { dir: first.dir })
  expect(second.origin).toBe('local')
  expect(store.requestCount - requests).toBe(3) // a listing, the tail, the seal
  await second.insert('b')
  await second.flush()
  expect(second.values()).toEqual(['a', 'b'])
  expect(await restoredHash(second.at, null)).toBe(second.hash())
})

test('commits that a killed owner had not shipped are sent by its restart', async () => {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.insert('shipped')
  await first.flush()
  await first.insert('local only')
  await first.abandon()
  await using second = await Owner.open(store, 1, { dir: first.dir })
  expect(second.origin).toBe('local')
  await second.flush()
  expect(second.values()).toEqual(['shipped', 'local only'])
  expect(await restoredHash(second.at, null)).toBe(second.hash())
})

test('an owner killed between the store taking a file and its answer goes on from the local files', async () => {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.insert('one')
  store.fault = (operation) =>
    operation === 'put' ? { type: 'lost-reply' } : operation === 'get' ? { type: 'error', status: 503 } : null
  const attempt = first.flush().catch(() => undefined)
  await until('the file to be in its slot', () => store.keys.length === 2, deadlineMs)
  await first.abandon()
  await attempt
  store.fault = null
  await using second = await Owner.open(store, 1, { dir: first.dir })
  expect(second.origin).toBe('local')
  await second.insert('two')
  await second.flush()
  expect(second.values()).toEqual(['one', 'two'])
  expect(await restoredHash(second.at, null)).toBe(second.hash())
})

test('another node restores, and local files of an older state are caught up', async () => {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.insert('a')
  await first.close()
  await using second = await Owner.open(store, 2)
  expect(second.origin).toBe('restored')
  await second.insert('b')
  await second.close()
  await using back = await Owner.open(store, 3, { dir: first.dir })
  expect(back.origin).toBe('caught-up')
  expect(back.values()).toEqual(['a', 'b'])
  expect(await restoredHash(back.at, null)).toBe(back.hash())
})

test('a lost reply is no fence: the slot holds our own bytes', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  let lost = 0
  store.fault = (operation) => (operation === 'put' && lost++ < 3 ? { type: 'lost-reply' } : null)
  for (let i = 0; i < 6; i++) {
    await owner.insert(`v${i}`)
    await owner.flush()
  }
  expect(lost).toBeGreaterThan(3)
  expect(owner.fencedBy).toBeNull()
  expect(owner.shipper.txid).toBe(7 as Txid)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('an outage delays, loses nothing, leaves no hole, and a wait ends at its deadline', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { delayMs: 10 })
  store.fault = (operation) => (operation === 'put' ? { type: 'error', status: 503 } : null)
  await owner.insert('during')
  await expect(owner.shipper.flush(30)).rejects.toMatchObject({ code: 'timeout' })
  await owner.insert('the outage')
  await until('a second attempt', () => owner.shipper.failuresInRow >= 2, deadlineMs)
  expect(owner.shipper.lagMs).toBeGreaterThan(20)
  store.fault = null
  await owner.flush()
  expect(owner.shipper.lagMs).toBe(0)
  expect(owner.shipper.failuresInRow).toBe(0)
  const txids = (await listLtx(owner.at)).map((file) => Number(file.maxTxid)).sort((a, b) => a - b)
  expect(txids).toEqual([1, 2, 3])
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('two owners: the old one is fenced, acknowledges nothing after the seal, and one history results', async () => {
  const store = new MemoryObjectStore()
  await using old = await Owner.create(store)
  await old.insert('before')
  await old.flush()
  await using heir = await Owner.open(store, 2)
  const seq = await old.insert('lost')
  await expect(old.shipper.waitDurable(seq, deadlineMs)).rejects.toBeInstanceOf(FencedError)
  expect(old.fencedBy?.foundEpoch).toBe(2)
  await expect(old.flush()).rejects.toBeInstanceOf(FencedError)
  await heir.insert('after')
  await heir.flush()
  expect(heir.values()).toEqual(['before', 'after'])
  expect(await old.shipper.close({ deadlineMs })).toBe(false)
  expect(await restoredHash(heir.at, null)).toBe(heir.hash())
  await using third = await Owner.open(store, 3, { dir: old.dir })
  expect(third.origin).toBe('restored')
  expect(third.values()).toEqual(['before', 'after'])
})

test('a delayed owner of an older epoch stops and writes nothing', async () => {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.close()
  await using rightful = await Owner.open(store, 5)
  const keys = store.keys
  const late = openHistory({ store, prefix }, `${rightful.dir}/late.db`, { epoch: 4, ...deps })
  await expect(late).rejects.toBeInstanceOf(StaleEpochError)
  expect(store.keys).toEqual(keys)
  await rightful.insert('fine')
  await rightful.flush()
  expect(rightful.fencedBy).toBeNull()
})

test('a race of a shipping owner and a takeover never interleaves', async () => {
  for (let round = 0; round < 15; round++) {
    const store = new MemoryObjectStore()
    const rng = seededRng(round)
    store.fault = () => ({ type: 'delay', delayMs: rng.below(3) })
    await using old = await Owner.create(store, { delayMs: 1 })
    const acked: string[] = []
    const writing = (async () => {
      for (let i = 0; ; i++) {
        const value = `old ${i}`
        await old.shipper.waitDurable(await old.insert(value), deadlineMs)
        acked.push(value)
      }
    })()
    const ended = writing.catch((error) => error)
    await until('a few acknowledged writes', () => acked.length > round % 5, deadlineMs)
    await using heir = await Owner.open(store, 2)
    await heir.insert('heir')
    await heir.flush()
    expect(await ended).toBeInstanceOf(FencedError)
    const values = heir.values()
    expect(values.slice(0, acked.length)).toEqual(acked)
    expect(values.at(-1)).toBe('heir')
    store.fault = null
    expect(await restoredHash(heir.at, null)).toBe(heir.hash())
    const slots = (await listLtx(heir.at)).filter((file) => file.level === 0).length
    expect(slots).toBe(Number(heir.shipper.txid))
  }
})

test('random faults: every acknowledged write is in the history', async () => {
  for (let round = 0; round < 8; round++) {
    const store = new MemoryObjectStore()
    const rng = seededRng(1_000 + round)
    await using owner = await Owner.create(store, { delayMs: 3 })
    store.fault = () => {
      const roll = rng.below(10)
      if (roll < 2) return { type: 'error', status: 503 }
      if (roll < 4) return { type: 'lost-reply' }
      return roll < 6 ? { type: 'delay', delayMs: rng.below(4) } : null
    }
    const acked: string[] = []
    for (let i = 0; i < 12; i++) {
      const seq = await owner.insert(`${round}.${i}`)
      if (rng.below(2) === 0) {
        await owner.shipper.waitDurable(seq, deadlineMs)
        acked.push(`${round}.${i}`)
      }
    }
    store.fault = null
    await owner.abandon()
    await using heir = await Owner.open(store, 2)
    const values = new Set(heir.values())
    for (const value of acked) expect(values.has(value)).toBe(true)
    expect(owner.fencedBy).toBeNull()
  }
})

test('a WAL that somebody else checkpointed is followed by a whole image', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  await owner.insert('a')
  await owner.db.exclusively(() => owner.db.checkpoint('TRUNCATE')) // not by the shipper
  await owner.insert('b')
  await owner.flush()
  expect(owner.values()).toEqual(['a', 'b'])
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('a long WAL is checkpointed once shipped, and shipping goes on in the next one', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  const rng = seededRng(3)
  for (let i = 0; i < 60; i++) {
    await owner.insert(rng.bytes(400_000))
    await owner.flush()
  }
  // The WAL file would hold 24 MB otherwise.
  expect(Bun.file(owner.db.walPath).size).toBeLessThan(18_000_000)
  const images = (await listLtx(owner.at)).filter((file) => file.sizeBytes > 1_500_000 && file.maxTxid > 2)
  expect(images).toEqual([]) // no whole image was needed after a reset of our own
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('a write storm without pauses is checkpointed all the same', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { delayMs: 1 })
  store.fault = () => ({ type: 'delay', delayMs: 5 })
  const block = seededRng(3).bytes(500_000)
  for (let i = 0; i < 100; i++) {
    await owner.insert(block)
    if (i % 4 === 0) await Bun.sleep(0) // as a real writer, which does not hold the event loop
  }
  await owner.flush()
  expect(Bun.file(owner.db.walPath).size).toBeLessThan(40_000_000)
  store.fault = null
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('never shipped, existing, and holed histories are told apart', async () => {
  const store = new MemoryObjectStore()
  await expect(openHistory({ store, prefix }, '/nowhere/data.db', { epoch: 1, ...deps })).rejects.toBeInstanceOf(
    NeverShippedError,
  )
  await using owner = await Owner.create(store)
  await expect(createHistory(owner.at, owner.db, { epoch: 1, ...deps })).rejects.toBeInstanceOf(HistoryExistsError)
  for (let i = 0; i < 3; i++) {
    await owner.insert('x')
    await owner.flush()
  }
  await store.delete([slotKey(owner.at, 3 as Txid)])
  await expect(restoredHash(owner.at, null)).rejects.toBeInstanceOf(LtxGapError)
  await expect(openHistory(owner.at, '/nowhere/data.db', { epoch: 2, ...deps })).rejects.toBeInstanceOf(LtxGapError)
})

test('a damaged file is refused by name and the database in place stays', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  await owner.insert('x')
  await owner.flush()
  const key = slotKey(owner.at, 2 as Txid)
  const bytes = await store.get(key)
  bytes[bytes.length - 40]! ^= 1
  await store.put(key, bytes)
  await expect(restoredHash(owner.at, null)).rejects.toThrow('0000000000000002-0000000000000002.ltx is damaged')
})

test('while the store fails, the WAL is written through to the disk; a disk that fails too does not end the attempts', async () => {
  const store = new MemoryObjectStore()
  const synced: string[] = []
  const syncFile = async (path: string) => {
    synced.push(path)
    throw new Error('no space left')
  }
  await using owner = await Owner.create(store, { syncFile })
  await owner.insert('a')
  await owner.flush()
  expect(synced).toEqual([]) // a store that is well is the better disk
  store.fault = () => ({ type: 'error', status: 503 })
  const requests = store.requestCount
  const seq = await owner.insert('b')
  const shipped = owner.shipper.waitDurable(seq, deadlineMs)
  await until('more attempts', () => store.requestCount >= requests + 3, deadlineMs)
  expect(synced).toEqual([owner.db.walPath]) // once a second
  store.fault = null
  await shipped
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})
