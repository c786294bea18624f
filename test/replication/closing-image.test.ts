// Goal: a small database that was closed opens again with four requests, and the image that makes it so is exactly what its
// slots say. Method: a real owner that closes; every way in which the local file may not be that state.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { MeteredObjectStore } from '../../src/lib/object-store/metered.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { DamagedDatabaseError } from '../../src/replicate/check-file.ts'
import { closingImage, putClosingImage, wantsClosingImage } from '../../src/replicate/closing-image.ts'
import { drillHistory } from '../../src/replicate/drill.ts'
import { readLocalState, statePath, writeLocalState } from '../../src/replicate/local-state.ts'
import type { UpkeepRunner } from '../../src/replicate/upkeep.ts'
import { Owner, restoredHash } from './histories.ts'

/** Others may use the machine; nothing here waits for time. */
setDefaultTimeout(180_000)

const dir = mkdtempSync(join(tmpdir(), 'pf-closing-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Nothing here is due for it. */
const runner: UpkeepRunner = {
  merge: () => Promise.reject(new Error('not due')),
  retain: () => Promise.reject(new Error('not due')),
}

async function closedOwner(store: MemoryObjectStore, slots: number) {
  const first = await Owner.create(store)
  await first.close()
  const owner = await Owner.open(store, 2, { runner })
  for (let slot = 0; slot < slots; slot++) {
    await owner.insert(seededRng(slot).bytes(3_000))
    await owner.flush()
  }
  const hash = owner.hash()
  const path = owner.db.path
  expect(await owner.close()).toBe(true)
  rmSync(first.dir, { recursive: true })
  return { owner, path, hash, manifest: owner.upkeep!.manifest! }
}

test('the next opening anywhere takes four requests, and both ways give the same bytes', async () => {
  const store = new MemoryObjectStore()
  const { owner, path, hash, manifest } = await closedOwner(store, 6)
  expect(wantsClosingImage(manifest)).toBe(true)
  const image = closingImage(manifest, path)!
  await putClosingImage(owner.at, image)
  const metered = new MeteredObjectStore(store)
  await using heir = await Owner.open(metered, 3)
  expect(heir.hash()).toBe(hash)
  expect(Object.values(metered.reading.calls).reduce((a, b) => a + b, 0)).toBe(4)
  const signal = new AbortController().signal
  const drilled = await drillHistory(owner.at, dir, { noted: [], clock: systemClock, signal })
  expect(drilled.otherFilesCount).toBeGreaterThan(6)
  for (const txid of [2, 4, image.header.maxTxid] as Txid[]) expect(await restoredHash(owner.at, txid)).not.toBe('')
  rmSync(owner.dir, { recursive: true })
})

test('one that is damaged later is gone around, no plan names it again, and the next closing makes another', async () => {
  const store = new MemoryObjectStore()
  const { owner, path, hash, manifest } = await closedOwner(store, 4)
  await putClosingImage(owner.at, closingImage(manifest, path)!)
  const key = store.keys.find((each) => each.includes('/0009/'))!
  const whole = await store.get(key)
  await store.put(key, whole.subarray(0, 200))
  await putClosingImage(owner.at, closingImage(manifest, path)!)
  expect((await store.get(key)).length).toBe(200) // what is there stays
  const damaged: string[] = []
  // The manifest of before names it too.
  const image = { level: 9, minTxid: 1 as Txid, maxTxid: manifest.tail.txid, sizeBytes: 200 }
  const known = { ...manifest, files: [{ ...image, timestampMs: null, checksum: null }] }
  const heir = await Owner.open(store, 3, {
    runner,
    manifest: known,
    onDamaged: (error) => damaged.push(error.message),
  })
  expect(damaged).toEqual([expect.stringContaining(key)])
  expect(heir.hash()).toBe(hash)
  expect(await heir.close()).toBe(true)
  const after = heir.upkeep!.manifest!
  expect(after.files.every(({ level }) => level === 0)).toBe(true)
  expect(wantsClosingImage(after)).toBe(true)
  await putClosingImage(heir.at, closingImage(after, heir.db.path)!)
  expect(await restoredHash(heir.at, null)).toBe(hash)
  for (const { dir: left } of [owner, heir]) rmSync(left, { recursive: true })
})

test('few slots, seals and large databases are left alone', async () => {
  const { owner, manifest } = await closedOwner(new MemoryObjectStore(), 1)
  expect(wantsClosingImage(manifest)).toBe(false)
  expect(wantsClosingImage({ ...manifest, commit: 1_000_000 })).toBe(false)
  rmSync(owner.dir, { recursive: true })
})

test('a file that is not certainly the state of the tail makes no image', async () => {
  const { owner, path, manifest } = await closedOwner(new MemoryObjectStore(), 3)
  const good = readLocalState(path)![0]
  expect(closingImage(manifest, path)).not.toBeNull()
  const bytes = readFileSync(path)
  writeFileSync(path, bytes.subarray(0, bytes.length - 4_096))
  expect(closingImage(manifest, path)).toBeNull()
  const rotten = bytes.slice()
  rotten[bytes.length - 4_096] = 99 // the kind of the last page
  writeFileSync(path, rotten)
  expect(() => closingImage(manifest, path)).toThrow(DamagedDatabaseError)
  writeFileSync(path, bytes)
  writeLocalState(path, [{ ...good, txid: (good.txid - 1) as Txid }])
  expect(closingImage(manifest, path)).toBeNull()
  writeLocalState(path, [{ ...good, checksum: good.checksum ^ 1n }])
  expect(closingImage(manifest, path)).toBeNull()
  writeLocalState(path, [good])
  writeFileSync(`${path}-wal`, 'a commit that was not shipped')
  expect(closingImage(manifest, path)).toBeNull()
  rmSync(`${path}-wal`)
  rmSync(statePath(path))
  expect(closingImage(manifest, path)).toBeNull()
  rmSync(owner.dir, { recursive: true })
})
