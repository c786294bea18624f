// Goal: a follower's file is the owner's database at every slot, whatever the owner does, and taking over from it costs no
// second restore. Method: a real owner that ships, and a follower that is stopped, started and broken off at random.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimClock, systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { MeteredObjectStore } from '../../src/lib/object-store/metered.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { type Rng, seededRng } from '../../src/lib/rng.ts'
import { Follower } from '../../src/replicate/follow.ts'
import { readLocalState, writeLocalState } from '../../src/replicate/local-state.ts'
import { listLtx } from '../../src/replicate/ltx-store.ts'
import { startMinio } from '../support/minio.ts'
import { testWithPeers } from '../support/peers.ts'
import { UpkeepHere } from '../support/upkeep-here.ts'
import { until } from '../support/wait.ts'
import { Owner, prefix, sha256 } from './histories.ts'

/** Others may use the machine; nothing here waits for time. */
setDefaultTimeout(180_000)

const folders: string[] = []
function newFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'pf-follow-'))
  folders.push(dir)
  return dir
}
afterAll(() => {
  for (const dir of folders) rmSync(dir, { recursive: true, force: true })
})
const log = createLogger({ level: 'error', format: 'text', now: () => 0, sink: { write() {} } })
const deps = { clock: systemClock, log }
const hashOf = (path: string) => sha256(readFileSync(path))
const seed = Number(process.env['SEED'] ?? 11)

/** One transaction of any kind, then a slot; now and then one that is fetched in ranges. */
async function change(owner: Owner, rng: Rng): Promise<void> {
  const kind = rng.below(8)
  const { db } = owner
  // Auto-vacuum makes the database smaller with each of these.
  if (kind === 0) await db.transaction(() => db.exec('DELETE FROM t'))
  else if (kind === 1) await db.transaction(() => db.exec('DELETE FROM t WHERE id % 2 = 0'))
  else if (kind === 2)
    await db.transaction(() => {
      db.exec(`CREATE TABLE x${rng.below(1_000_000)} (a, b)`)
      db.exec('DROP TABLE IF EXISTS x0')
    })
  else if (kind === 3) await owner.insert(rng.bytes(2_500_000))
  else await owner.insert(rng.bytes(1 + rng.below(20_000)))
  await owner.flush()
}

test(`every state of the owner, through stops and restarts (SEED=${seed})`, async () => {
  const rng = seededRng(seed)
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { autoVacuum: true })
  const path = join(newFolder(), 'data.db')
  for (let life = 0; life < 4; life++) {
    await using follower = await Follower.open(owner.at, path, deps)
    expect(hashOf(path)).toBe(owner.hash())
    for (let step = 0; step < 6; step++) {
      for (let slots = rng.below(6); slots > 0; slots--) await change(owner, rng)
      expect(await follower.catchUp()).toBe(owner.shipper.txid)
      expect(hashOf(path)).toBe(owner.hash())
    }
    for (let slots = rng.below(4); slots > 0; slots--) await change(owner, rng)
  }
}, 180_000)

testWithPeers(['minio'], 'the same on a real S3 server', async ({ minio }) => {
  await using server = await startMinio(minio, newFolder())
  const credentials = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey }
  const { endpoint, bucket } = server
  const store = await openObjectStore({ kind: 's3', endpoint, region: 'us-east-1', bucket, prefix: 'f', credentials })
  await using owner = await Owner.create(store, { autoVacuum: true })
  const path = join(newFolder(), 'data.db')
  await using follower = await Follower.open(owner.at, path, deps)
  const rng = seededRng(seed)
  for (let step = 0; step < 12; step++) {
    await change(owner, rng)
    if (rng.below(3) > 0) continue
    expect(await follower.catchUp()).toBe(owner.shipper.txid)
    expect(hashOf(path)).toBe(owner.hash())
  }
  await store.close()
})

test('starting again reads only what came since', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  await owner.insert(seededRng(1).bytes(4_000_000))
  await owner.flush()
  const path = join(newFolder(), 'data.db')
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  await owner.insert('a little more')
  await owner.flush()
  const metered = new MeteredObjectStore(store)
  await using _ = await Follower.open({ store: metered, prefix }, path, deps)
  expect(hashOf(path)).toBe(owner.hash())
  expect(metered.reading.bytesReceived).toBeLessThan(200_000)
})

test('a file that was caught up by a merge is known again', async () => {
  const store = new MemoryObjectStore()
  using runner = new UpkeepHere(store)
  await using owner = await Owner.create(store, { runner })
  await owner.insert(seededRng(1).bytes(4_000_000))
  await owner.flush()
  await owner.kept()
  const path = join(newFolder(), 'data.db')
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  const isMerged = async () => (await listLtx(owner.at)).some(({ level }) => level === 1)
  for (let slots = 0; slots < 40 && !(await isMerged()); slots++) {
    await owner.insert('a little more')
    await owner.flush()
    await owner.kept()
  }
  expect(await isMerged()).toBe(true)
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  const metered = new MeteredObjectStore(store)
  await using _ = await Follower.open({ store: metered, prefix }, path, deps)
  expect(hashOf(path)).toBe(owner.hash())
  expect(metered.reading.bytesReceived).toBeLessThan(200_000)
})

test('a death while slots are applied is mended by applying them again', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  const rng = seededRng(5)
  for (let i = 0; i < 5; i++) await owner.insert(rng.bytes(50_000))
  await owner.flush()
  const path = join(newFolder(), 'data.db')
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  const before = readLocalState(path)
  await owner.db.transaction(() => owner.db.run('UPDATE t SET v = zeroblob(50000)'))
  await owner.flush()
  {
    await using follower = await Follower.open(owner.at, path, deps)
    expect(follower.txid).toBe(owner.shipper.txid)
  }
  // As after a death before the note was written, and with pages that were half written.
  const bytes = readFileSync(path)
  bytes.fill(0xee, 8_192, 40_000)
  await Bun.write(path, bytes)
  writeLocalState(path, before!)
  await using _ = await Follower.open(owner.at, path, deps)
  expect(hashOf(path)).toBe(owner.hash())
})

test('a file of another history, or one that was changed behind its back, is replaced', async () => {
  const other = new MemoryObjectStore()
  await using stranger = await Owner.create(other)
  await stranger.insert('of another history')
  await stranger.flush()
  const path = join(newFolder(), 'data.db')
  await (await Follower.open(stranger.at, path, deps))[Symbol.asyncDispose]()
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  for (let i = 0; i < 3; i++) {
    await owner.insert(`ours ${i}`)
    await owner.flush()
  }
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  expect(hashOf(path)).toBe(owner.hash())
  await Bun.write(path, readFileSync(path).subarray(0, 4_096))
  await owner.insert('more')
  await owner.flush()
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  expect(hashOf(path)).toBe(owner.hash())
})

test('it looks by itself, less and less often, at once when told, and goes on after an outage', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  const clock = new SimClock()
  const path = join(newFolder(), 'data.db')
  const follower = await Follower.open(owner.at, path, { clock, log })
  follower.follow()
  const isIdle = () => clock.pendingTimers === 1
  await until('the first look', isIdle)
  await owner.insert('a')
  await owner.flush()
  await clock.advance(500)
  await until('the slot', () => follower.txid === owner.shipper.txid && isIdle())
  const counted = store.requestCount
  for (let second = 0; second < 60; second++) {
    await clock.advance(1_000)
    await until('the next look', isIdle)
  }
  expect(store.requestCount - counted).toBeLessThan(15)
  await owner.insert('b')
  await owner.flush()
  follower.hint()
  await until('the slot it was told of', () => follower.txid === owner.shipper.txid && isIdle())
  store.fault = () => ({ type: 'error', status: 503 })
  follower.hint()
  await until('the failed look', isIdle)
  store.fault = null
  await owner.insert('c')
  await owner.flush()
  await clock.advance(10_000)
  await until('the slot after the outage', () => follower.txid === owner.shipper.txid && isIdle())
  await follower[Symbol.asyncDispose]()
  expect(clock.pendingTimers).toBe(0)
  expect(hashOf(path)).toBe(owner.hash())
})

test('taking over from a followed file restores nothing, also when the owner shipped a last time', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  await owner.insert(seededRng(2).bytes(3_000_000))
  await owner.flush()
  const dir = newFolder()
  const path = join(dir, 'data.db')
  const follower = await Follower.open(owner.at, path, deps)
  await owner.insert('shipped while it followed')
  await owner.flush()
  await follower.catchUp()
  await follower[Symbol.asyncDispose]()
  await owner.insert('shipped when the owner let go')
  const hash = owner.hash()
  expect(await owner.close()).toBe(true)
  const metered = new MeteredObjectStore(store)
  await using heir = await Owner.open(metered, 2, { dir })
  expect(heir.origin).toBe('caught-up')
  expect(heir.hash()).toBe(hash)
  expect(metered.reading.bytesReceived).toBeLessThan(200_000)
  await heir.insert('and it goes on')
  await heir.flush()
})

test('a local file that was damaged, and is found out while it is caught up, is replaced', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  const rng = seededRng(3)
  await owner.db.transaction(() => owner.db.exec('CREATE TABLE quiet (a)')) // a page that nothing touches later
  await owner.flush()
  const path = join(newFolder(), 'data.db')
  await (await Follower.open(owner.at, path, deps))[Symbol.asyncDispose]()
  // Two slots that are fetched in ranges; of the first only a part is wanted, so SQLite looks at the result.
  for (let i = 0; i < 8; i++) await owner.insert(rng.bytes(1_000_000))
  await owner.flush()
  await owner.db.transaction(() => owner.db.run('UPDATE t SET v = ? WHERE id <= 4', [rng.bytes(1_000_000)]))
  await owner.flush()
  const bytes = readFileSync(path)
  bytes.fill(0xee, bytes.length - 4_096)
  await Bun.write(path, bytes)
  await using _ = await Follower.open(owner.at, path, deps)
  expect(hashOf(path)).toBe(owner.hash())
})
