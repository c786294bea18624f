// Goal: a restore of large files reads little, proves what it can, and leaves either the right database or the old one.
// Method: histories of a real SQLite database above the size that is fetched whole, in a metered store in memory; every
// way to damage them.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { MeteredObjectStore } from '../../src/lib/object-store/metered.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { DamagedDatabaseError } from '../../src/replicate/check-file.ts'
import { DamagedFileError } from '../../src/replicate/errors.ts'
import { decodeLtx } from '../../src/replicate/ltx/decoder.ts'
import { encodeLtx, imagePages } from '../../src/replicate/ltx/encoder.ts'
import { LtxFormatError } from '../../src/replicate/ltx/errors.ts'
import { decodeLtxHeader } from '../../src/replicate/ltx/header.ts'
import { listLtx, ltxKey, slotKey } from '../../src/replicate/ltx-store.ts'
import type { RestoreProgress } from '../../src/replicate/plan-restore.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import { Owner, restoredHash as restoredHashOf, sha256 } from './histories.ts'
import { ImageHistory } from './image-histories.ts'

/** Others may use the machine; nothing here waits for time. */
setDefaultTimeout(180_000)

const dir = mkdtempSync(join(tmpdir(), 'pf-restore-'))
const path = join(dir, 'data.db')
const seed = Number(process.env['SEED'] ?? 7)
const store = new MemoryObjectStore()
const history = new ImageHistory(store)
const { at } = history

// Slot 1: 10 MB that do not compress. 2: a quarter of it changed. 3: a small change. 4: shrunk by half.
beforeAll(async () => {
  const rng = seededRng(seed)
  await history.ship((db) => {
    db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
    const insert = db.prepare('INSERT INTO t (v) VALUES (?)')
    db.transaction(() => {
      for (let row = 0; row < 5_000; row++) insert.run(rng.bytes(2_000))
    })()
  })
  await history.ship((db) => db.run('UPDATE t SET v = randomblob(2000) WHERE id BETWEEN 1000 AND 2500'))
  await history.ship((db) => db.run('UPDATE t SET v = randomblob(2000) WHERE id = 4000'))
  await history.ship((db) => {
    db.run('DELETE FROM t WHERE id > 2000')
    db.run('VACUUM')
  })
}, 180_000)
afterAll(() => {
  history[Symbol.dispose]()
  rmSync(dir, { recursive: true, force: true })
})

const restoredHash = () => sha256(readFileSync(path))

test(`every slot is restored byte for byte (SEED=${seed})`, async () => {
  expect(history.sizes[0]).toBeGreaterThan(9 << 20)
  expect(history.sizes[1]).toBeGreaterThan(2 << 20)
  for (const [i, image] of history.images.entries()) {
    const restored = await restoreDatabase(at, path, { target: (i + 1) as Txid })
    expect(restoredHash()).toBe(sha256(image))
    expect(restored.txid).toBe((i + 1) as Txid)
    // A file that is read in part has no checksum to compare, so SQLite looks at the result.
    expect(restored.checked).toBe(restored.isProven ? 'none' : 'quick')
  }
})

test('superseded pages are not downloaded, and requests are few', async () => {
  const metered = new MeteredObjectStore(store)
  const target = 3 as Txid
  const { isProven, bytesRead } = await restoreDatabase({ ...at, store: metered }, path, { target })
  const { calls, bytesReceived } = metered.reading
  expect(isProven).toBe(false)
  expect(bytesReceived).toBe(bytesRead)
  // Every page once, and the two ends of two large files; nothing is read of a page that is in a newer file.
  const ends = 2 * (100 + (32 << 10))
  const framesBytes = (history.images[2]!.length / 4_096) * (4_096 + 10 + 17)
  expect(bytesRead).toBeLessThan(framesBytes + ends + history.sizes[2]!)
  expect(calls.list).toBe(1)
  expect(calls.get).toBeLessThanOrEqual(1 + 2 * 2 + 5)
})

test('a file that is half superseded is read whole where it is small beside all others, so that checksums prove the result', async () => {
  const from = new MemoryObjectStore()
  using made = new ImageHistory(from)
  const rng = seededRng(seed)
  await made.ship((db) => {
    db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
    const insert = db.prepare('INSERT INTO t (v) VALUES (?)')
    db.transaction(() => {
      for (let row = 0; row < 11_000; row++) insert.run(rng.bytes(3_500)) // a page each
    })()
  })
  await made.ship((db) => db.run('UPDATE t SET v = randomblob(3500) WHERE id BETWEEN 1000 AND 1700'))
  await made.ship((db) => db.run('UPDATE t SET v = randomblob(3500) WHERE id BETWEEN 1350 AND 2050'))
  expect(Math.min(...made.sizes)).toBeGreaterThan(2 << 20)
  const { isProven, checked } = await restoreDatabase(made.at, path, { target: null })
  expect({ isProven, checked }).toEqual({ isProven: true, checked: 'none' })
  expect(restoredHash()).toBe(sha256(made.images.at(-1)!))

  // A page of the second slot that the third supersedes: its damage is found all the same.
  const key = slotKey(made.at, 2 as Txid)
  const bytes = (await from.get(key)).slice()
  const at = Math.floor(bytes.length * 0.75)
  bytes[at] = bytes[at]! ^ 1
  await from.delete([key])
  await from.put(key, bytes)
  await expect(restoreDatabase(made.at, path, { target: null })).rejects.toBeInstanceOf(DamagedFileError)
})

test('seals are not fetched, but for the newest', async () => {
  const sealed = new MemoryObjectStore()
  let epoch = 1
  await (await Owner.create(sealed)).close()
  for (; epoch < 8; epoch++) await (await Owner.open(sealed, epoch + 1)).close()
  const metered = new MeteredObjectStore(sealed)
  const { filesCount } = await restoreDatabase({ ...at, store: metered }, path, { target: null })
  expect(filesCount).toBe(epoch)
  expect(metered.reading.calls.get).toBe(2)
  expect(await restoredHashOf({ ...at, store: sealed }, null)).toBe(sha256(readFileSync(path)))
})

test('progress only grows and ends at all', async () => {
  const seen: RestoreProgress[] = []
  await restoreDatabase(at, path, { target: 3 as Txid, onProgress: (each) => seen.push(each) })
  for (const [i, each] of seen.entries()) {
    expect(each.bytesDone).toBeLessThanOrEqual(each.bytesTotal)
    if (i > 0) expect(each.pagesDone).toBeGreaterThanOrEqual(seen[i - 1]!.pagesDone)
  }
  const last = seen.at(-1)!
  expect(last.pagesDone).toBe(last.pagesTotal)
  expect(last.bytesDone).toBe(last.bytesTotal)
})

/** The history with one object replaced. */
async function withObject(key: string, body: Uint8Array): Promise<MemoryObjectStore> {
  const copy = new MemoryObjectStore()
  for (const each of store.keys) await copy.put(each, each === key ? body : await store.get(each))
  return copy
}

/** What a failed restore throws; the database that was there must be untouched and nothing else left. */
async function failure(from: MemoryObjectStore, target: Txid, signal?: AbortSignal): Promise<unknown> {
  writeFileSync(path, 'the old database')
  writeFileSync(`${path}-wal`, 'its WAL')
  try {
    const options = signal === undefined ? {} : { signal }
    await restoreDatabase({ ...at, store: from }, path, { target, ...options })
  } catch (error) {
    expect(readFileSync(path, 'utf8')).toBe('the old database')
    expect(readFileSync(`${path}-wal`, 'utf8')).toBe('its WAL')
    expect(existsSync(`${path}.restoring`)).toBe(false)
    return error
  }
  return null
}

describe('a damaged history', () => {
  test(`a flipped bit anywhere in a file that is read whole is found, with the object's name (SEED=${seed})`, async () => {
    const rng = seededRng(seed)
    const key = slotKey(at, 1 as Txid)
    const good = await store.get(key)
    for (let round = 0; round < 12; round++) {
      // Once in each part: header, frames, index, trailer, then anywhere.
      const parts = [10, 5_000_000, good.length - 4_000, good.length - 20, good.length - 3]
      const place = parts[round] ?? rng.below(good.length)
      const bad = good.slice()
      bad[place] = bad[place]! ^ (1 << rng.below(8))
      const error = await failure(await withObject(key, bad), 1 as Txid)
      expect(error).toBeInstanceOf(LtxFormatError)
      expect((error as Error).message).toContain(key)
    }
  })

  test('a file that ends early', async () => {
    const key = slotKey(at, 1 as Txid)
    const good = await store.get(key)
    for (const length of [good.length - 1, 3 << 20, 99]) {
      const error = await failure(await withObject(key, good.slice(0, length)), 1 as Txid)
      expect(error).toBeInstanceOf(LtxFormatError)
    }
    // The listing still has the old size.
    const files = await listLtx(at)
    const shorter = await withObject(key, good.slice(0, 6 << 20))
    const read = restoreDatabase({ ...at, store: shorter }, path, { target: 1 as Txid, files })
    await expect(read).rejects.toThrow(/ends at byte/)
  })

  test('pages swapped under an index that is right in itself', async () => {
    // Slots 1 and 2 are both large; slot 1 is then read in part, without a checksum.
    const key = slotKey(at, 1 as Txid)
    const bad = await store.get(key)
    const view = new DataView(bad.buffer, bad.byteOffset)
    const second = 100 + 10 + view.getUint32(106)
    view.setUint32(second, 3)
    const error = await failure(await withObject(key, bad), 2 as Txid)
    expect(error).toBeInstanceOf(LtxFormatError)
    expect(Bun.inspect(error)).toContain(`page 2 is not where the index says, at byte ${second}`)
  })

  test('content of a page that no checksum covers is left to SQLite, before the file takes its name', async () => {
    const key = slotKey(at, 1 as Txid)
    const pages = new Map<number, Uint8Array>()
    const good = await store.get(key)
    const header = decodeLtxHeader(good)
    decodeLtx(good, () => (pgno, page) => pages.set(pgno, page.slice()))
    // The last pages are leaves that slot 2 does not have.
    pages.set(header.commit, new Uint8Array(4_096).fill(0xff))
    const error = await failure(await withObject(key, encodeLtx(header, pages, 0).bytes), 2 as Txid)
    expect(error).toBeInstanceOf(DamagedDatabaseError)
  })

  test('a header that claims more pages than the files can hold', async () => {
    const bad = await store.get(slotKey(at, 4 as Txid))
    new DataView(bad.buffer, bad.byteOffset).setUint32(12, 0xffff_ffff)
    const error = await failure(await withObject(slotKey(at, 4 as Txid), bad), 4 as Txid)
    expect(error).toBeInstanceOf(LtxFormatError)
    expect(Bun.inspect(error)).toContain('claims 4294967295 pages')
  })

  test('another file under this name', async () => {
    const other = await store.get(slotKey(at, 2 as Txid))
    expect(await failure(await withObject(slotKey(at, 1 as Txid), other), 2 as Txid)).toBeInstanceOf(LtxFormatError)
  })
})

describe('a damaged merged file', () => {
  const imageOf = (maxTxid: number) => ltxKey(at, { level: 9, minTxid: 1 as Txid, maxTxid: maxTxid as Txid })

  /** The history with a whole image of a TXID, after something was done to it. */
  async function withImage(txid: number, change: (bytes: Uint8Array) => Uint8Array): Promise<MemoryObjectStore> {
    const copy = await withObject('none', new Uint8Array(0))
    const header = { ...decodeLtxHeader(await store.get(slotKey(at, txid as Txid))), minTxid: 1 as Txid }
    await copy.put(imageOf(txid), change(encodeLtx(header, imagePages(history.images[txid - 1]!, 4_096), 0).bytes))
    return copy
  }

  const flip = (place: (length: number) => number) => (bytes: Uint8Array) => {
    bytes[place(bytes.length)]! ^= 4
    return bytes
  }

  /** Restores the newest state, or `target`, and says which files it went around. */
  async function around(from: MemoryObjectStore, target: Txid | null = null): Promise<string[]> {
    const found: string[] = []
    const onDamaged = (error: DamagedFileError) => found.push(error.message)
    await restoreDatabase({ ...at, store: from }, path, { target, onDamaged })
    return found
  }

  test('is gone around by what it was made of, and named', async () => {
    const changes = [
      flip(() => 10),
      flip((length) => length >> 1),
      flip((length) => length - 3),
      (bytes: Uint8Array) => bytes.subarray(0, bytes.length >> 1),
    ]
    for (const change of changes) {
      const from = await withImage(3, change)
      expect(await around(from, 3 as Txid)).toEqual([expect.stringContaining(imageOf(3))])
      expect(restoredHash()).toBe(sha256(history.images[2]!))
      await around(from) // here only a part of it is read, and perhaps not the damaged one
      expect(restoredHash()).toBe(sha256(history.images[3]!))
    }
    const whole = await withImage(3, (bytes) => bytes)
    expect(await around(whole)).toEqual([])
    expect(restoredHash()).toBe(sha256(history.images[3]!))
  })

  test('is found also where only a part of it is read and SQLite alone sees it', async () => {
    // The first byte of the last page, a leaf: the first literal of its LZ4 block, behind the token and its lengths.
    const from = await withImage(1, (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset)
      let token = 0
      for (let frame = 100; view.getUint32(frame) !== 0; frame += 10 + view.getUint32(frame + 6)) token = frame + 10
      let literal = token + 1
      if (bytes[token]! >> 4 === 15) while (bytes[literal++] === 255);
      expect(bytes[literal]).toBe(13)
      bytes[literal] = 99
      return bytes
    })
    expect(await failure(from, 2 as Txid)).toBeInstanceOf(DamagedDatabaseError)
    expect(await around(from, 2 as Txid)).toEqual([expect.stringContaining(imageOf(1))])
    expect(restoredHash()).toBe(sha256(history.images[1]!))
  })

  test('is an error where nobody is told, and where nothing else holds its TXIDs', async () => {
    const from = await withImage(
      3,
      flip(() => 10),
    )
    expect(await failure(from, 4 as Txid)).toBeInstanceOf(LtxFormatError)
    await from.delete([slotKey(at, 2 as Txid)])
    await expect(around(from)).rejects.toThrow(imageOf(3))
    // Never an older state in place of the newest: here the image alone holds it.
    const last = await withImage(
      4,
      flip(() => 10),
    )
    await last.delete([slotKey(at, 4 as Txid)])
    await expect(around(last)).rejects.toThrow(imageOf(4))
  })

  test('beside a damaged slot is an error, which names the slot', async () => {
    const from = await withImage(
      3,
      flip(() => 10),
    )
    await from.put(slotKey(at, 2 as Txid), (await store.get(slotKey(at, 2 as Txid))).subarray(0, 5_000))
    await expect(around(from)).rejects.toThrow(slotKey(at, 2 as Txid))
  })
})

test('a range that arrived damaged once is asked for again', async () => {
  const key = slotKey(at, 1 as Txid)
  const good = await store.get(key)
  let damagedReads = 0
  const flaky = new Proxy(store, {
    get(target, name) {
      if (name !== 'get') return Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name)
      return async (asked: string, options: Parameters<MemoryObjectStore['get']>[1] = {}) => {
        const bytes = await target.get(asked, options)
        // The first range of frames; the ends of the file are smaller.
        if (asked === key && bytes.length > 1 << 20 && damagedReads++ === 0) bytes[4] = 0xff
        return bytes
      }
    },
  })
  await restoreDatabase({ ...at, store: flaky }, path, { target: 1 as Txid })
  expect(damagedReads).toBeGreaterThan(1)
  expect(restoredHash()).toBe(sha256(history.images[0]!))
  expect(good.length).toBe(history.sizes[0]!)
})

test('a listing that is older than the retention is read again', async () => {
  const copy = await withObject('none', new Uint8Array(0))
  const files = await listLtx({ ...at, store: copy })
  // A snapshot took the place of the first slots meanwhile; here simply the same bytes under level 9.
  const first = await copy.get(slotKey(at, 1 as Txid))
  await copy.put(slotKey(at, 1 as Txid).replace('/0000/', '/0009/'), first)
  await copy.delete([slotKey(at, 1 as Txid)])
  await restoreDatabase({ ...at, store: copy }, path, { target: 2 as Txid, files })
  expect(restoredHash()).toBe(sha256(history.images[1]!))
})

test('an abort ends it with its reason and leaves nothing', async () => {
  const stop = new AbortController()
  const slow = await withObject('none', new Uint8Array(0))
  slow.fault = (operation, key) => {
    if (operation === 'get' && key === slotKey(at, 1 as Txid)) stop.abort(new Error('changed our mind'))
    return null
  }
  const error = await failure(slow, 2 as Txid, stop.signal)
  expect((error as Error).message).toBe('changed our mind')
})

test('ten restores at once share threads and memory', async () => {
  await Promise.all(
    Array.from({ length: 10 }, async (_, i) => {
      const target = (1 + (i % 4)) as Txid
      const own = join(dir, `${i}.db`)
      await restoreDatabase(at, own, { target, check: i % 2 === 0 ? 'full' : 'none' })
      expect(sha256(readFileSync(own))).toBe(sha256(history.images[target - 1]!))
      rmSync(own)
    }),
  )
})
