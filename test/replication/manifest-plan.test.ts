// Goal: opening a history of thousands of objects takes a handful of requests, and whatever the manifest says, what is opened
// is the newest state of the store. Method: the request meter; short pages of listings, which make short histories long;
// manifests that are old, wrong, or name what is gone.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { MeteredObjectStore, type MeterReading } from '../../src/lib/object-store/metered.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { closingImage, putClosingImage } from '../../src/replicate/closing-image.ts'
import { Follower } from '../../src/replicate/follow.ts'
import { findTail } from '../../src/replicate/history.ts'
import type { HistoryManifest, ManifestFile } from '../../src/replicate/history-manifest.ts'
import { encodeLtx } from '../../src/replicate/ltx/encoder.ts'
import { type HistoryLocation, listLtx, ltxKey, putSlot, slotKey } from '../../src/replicate/ltx-store.ts'
import { planOrThrow } from '../../src/replicate/restore.ts'
import { ShortPagesStore } from '../support/short-pages.ts'
import { UpkeepHere } from '../support/upkeep-here.ts'
import { Owner, prefix, sha256 } from './histories.ts'

/** Others may use the machine; nothing here waits for time. */
setDefaultTimeout(180_000)

const root = mkdtempSync(join(tmpdir(), 'pf-noted-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Slots of a history that one page of a listing is far from holding. */
const slotsCount = 4_000
/** Of them as many in one merge, as the highest level has. */
const mergedCount = 250

function total({ calls }: MeterReading): number {
  return Object.values(calls).reduce((a, b) => a + b, 0)
}

/** Slots up to `slotsCount`, which write one page again, merged but for the last ones. */
async function longHistory(store: MemoryObjectStore): Promise<void> {
  await using owner = await Owner.create(store)
  const { at, position } = owner
  const { pageSize, commit, writer, timestampMs } = position
  const page = owner.db.image().subarray((commit - 1) * pageSize)
  for (let slot = 2; slot <= slotsCount; slot++) {
    const txid = slot as Txid
    const range = { minTxid: txid, maxTxid: txid, timestampMs: timestampMs + slot }
    const header = { pageSize, commit, ...range, walOffset: 32, walSize: 0, walSalt1: 0, walSalt2: 0, writer }
    await putSlot(at, encodeLtx(header, new Map([[commit, page]]), commit), header)
  }
  using upkeep = new UpkeepHere(store)
  const slots = (await listLtx(at)).sort((a, b) => a.minTxid - b.minTxid)
  for (let from = 1; from + mergedCount < slotsCount; from += mergedCount) {
    const inputs = slots.slice(from, from + mergedCount)
    await upkeep.merge(prefix, {
      level: 3,
      inputs: inputs.map((each) => ({ ...each, timestampMs: null, checksum: null })),
    })
  }
}

test(`a history of ${slotsCount} slots opens with a handful of requests`, async () => {
  const store = new MemoryObjectStore()
  await longHistory(store)
  using runner = new UpkeepHere(store)
  const owner = await Owner.open(store, 2, { runner })
  const early = (await owner.kept()).manifest!
  for (let i = 0; i < 80; i++) {
    await owner.insert(`row ${i}`)
    await owner.flush()
    await owner.kept()
  }
  const stale = owner.upkeep!.manifest!
  await owner.insert('behind the manifest')
  await owner.flush()
  const manifest = (await owner.kept()).manifest!
  const hash = owner.hash()
  const { path } = owner.db
  expect(await owner.close()).toBe(true)

  // Without a manifest: a page, and each level.
  const asked = new MeteredObjectStore(store)
  await findTail({ ...owner.at, store: asked })
  expect(asked.reading.calls.list).toBeGreaterThanOrEqual(11)
  const all = new MeteredObjectStore(store)
  await listLtx({ ...owner.at, store: all })
  expect(all.reading.calls.list).toBeGreaterThanOrEqual(slotsCount / 1_000)

  // The tail and the one that the manifest calls so; both are in the plan.
  const told = new MeteredObjectStore(store)
  const found = await findTail({ ...owner.at, store: told }, undefined, { manifest: async () => stale })
  expect([found.isNoted, found.last.header.maxTxid]).toEqual([true, manifest.tail.txid])
  expect(told.reading.calls).toMatchObject({ list: 3, get: 2 })

  // Of one with many slots behind it, the merges too: a restore reads few files.
  const many = new MeteredObjectStore(store)
  const behind = await findTail({ ...owner.at, store: many }, undefined, { manifest: async () => early })
  expect([behind.isNoted, behind.last.header.maxTxid]).toEqual([true, manifest.tail.txid])
  expect(many.reading.calls.list).toBe(6)
  expect(planOrThrow(owner.at, behind.files, null).files.length).toBeLessThan(early.files.length + 40)

  await putClosingImage(owner.at, closingImage(manifest, path)!)
  const metered = new MeteredObjectStore(store)
  await using heir = await Owner.open(metered, 3, { manifest })
  expect(heir.hash()).toBe(hash)
  // A page, what is newer of slots and images; the tail, the seal, the image.
  expect(metered.reading.calls).toMatchObject({ list: 3, get: 2, put: 1 })
  expect(total(metered.reading)).toBe(6)
  rmSync(owner.dir, { recursive: true })
})

interface Kept {
  readonly store: ShortPagesStore
  readonly at: HistoryLocation
  readonly hash: string
  /** After each of the slots. */
  readonly manifests: readonly HistoryManifest[]
  readonly tail: Txid
}

/** A history with merges, of several pages; its owner was killed. */
async function killedOwner(slots: number, layout: ShortPagesStore['layout'] = 's3'): Promise<Kept> {
  const store = new ShortPagesStore(10, layout)
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  const manifests: HistoryManifest[] = []
  for (let slot = 0; slot < slots; slot++) {
    await owner.insert(`row ${slot}`)
    await owner.flush()
    manifests.push((await owner.kept()).manifest!)
  }
  return { store, at: owner.at, hash: owner.hash(), manifests, tail: owner.shipper.txid }
}

async function openedHash(store: MemoryObjectStore, epoch: number, manifest: HistoryManifest): Promise<string> {
  await using heir = await Owner.open(store, epoch, { manifest })
  return heir.hash()
}

for (const layout of ['s3', 'file'] as const)
  test(`a manifest of any age hides nothing that came behind it (${layout})`, async () => {
    const { store, at, hash, manifests, tail } = await killedOwner(40, layout)
    let noted = 0
    for (const manifest of manifests) {
      const found = await findTail(at, undefined, { manifest: async () => manifest })
      expect(found.last.header.maxTxid).toBe(tail)
      if (found.isNoted) noted++
    }
    // Older ones are more than a page behind.
    expect(noted).toBe(10)
    let epoch = 2
    // Each leaves a seal, which the manifests do not name either.
    for (const manifest of [manifests[20]!, manifests[37]!, manifests[39]!])
      expect(await openedHash(store, epoch++, manifest)).toBe(hash)
    expect((await findTail(at, undefined, { manifest: async () => manifests[39]! })).last.header.writer.epoch).toBe(4)
  })

test('the manifest of another history is seen by the checksum of its tail', async () => {
  const { at, manifests, tail } = await killedOwner(25)
  const { tail: noted, ...rest } = manifests.at(-1)!
  const other = { ...rest, tail: { ...noted, checksum: '8000000000000000' } }
  const found = await findTail(at, undefined, { manifest: async () => other })
  expect([found.isNoted, found.last.header.maxTxid]).toEqual([false, tail])
  const right = await findTail(at, undefined, { manifest: async () => manifests.at(-1)! })
  expect([right.isNoted, right.last.header.maxTxid]).toEqual([true, tail])
})

test('of a damaged slot that merges stand for, only the manifest is given up', async () => {
  const { store, at, hash, manifests } = await killedOwner(40)
  const manifest = manifests[31]! // a merge holds its tail
  await store.put(slotKey(at, manifest.tail.txid), new Uint8Array(200))
  const found = await findTail(at, undefined, { manifest: async () => manifest })
  expect(found.isNoted).toBe(false)
  expect(await openedHash(store, 2, manifest)).toBe(hash)
})

test('when files are gone, or not as the manifest says, the history is listed', async () => {
  for (const change of ['gone', 'other'] as const) {
    const { store, at, hash, manifests } = await killedOwner(40)
    const merged = manifests.at(-1)!.files.find(({ level }) => level > 0)!
    if (change === 'gone') await store.delete([ltxKey(at, merged)])
    const rename = (file: ManifestFile): ManifestFile =>
      file === merged && change === 'other' ? { ...file, sizeBytes: 3 << 20 } : file
    const manifest = { ...manifests.at(-1)!, files: manifests.at(-1)!.files.map(rename) }
    const damaged: string[] = []
    const onDamaged = (error: Error) => void damaged.push(error.message)
    await using heir = await Owner.open(store, 2, { manifest, onDamaged })
    expect(heir.hash()).toBe(hash)
    expect(damaged).toEqual([]) // the manifest was wrong, and no file
    const names = new Set((await listLtx(at)).map((each) => ltxKey(at, each)))
    for (const each of heir.position.known) expect(names).toContain(ltxKey(at, each))
  }
})

test('a hole behind the manifest is filled by what a listing finds', async () => {
  const { store, at, hash, manifests } = await killedOwner(40)
  const manifest = manifests[20]!
  const merged = (await listLtx(at)).find(({ level, minTxid }) => level === 1 && minTxid > manifest.tail.txid - 16)!
  for (let txid: number = merged.minTxid; txid <= merged.maxTxid; txid++)
    await store.delete([slotKey(at, txid as Txid)])
  expect((await findTail(at, undefined, { manifest: async () => manifest })).isNoted).toBe(false)
  expect(await openedHash(store, 2, manifest)).toBe(hash)
})

test('a copy that follows begins with the manifest, and goes on with what it has', async () => {
  const { store, at, hash, manifests, tail } = await killedOwner(40)
  const path = join(root, 'followed.db')
  const deps = { clock: systemClock, log: silentLogger, manifest: async () => manifests.at(-1)! }
  await (await Follower.open(at, path, deps))[Symbol.asyncDispose]()
  expect(sha256(await Bun.file(path).bytes())).toBe(hash)
  await using owner = await Owner.open(store, 2)
  for (let i = 0; i < 3; i++) {
    await owner.insert('more')
    await owner.flush()
  }
  const metered = new MeteredObjectStore(store)
  await using follower = await Follower.open({ ...at, store: metered }, path, deps)
  expect(follower.txid as number).toBe(tail + 4) // with the seal
  expect(sha256(await Bun.file(path).bytes())).toBe(owner.hash())
  // The slot that it holds, and those behind it.
  expect(metered.reading.calls).toMatchObject({ list: 3, get: 5 })
})
