// Goal: merged files shorten restores and change nothing that is restored, by us and by official litestream; and when what
// they replace is deleted, everything promised is still there. Method: real databases, upkeep in this process.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { SimClock, systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { decodeHistoryManifest, encodeHistoryManifest } from '../../src/replicate/history-manifest.ts'
import { type LtxFile, listLtx, ltxKey, slotKey } from '../../src/replicate/ltx-store.ts'
import { rollBackTo } from '../../src/replicate/point-in-time.ts'
import { release, reserve } from '../../src/replicate/reservation.ts'
import { planOrThrow } from '../../src/replicate/restore.ts'
import { testWithPeers } from '../support/peers.ts'
import { UpkeepHere } from '../support/upkeep-here.ts'
import { Owner, prefix, restoredHash, sha256 } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const day = 24 * 3_600_000

/** Grows and shrinks; returns the hash at each TXID. */
async function writeSlots(owner: Owner, count: number): Promise<Map<Txid, string>> {
  const rng = seededRng(5)
  const hashes = new Map<Txid, string>()
  while (owner.shipper.txid < count) {
    await owner.db.transaction(() => {
      if (rng.below(5) === 0) owner.db.run('DELETE FROM t WHERE id % 3 = 0')
      owner.db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(1 + rng.below(20_000))])
    })
    await owner.flush()
    await owner.kept()
    hashes.set(owner.shipper.txid, owner.hash())
  }
  return hashes
}

const levels = (files: readonly { readonly level: number }[]) => [...new Set(files.map(({ level }) => level))].sort()

test('every TXID restores as before; the newest from few files, which the manifest names', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { autoVacuum: true, runner })
  const hashes = await writeSlots(owner, 135)
  const files = await listLtx(owner.at)
  expect(levels(files)).toEqual([0, 1, 9])
  const plan = planOrThrow(owner.at, files, null)
  expect(plan.files.length).toBeLessThan(40)
  const { manifest } = await owner.kept()
  expect(manifest!.files.map(({ level, minTxid, maxTxid }) => [level, minTxid, maxTxid])).toEqual(
    plan.files.map(({ level, minTxid, maxTxid }) => [level, minTxid, maxTxid]),
  )
  expect(manifest!.tail.txid).toBe(135 as Txid)
  for (const [txid, hash] of hashes) if (txid % 9 === 0) expect(await restoredHash(owner.at, txid)).toBe(hash)
  // The merged files alone are the database at its end, so the slots under them could go.
  const needed = new Set(plan.files.map((file) => ltxKey(owner.at, file)))
  await store.delete(store.keys.filter((key) => !needed.has(key)))
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('a successor goes on with what the manifest or the listing says', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  await writeSlots(owner, 40)
  const manifest = decodeHistoryManifest(encodeHistoryManifest((await owner.kept()).manifest!))
  await owner.close()
  await using heir = await Owner.open(store, 2, { runner, manifest })
  const own = heir.upkeep!.manifest!
  expect(own).toMatchObject({ epoch: 2, tail: { txid: 41 } })
  expect(own.files.every(({ checksum }) => checksum !== null)).toBe(true)
  await heir.insert('one more')
  await heir.flush()
  await using last = await Owner.open(store, 3, { runner })
  expect(last.upkeep!.manifest!.files.at(-1)).toMatchObject({ level: 0, minTxid: 43, maxTxid: 43 })
  expect(await restoredHash(last.at, null)).toBe(last.hash())
})

test('a manifest of another history, whose names fit, makes no file of this one', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  await writeSlots(owner, 20)
  const own = (await owner.kept()).manifest!
  await owner.close()
  const image = { level: 9, minTxid: 1 as Txid, maxTxid: own.tail.txid, sizeBytes: 1_000 }
  const manifest = { ...own, files: [{ ...image, timestampMs: 1, checksum: '0000000000000001' }] }
  await using heir = await Owner.open(store, 2, { runner, manifest })
  const stored = new Set((await listLtx(heir.at)).map((file) => ltxKey(heir.at, file)))
  expect(heir.upkeep!.manifest!.files.map((file) => ltxKey(heir.at, file)).filter((key) => !stored.has(key))).toEqual(
    [],
  )
})

test('merging again after a lost reply, a half upload or a damaged leftover', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store)
  await (async () => {
    for (let n = 0; n < 20; n++) {
      await owner.insert(`v${n}`)
      await owner.flush()
    }
  })()
  const inputs = (await listLtx(owner.at))
    .filter(({ level, minTxid }) => level === 0 && minTxid > 1 && minTxid <= 17)
    .map((file) => ({ ...file, timestampMs: null, checksum: null }))
    .sort((a, b) => a.minTxid - b.minTxid)
  const job = { level: 1, inputs }
  store.fault = (operation, key) => (operation === 'put' && key.includes('/0001/') ? { type: 'lost-reply' } : null)
  await expect(runner.merge(prefix, job)).rejects.toThrow('connection broke')
  store.fault = null
  const merged = await runner.merge(prefix, job)
  const key = ltxKey(owner.at, merged)
  await store.put(key, (await store.get(key)).subarray(0, 150))
  expect(await runner.merge(prefix, job)).toEqual(merged)
  const damaged = (await store.get(slotKey(owner.at, 5 as Txid))).slice()
  damaged[damaged.length - 1]! ^= 1
  await store.put(slotKey(owner.at, 5 as Txid), damaged)
  await expect(runner.merge(prefix, { level: 2, inputs })).rejects.toThrow('0000000000000005.ltx is damaged')
  expect(store.keys.filter((each) => each.includes('/0002/'))).toEqual([])
})

test('a merged file that the store keeps badly is deleted again', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  const put = store.put.bind(store)
  store.put = (key, body, options) => {
    const kept = body.slice()
    if (/\/000[19]\//.test(key)) kept[kept.length - 1]! ^= 1
    return put(key, kept, options)
  }
  await writeSlots(owner, 40)
  expect(levels(await listLtx(owner.at))).toEqual([0])
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('a merge that fails disturbs nothing, and is made later', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  store.fault = (operation, key) =>
    operation === 'put' && /\/000[19]\//.test(key) ? { type: 'error', status: 500 } : null
  await writeSlots(owner, 40)
  expect(owner.shipper.failuresInRow).toBe(0)
  expect(levels(await listLtx(owner.at))).toEqual([0])
  store.fault = null
  await writeSlots(owner, 70)
  expect(planOrThrow(owner.at, await listLtx(owner.at), null).files.length).toBeLessThan(30)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('months later: promises are kept, garbage goes in two phases, seals stay, an idle history is left alone', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  using runner = new UpkeepHere(store, clock)
  const startMs = clock.now()
  await using first = await Owner.create(store, { runner, clock })
  const hashes = await writeSlots(first, 70)
  await first.close()
  expect(first.upkeep!.nextPassAtMs).toBe(startMs + day)
  await clock.advance(day / 2)
  // A tenant that opens every day still gets its pass: the manifest says since when.
  await using owner = await Owner.open(store, 2, { runner, clock, manifest: first.upkeep!.manifest })
  expect(owner.upkeep!.nextPassAtMs).toBe(startMs + day)
  owner.upkeep!.work()
  const requests = store.requestCount
  expect((await owner.kept()).manifest!.retained).toEqual({ txid: 1 as Txid, atMs: startMs, isSettled: false })

  await clock.advance(1.5 * day)
  owner.upkeep!.work()
  const { manifest } = await owner.kept()
  expect(manifest!.candidates!.sinceMs).toBe(startMs + 2 * day)
  expect(store.requestCount).toBeGreaterThan(requests)
  const before = await listLtx(owner.at)
  expect(before.filter(({ level }) => level === 0)).toHaveLength(71)
  await reserve(owner.at, { name: 'backup-1', untilMs: null, points: [20 as Txid], files: [] })
  // Another one comes while the newest image is read for the proof that it stands for what goes.
  let isReserved = false
  store.fault = (operation, key) => {
    if (!isReserved && operation === 'get' && key.includes('/0009/')) {
      isReserved = true
      void reserve(owner.at, { name: 'backup-2', untilMs: null, points: [30 as Txid], files: [] })
    }
    return null
  }

  await clock.advance(day)
  owner.upkeep!.work()
  await owner.kept()
  const after = await listLtx(owner.at)
  expect(after.length).toBeLessThan(before.length)
  const slots = after.filter(({ level }) => level === 0).map(({ maxTxid }) => Number(maxTxid))
  expect(slots).toContain(71) // the seal, and the newest
  expect(await restoredHash(owner.at, 20 as Txid)).toBe(hashes.get(20 as Txid)!)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
  await expect(restoredHash(owner.at, 21 as Txid)).rejects.toThrow('expected an LTX file')
  expect(await restoredHash(owner.at, 30 as Txid)).toBe(hashes.get(30 as Txid)!)

  // Another owner takes over; then nobody writes any more.
  store.fault = null
  for (const name of ['backup-1', 'backup-2']) await release(owner.at, name)
  await using last = await Owner.open(store, 3, { runner, clock, manifest: owner.upkeep!.manifest })
  for (let days = 0; days < 60; days += 1) {
    await clock.advance(day)
    last.upkeep!.work()
    await last.kept()
  }
  const left = (await listLtx(last.at)).sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid)
  expect(left.filter(({ level }) => level === 0).map(({ maxTxid }) => Number(maxTxid))).toEqual(
    expect.arrayContaining([71, 72]),
  )
  expect(left.length).toBeLessThan(20)
  expect(last.upkeep!.nextPassAtMs).toBeNull()
  expect(await restoredHash(last.at, null)).toBe(last.hash())
  const idle = store.requestCount
  await clock.advance(365 * day)
  last.upkeep!.work()
  await last.kept()
  expect(store.requestCount).toBe(idle)
  // An owner that slept all the time still meets the seal.
  await first.db.close().catch(() => {})
  await owner.insert('too late')
  await expect(owner.flush()).rejects.toThrow('slot 72')
})

test('what cannot be read keeps everything', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  using runner = new UpkeepHere(store, clock)
  await using owner = await Owner.create(store, { runner, clock })
  await writeSlots(owner, 40)
  await clock.advance(40 * day)
  await store.put(`${prefix}/keep/unknown.json`, new TextEncoder().encode('{"version":2}'))
  const state = { candidates: { sinceMs: 0, ranges: [{ level: 0, minTxid: 1 as Txid, maxTxid: 40 as Txid }] } }
  const kept = await runner.retain(prefix, { ...state, restoreMsMax: 0 })
  expect(kept).toMatchObject({ filesDeleted: 0, candidates: state.candidates })
  await store.delete([`${prefix}/keep/unknown.json`])
  const image = (await listLtx(owner.at)).findLast(({ level }) => level === 9)!
  const body = await store.get(ltxKey(owner.at, image))
  await store.put(ltxKey(owner.at, image), body.fill(0, body.length - 8))
  await expect(runner.retain(prefix, { ...state, restoreMsMax: 0 })).rejects.toThrow('damaged')
  expect(store.requestCountOf('delete')).toBe(1)
  await store.delete([ltxKey(owner.at, image)])
  expect((await runner.retain(prefix, { ...state, restoreMsMax: 50 * day })).filesDeleted).toBeGreaterThan(0)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('what a damaged merge was made of stays for the older points that need it', async () => {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  using runner = new UpkeepHere(store, clock)
  await using owner = await Owner.create(store, { runner, clock })
  const hashes = await writeSlots(owner, 40)
  const damaged = (await listLtx(owner.at)).find(({ level }) => level === 1)!
  const point = (damaged.maxTxid + 1) as Txid
  await reserve(owner.at, { name: 'backup', untilMs: null, points: [point], files: [] })
  await clock.advance(40 * day)
  const state = {
    candidates: { sinceMs: 0, ranges: [{ level: 0, minTxid: 1 as Txid, maxTxid: 40 as Txid }] },
    restoreMsMax: 0,
  }
  const key = ltxKey(owner.at, damaged)
  const body = (await store.get(key)).slice()
  body[body.length - 1]! ^= 1
  await store.put(key, body) // between the two phases
  const outcome = await runner.retain(prefix, state)
  const { level, minTxid, maxTxid } = damaged
  expect(outcome.damaged).toEqual([{ level, minTxid, maxTxid }])
  expect(outcome.filesDeleted).toBeGreaterThan(0) // what only the newest state needs has sound ones
  await store.delete([key])
  expect(await restoredHash(owner.at, point)).toBe(hashes.get(point)!)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

test('a long history is opened with few requests, also where levels leave a gap', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  let early = ''
  while (owner.shipper.txid < 1_100) {
    await owner.insert('v')
    await owner.flush()
    await owner.kept()
    if (owner.shipper.txid === 130) early = owner.hash()
  }
  const hash = owner.hash()
  const requests = store.requestCount
  await using heir = await Owner.open(store, 2)
  expect(heir.hash()).toBe(hash)
  expect(store.requestCount - requests).toBeLessThan(60)

  // A merge that starts inside an image, as official levels may lie, and the slots between are gone.
  const files = await listLtx(owner.at)
  const unread = (list: readonly LtxFile[]) =>
    [...list].sort((a, b) => a.minTxid - b.minTxid).map((file) => ({ ...file, timestampMs: null, checksum: null }))
  await runner.merge(prefix, { level: 9, inputs: unread(planOrThrow(owner.at, files, 900 as Txid).files) })
  const span = files.filter(({ level, minTxid }) => level === 0 && Math.abs(minTxid - 900) < 30)
  await runner.merge(prefix, { level: 1, inputs: unread(span) })
  await store.delete(
    files
      .filter(({ minTxid, maxTxid }) => minTxid > 1 && maxTxid > 900 && minTxid < 930)
      .map((file) => ltxKey(owner.at, file)),
  )
  await using last = await Owner.open(store, 3)
  expect(last.hash()).toBe(hash)

  // What the newest state does not need is listed for an older one.
  const scratchPath = join(last.dir, 'scratch.db')
  const back = await rollBackTo(last.at, 130 as Txid, { epoch: 4, scratchPath, clock: systemClock, rng: seededRng(4) })
  expect(await restoredHash(last.at, back)).toBe(early)
})

testWithPeers(['litestream', 'ltx'], 'official tools read what is merged and what deletion leaves', async (peers) => {
  const { litestream, ltx } = peers
  const dir = mkdtempSync(join(tmpdir(), 'pf-merged-'))
  try {
    const clock = new SimClock(Date.now() - 40 * day)
    const store = await openObjectStore({ kind: 'file', dir })
    using runner = new UpkeepHere(store, clock)
    await using owner = await Owner.create(store, { autoVacuum: true, runner, clock })
    const hashes = await writeSlots(owner, 70)
    const run = async (command: string[]) => {
      const child = Bun.spawn(command, { stdout: 'pipe', stderr: 'pipe' })
      const [output, errors, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ])
      expect(`${code} ${errors}`).toStartWith('0 ')
      return output
    }
    const url = `file://${join(dir, prefix)}`
    const restored = async (...flags: string[]) => {
      const path = join(dir, `out-${flags.join('')}-${Bun.nanoseconds()}.db`)
      await run([litestream, 'restore', ...flags, '-o', path, url])
      return sha256(await Bun.file(path).bytes())
    }
    const merged = (await listLtx(owner.at)).filter(({ level }) => level > 0)
    expect(levels(merged)).toEqual([1, 9])
    for (const file of merged) await run([ltx, 'verify', join(dir, ltxKey(owner.at, file))])
    expect(await restored()).toBe(owner.hash())
    // The clock of the store is that of this machine, so the passes look from far ahead.
    for (let phase = 0; phase < 2; phase++) {
      await clock.advance(2 * day)
      owner.upkeep!.work()
      await owner.kept()
    }
    expect((await listLtx(owner.at)).length).toBeLessThan(merged.length + 40)
    expect(await restored()).toBe(owner.hash())
    let restorable = 0
    for (const [txid, hash] of hashes) {
      const isThere = await restoredHash(owner.at, txid).catch(() => null)
      if (isThere === null) continue // released by retention
      restorable++
      expect(isThere).toBe(hash)
      expect(await restored('-txid', txid.toString(16).padStart(16, '0'))).toBe(hash)
    }
    expect(restorable).toBeGreaterThan(0)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
