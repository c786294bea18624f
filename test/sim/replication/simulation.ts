// One history under everything at once: writes, shipping, checkpoints, merges, images, retention, restores, takeovers, and
// crashes of whole owners between any two requests. Databases and their files are real, the store and the clock are not:
// each request waits until the seed says what becomes of it. The rules of a history are checked at every request.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Txid } from '../../../src/lib/brand.ts'
import { SimClock } from '../../../src/lib/clock.ts'
import { errorCode } from '../../../src/lib/errors.ts'
import { MemoryObjectStore } from '../../../src/lib/object-store/memory.ts'
import { silentLogger } from '../../../src/lib/obs/log.ts'
import { type Rng, seededRng } from '../../../src/lib/rng.ts'
import { Database } from '../../../src/node/engine/db/database.ts'
import { createHistory, type HistoryPosition, type OpenedHistory, openHistory } from '../../../src/replicate/history.ts'
import {
  decodeHistoryManifest,
  encodeHistoryManifest,
  type HistoryManifest,
  type ManifestFile,
} from '../../../src/replicate/history-manifest.ts'
import { decodeLtx } from '../../../src/replicate/ltx/decoder.ts'
import type { LtxHeader } from '../../../src/replicate/ltx/header.ts'
import { isSeal, type LtxFile, parseLtxName } from '../../../src/replicate/ltx-store.ts'
import { release, reserve } from '../../../src/replicate/reservation.ts'
import { restoreDatabase } from '../../../src/replicate/restore.ts'
import { planRestore } from '../../../src/replicate/restore-plan.ts'
import { defaultRetention } from '../../../src/replicate/retention.ts'
import type { RetentionState } from '../../../src/replicate/retention-pass.ts'
import { Shipper } from '../../../src/replicate/shipper.ts'
import { HistoryUpkeep } from '../../../src/replicate/upkeep.ts'
import { sha256 } from '../../replication/histories.ts'
import { UpkeepHere } from '../../support/upkeep-here.ts'
import {
  BrokenRuleError,
  type Fate,
  type PendingRequest,
  type SimClient,
  type SimObserver,
  SimStore,
} from './sim-store.ts'

const prefix = 't/sim/data.db'
const hourMs = 3_600_000
/** Nothing is under way when so many looks in a row saw nothing happen. */
const calmLooks = 3
/** So many looks at something that seems to move mean that it waits for the clock. */
const looksMax = 2_000

export interface SimReport {
  readonly seed: number
  readonly slots: number
  readonly acked: number
  readonly crashes: number
  readonly takeovers: number
  readonly fenced: number
  readonly merges: number
  readonly deletions: number
  readonly restores: number
  /** Openings of long histories that met a manifest. */
  readonly manifests: number
  readonly requests: number
}

interface Owner {
  readonly epoch: number
  readonly dir: string
  readonly client: SimClient
  readonly db: Database
  readonly shipper: Shipper
  readonly upkeep: HistoryUpkeep
  readonly runner: UpkeepHere
  readonly merge: UpkeepHere['merge']
  readonly retain: UpkeepHere['retain']
  /** What its upkeep is to the store; it dies with it. */
  readonly background: SimClient
  /** The WAL that SQLite synced before the last checkpoint, which a power cut leaves. */
  synced: { readonly header: string; readonly sizeBytes: number }
  isWriting: boolean
  isFenced: boolean
}

interface Slot {
  readonly header: LtxHeader
  readonly body: Uint8Array
  /** Hash of the database file as of this slot. */
  readonly hash: string
}

/** Of listings: a history of some dozen files is a long one where a page holds few. */
const pageSizes = [6, 12, 24, 1_000]
/** Manifests that an opening may meet, the newest last. */
const manifestsMax = 12

/** Runs one seed to its end; throws with the seed and the rule that was broken. */
export async function simulateReplication(seed: number, steps: number): Promise<SimReport> {
  const world = new World(seed)
  try {
    await world.begin()
    for (let step = 0; step < steps; step++) await world.step()
    return await world.heal()
  } catch (error) {
    throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : error}`, { cause: error })
  } finally {
    await world.end()
  }
}

class World implements SimObserver {
  readonly #seed: number
  readonly #rng: Rng
  readonly #clock = new SimClock()
  readonly #root = mkdtempSync(join(tmpdir(), 'pf-sim-'))
  readonly #store: SimStore
  readonly #slots = new Map<number, Slot>()
  /** The newest state, page by page, from the slots alone. */
  readonly #pages = new Map<number, Uint8Array>()
  /** Every state that any owner ever committed. */
  readonly #committed = new Set<string>()
  readonly #acked = new Set<number>()
  /** Points that reservations hold. */
  readonly #reserved = new Set<number>()
  readonly #owners: Owner[] = []
  readonly #grave: Owner[] = []
  readonly #background = new Set<Promise<void>>()
  /** Work under way by client: it waits for the store, or for files, and then we for it. */
  readonly #jobs = new Map<SimClient, number>()
  #opening: SimClient | null = null
  #retention: RetentionState[] = [{ candidates: null, restoreMsMax: 0 }]
  /** As owners of any epoch could have written them. */
  readonly #manifests: HistoryManifest[] = []
  #epoch = 1
  #nextId = 1
  #names = 0
  #broken: unknown = null
  #isHealing = false
  readonly #counts = {
    crashes: 0,
    takeovers: 0,
    fenced: 0,
    merges: 0,
    deletions: 0,
    restores: 0,
    manifests: 0,
    requests: 0,
  }
  /** What this seed does more and less of. */
  readonly #weights: Readonly<Record<string, number>>

  constructor(seed: number) {
    this.#seed = seed
    this.#rng = seededRng(seed)
    this.#store = new SimStore(new MemoryObjectStore({ clock: this.#clock }), this, this.#pick(pageSizes))
    const swarm = (weight: number) => (this.#rng.below(4) === 0 ? 0 : weight * (1 + this.#rng.below(3)))
    this.#weights = {
      io: 40,
      write: 12,
      tick: 10,
      jump: swarm(1.5),
      upkeep: swarm(2),
      merge: swarm(2),
      retain: swarm(3),
      restore: swarm(2),
      crash: swarm(0.3),
      takeover: swarm(0.4),
      stale: swarm(0.3),
      failures: swarm(6),
    }
  }

  async begin(): Promise<void> {
    const { dir, client } = this.#place(null)
    const path = join(dir, 'data.db')
    const db = Database.open({ path, checkpoint: 'owner' })
    await db.transaction(() => {
      db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY)')
      db.exec('CREATE TABLE u (id INTEGER PRIMARY KEY, v BLOB)')
    })
    this.#committed.add(sha256(db.image()))
    const deps = { epoch: 1, clock: this.#clock, rng: seededRng(this.#seed) }
    const creating = createHistory({ store: client, prefix }, db, deps)
    await this.#drain(creating)
    this.#attach(client, dir, db, await creating, null)
  }

  async step(): Promise<void> {
    await this.#quiet()
    const w = this.#weights
    const alive = this.#owners.filter(({ isFenced }) => !isFenced)
    const choices: [number, () => unknown][] = [
      [this.#store.pending.length > 0 ? w['io']! : 0, () => this.#settleSome()],
      [alive.length > 0 ? w['write']! : 0, () => this.#write(this.#pick(alive))],
      [w['tick']!, () => this.#clock.advance(this.#rng.below(2_000))],
      [w['jump']!, () => this.#jump()],
      [this.#owners.length > 0 ? w['upkeep']! : 0, () => this.#pick(this.#owners).upkeep.work()],
      [this.#owners.length > 0 ? w['retain']! : 0, () => this.#retain(this.#pick(this.#owners))],
      [this.#owners.length > 0 ? w['merge']! : 0, () => this.#mergeAnything(this.#pick(this.#owners))],
      [w['restore']!, () => this.#restore()],
      [this.#owners.length > 0 || this.#opening ? w['crash']! : 0, () => this.#crash()],
      [this.#owners.length < 3 && !this.#opening ? w['takeover']! : 0, () => this.#open(++this.#epoch, null)],
      [this.#opening || this.#epoch < 2 ? 0 : w['stale']!, () => this.#open(this.#epoch - 1, null)],
      [this.#owners.length === 0 && !this.#opening ? 20 : 0, () => this.#open(++this.#epoch, null)],
    ]
    const total = choices.reduce((sum, [weight]) => sum + weight, 0)
    let at = (this.#rng.below(1_000_000) / 1_000_000) * total
    for (const [weight, run] of choices) {
      at -= weight
      if (at >= 0 || weight === 0) continue
      await run()
      break
    }
    if (this.#broken !== null) throw this.#broken
  }

  /** No faults any more: an owner that is alive ships everything, and every promise is kept. */
  async heal(): Promise<SimReport> {
    this.#isHealing = true
    await this.#drain(null)
    // Whoever took the last slot first may go on; the others have only not noticed yet.
    const { writer } = this.#newest().header
    for (const owner of [...this.#owners])
      if (owner.isFenced || owner.shipper.writer.incarnation !== writer.incarnation) await this.#bury(owner, false)
    if (this.#owners.length === 0) {
      this.#open(++this.#epoch, null)
      await this.#drain(null)
    }
    const [owner] = this.#owners
    if (owner === undefined) throw new BrokenRuleError('nobody could take over')
    await this.#write(owner)
    await this.#drain(null)
    const flushing = owner.shipper.flush(hourMs)
    await this.#drain(flushing)
    await flushing
    this.#checkAcked(owner.db)
    const hash = sha256(owner.db.image())
    if (this.#newest().hash !== hash) {
      const { durableSeq, failuresInRow, fencedBy } = owner.shipper
      const facts = { durableSeq, commitSeq: owner.db.commitSeq, isWriting: owner.isWriting, failuresInRow, fencedBy }
      throw new BrokenRuleError(`the history is not the database: ${JSON.stringify(facts)}`)
    }
    for (const txid of [...this.#slots.keys()].filter((each) => this.#isPromised(each)).slice(-6)) {
      const restoring = this.#restoreTo(txid, true)
      await this.#drain(restoring)
      await restoring
    }
    if (this.#broken !== null) throw this.#broken
    const { requests, ...counts } = this.#counts
    return { seed: this.#seed, slots: this.#slots.size, acked: this.#acked.size, ...counts, requests }
  }

  async end(): Promise<void> {
    this.#store.end()
    const closing = Promise.all(
      [...this.#owners, ...this.#grave].map(async ({ upkeep, shipper, db, runner }) => {
        upkeep.close()
        await shipper.close({ deadlineMs: 0 })
        await db.close()
        runner[Symbol.dispose]()
      }),
    ).then(() => Promise.all(this.#background))
    let isClosed = false
    closing.then(() => (isClosed = true))
    while (!isClosed) {
      await this.#clock.advance(hourMs)
      await setImmediate()
    }
    await closing
    rmSync(this.#root, { recursive: true, force: true })
  }

  // ── what happens ──

  /** Hours, now and then a month. */
  #jump(): Promise<void> {
    return this.#clock.advance(this.#rng.below(40) * (this.#rng.below(6) === 0 ? 24 : 1) * hourMs)
  }

  async #settleSome(): Promise<void> {
    for (let count = 1 + this.#rng.below(3); count > 0 && this.#store.pending.length > 0; count--) {
      await this.#settleOne()
      if (this.#rng.below(2) === 0) await this.#quiet()
    }
  }

  #settleOne(): Promise<void> {
    const request = this.#anyRequest()
    this.#counts.requests++
    const roll = this.#isHealing ? 100 : this.#rng.below(100)
    const fails = this.#weights['failures']!
    const fate: Fate = roll < fails ? 'failed' : roll < 2 * fails ? 'lost-reply' : 'done'
    return request.settle(fate)
  }

  async #write(owner: Owner): Promise<void> {
    if (owner.isWriting) return
    owner.isWriting = true
    const { db, shipper } = owner
    const id = this.#nextId++
    const kind = this.#rng.below(12)
    const rows = 1 + this.#rng.below(6)
    const values = Array.from({ length: rows }, () => this.#rng.bytes(this.#rng.below(kind === 0 ? 9_000 : 700)))
    const isAwaited = this.#rng.below(3) > 0
    const write = () =>
      db.transaction(() => {
        db.run('INSERT INTO t (id) VALUES (?)', [id])
        for (const value of values) db.run('INSERT INTO u (v) VALUES (?)', [value])
        if (kind === 1) db.run('DELETE FROM u WHERE id % 3 = 0')
        if (kind === 2) db.run(`CREATE TABLE IF NOT EXISTS w${id % 5} (a, b)`)
        if (kind === 3) db.run('UPDATE u SET v = zeroblob(300) WHERE id % 7 = 1')
      })
    // Only a request under way can keep it waiting for its turn.
    const writing = this.#job(owner.client, write).then(() => {
      this.#committed.add(sha256(db.image()))
      owner.isWriting = false
      const seq = db.commitSeq
      if (!isAwaited) return
      this.#inBackground(
        shipper.waitDurable(seq, hourMs).then(() => {
          if (owner.client.isDead) return
          this.#acked.add(id)
        }),
      )
    })
    this.#inBackground(writing)
  }

  #retain(owner: Owner): void {
    // From the newest manifest, or from an old one.
    const state = this.#rng.below(4) === 0 ? this.#pick(this.#retention) : this.#retention.at(-1)!
    this.#inBackground(
      owner.retain(prefix, state).then(({ candidates }) => {
        this.#retention = [...this.#retention.slice(-3), { candidates, restoreMsMax: 0 }]
      }),
    )
  }

  /** Some neighbours into one file, whether that is due or not: levels may overlap in any way. */
  #mergeAnything(owner: Owner): void {
    const slots = this.#files()
      .filter(({ level }) => level === 0)
      .sort((a, b) => a.minTxid - b.minTxid)
    const isImage = this.#rng.below(3) === 0
    const from = isImage ? 0 : 1 + this.#rng.below(slots.length)
    const inputs: ManifestFile[] = []
    for (const file of slots.slice(from, from + 2 + this.#rng.below(20))) {
      if (file.minTxid !== (inputs.at(-1)?.maxTxid ?? file.minTxid - 1) + 1) break
      inputs.push({ ...file, timestampMs: null, checksum: null })
    }
    if (inputs.length < 2 || (isImage && inputs[0]!.minTxid !== 1)) return
    this.#inBackground(owner.merge(prefix, { level: isImage ? 9 : 1 + this.#rng.below(3), inputs }))
  }

  #restore(): void {
    const txids = [...this.#slots.keys()]
    this.#inBackground(this.#restoreTo(this.#pick(txids), false))
  }

  async #restoreTo(txid: number, mustWork: boolean): Promise<void> {
    const isReserved = this.#isPromised(txid) && this.#rng.below(2) === 0
    const name = `restore-${++this.#names}`
    const client = this.#store.client(name)
    const at = { store: client, prefix }
    const dir = join(this.#root, name)
    mkdirSync(dir)
    try {
      if (isReserved) {
        await reserve(at, { name, untilMs: null, points: [txid as Txid], files: [] })
        if (this.#isPromised(txid)) this.#reserved.add(txid)
      }
      const path = join(dir, 'data.db')
      await this.#job(client, () => restoreDatabase(at, path, { target: txid as Txid }))
      this.#counts.restores++
      if (sha256(await Bun.file(path).bytes()) !== this.#slots.get(txid)!.hash)
        throw new BrokenRuleError(`TXID ${txid} was restored to something else`)
    } catch (error) {
      if (error instanceof BrokenRuleError) throw error
      const isInjected = errorCode(error) === 'object_store'
      if (mustWork || (this.#isPromised(txid) && !isInjected))
        throw new BrokenRuleError(`TXID ${txid} is promised and cannot be restored`, { cause: error })
    } finally {
      if (this.#reserved.delete(txid)) await release(at, name).catch(() => undefined) // it keeps too much, no harm
      rmSync(dir, { recursive: true, force: true })
    }
  }

  async #crash(): Promise<void> {
    this.#counts.crashes++
    if (this.#opening !== null && (this.#owners.length === 0 || this.#rng.below(2) === 0)) {
      const client = this.#opening
      this.#opening = null
      await this.#kill(client)
      return
    }
    const owner = this.#pick(this.#owners)
    const wasNewest = owner.epoch === this.#epoch
    await this.#bury(owner, true)
    if (this.#opening !== null) return
    // The same node starts again under the same placement, or another one takes over.
    if (wasNewest && this.#rng.below(2) === 0) this.#open(this.#epoch, this.#remains(owner))
  }

  async #bury(owner: Owner, isCrash: boolean): Promise<void> {
    this.#owners.splice(this.#owners.indexOf(owner), 1)
    this.#grave.push(owner)
    await this.#kill(owner.client, isCrash)
    await this.#kill(owner.background, isCrash)
  }

  async #kill(client: SimClient, mayStillBeDone = true): Promise<void> {
    client.isDead = true
    for (const request of [...this.#store.pending])
      if (request.client === client) await request.drop(mayStillBeDone && this.#rng.below(2) === 0)
  }

  /** The files of a dead owner; after a power cut without the end of the WAL that was not synced. */
  #remains(owner: Owner): string {
    const dir = join(this.#root, `remains-${++this.#names}`)
    mkdirSync(dir)
    for (const suffix of ['', '-wal', '-replica'])
      cpSync(join(owner.dir, `data.db${suffix}`), join(dir, `data.db${suffix}`), { force: true, errorOnExist: false })
    if (this.#rng.below(2) === 0) {
      const wal = join(dir, 'data.db-wal')
      const { header, sizeBytes } = walOf(wal)
      // Started over since, all of it is new; the database file has what was in it before.
      const kept = header === owner.synced.header ? owner.synced.sizeBytes : 0
      truncateSync(wal, kept + this.#rng.below(sizeBytes - kept + 1))
    }
    return dir
  }

  #open(epoch: number, remains: string | null): void {
    const { dir, client } = this.#place(remains)
    this.#opening = client
    const path = join(dir, 'data.db')
    const rng = seededRng(this.#seed * 31 + this.#names)
    const at = { store: client, prefix }
    const found = this.#manifestFound()
    const manifest = async () => {
      if (found !== null) this.#counts.manifests++
      return found
    }
    const opening = this.#job(client, () => openHistory(at, path, { epoch, clock: this.#clock, rng, manifest }))
      .then((position) => {
        if (client.isDead) return
        const db = Database.open({ path, checkpoint: 'owner' })
        db.quickCheck()
        this.#checkOpened(db, position)
        this.#attach(client, dir, db, position, found)
        this.#counts.takeovers++
      })
      .finally(() => {
        if (this.#opening === client) this.#opening = null
      })
    this.#inBackground(opening)
  }

  /** The newest one, an old one, one of another history, or none. */
  #manifestFound(): HistoryManifest | null {
    const kind = this.#rng.below(8)
    const newest = this.#manifests.at(-1)
    if (newest === undefined || kind === 0) return null
    const manifest = kind < 5 ? newest : this.#pick(this.#manifests)
    return kind === 1 ? { ...manifest, tail: { ...manifest.tail, checksum: '8000000000000000' } } : manifest
  }

  #noteManifest({ manifest }: HistoryUpkeep): void {
    if (manifest === null) return
    const written = decodeHistoryManifest(JSON.parse(JSON.stringify(encodeHistoryManifest(manifest))))
    if (written === null) this.#break(`the manifest of TXID ${manifest.tail.txid} cannot be read`)
    this.#manifests.push(written)
    if (this.#manifests.length > manifestsMax) this.#manifests.shift()
  }

  #place(remains: string | null): { readonly dir: string; readonly client: SimClient } {
    const name = `owner-${++this.#names}`
    const dir = remains ?? join(this.#root, name)
    mkdirSync(dir, { recursive: true })
    return { dir, client: this.#store.client(name) }
  }

  #attach(
    client: SimClient,
    dir: string,
    db: Database,
    position: HistoryPosition,
    previous: HistoryManifest | null,
  ): void {
    const background = this.#store.client(`${client.name}-upkeep`)
    const runner = new UpkeepHere(background, this.#clock)
    const counted = {
      merge: async (...args: Parameters<UpkeepHere['merge']>) => {
        const merged = await this.#job(background, () => runner.merge(...args))
        this.#counts.merges++
        return merged
      },
      retain: (...args: Parameters<UpkeepHere['retain']>) => this.#job(background, () => runner.retain(...args)),
    }
    const upkeep = new HistoryUpkeep(position, previous, {
      clock: this.#clock,
      log: silentLogger,
      runner: counted,
      onChange: () => this.#noteManifest(upkeep),
    })
    const shipper = Shipper.attach(db, position, {
      clock: this.#clock,
      rng: seededRng(this.#seed * 17 + this.#names),
      log: silentLogger,
      checkpointBytes: 8_192,
      onFenced: () => {
        owner.isFenced = true
        this.#counts.fenced++
      },
      onShipped: (file, commit) => {
        upkeep.shipped(file, commit)
        if (file.maxTxid % 4 === 0) this.#noteManifest(upkeep)
      },
    })
    const { writer } = position
    const { merge, retain } = counted
    const facts = { epoch: writer.epoch, dir, client, background, db, shipper, upkeep, runner, merge, retain }
    const owner: Owner = { ...facts, synced: { header: '', sizeBytes: 0 }, isWriting: false, isFenced: false }
    const exclusively = db.exclusively.bind(db)
    db.exclusively = (body) => exclusively(() => this.#job(client, async () => body()))
    const checkpoint = db.checkpoint.bind(db)
    db.checkpoint = (mode) => {
      // Rule 2: no frame moves that the store does not have.
      if (shipper.durableSeq < db.commitSeq) this.#break('a checkpoint moved what was not shipped')
      const outcome = checkpoint(mode)
      owner.synced = walOf(db.walPath)
      return outcome
    }
    this.#owners.push(owner)
  }

  // ── the rules ──

  beforePut(key: string, body: Uint8Array, isCreateOnly: boolean, exists: boolean): void {
    const txid = slotOf(key)
    if (txid === null) return
    // Rule 5: a slot is written once.
    if (!isCreateOnly) this.#break(`slot ${txid} was put without the condition`)
    if (exists) return
    const before = this.#slots.get(txid)
    if (before !== undefined) {
      // A request that was given up long ago may come late, after the slot was deleted: with the same bytes.
      if (sha256(before.body) !== sha256(body)) this.#break(`slot ${txid} was deleted and taken by another file`)
      return
    }
    // Rule 4: dense and in order.
    if (txid !== this.#slots.size + 1) this.#break(`slot ${txid} follows ${this.#slots.size}`)
  }

  afterPut(key: string, body: Uint8Array): void {
    const txid = slotOf(key)
    if (txid === null || this.#slots.has(txid)) return
    const { header } = decodeLtx(body, () => (pgno, page) => void this.#pages.set(pgno, page.slice()))
    for (const pgno of this.#pages.keys()) if (pgno > header.commit) this.#pages.delete(pgno)
    const image = Buffer.concat(Array.from({ length: header.commit }, (_, index) => this.#pages.get(index + 1)!))
    const hash = sha256(image)
    const before = this.#slots.get(txid - 1)
    // Rule 3: only whole transactions. A seal changes nothing.
    if (!this.#committed.has(hash)) this.#break(`slot ${txid} makes a state that nobody committed`)
    // Rule 7: TXID and time never go back; and nobody of an older epoch comes behind a newer one.
    if (before !== undefined && header.timestampMs <= before.header.timestampMs)
      this.#break(`slot ${txid} goes back in time`)
    if (before !== undefined && header.writer.epoch < before.header.writer.epoch)
      this.#break(`epoch ${header.writer.epoch} wrote slot ${txid} behind epoch ${before.header.writer.epoch}`)
    this.#slots.set(txid, { header, body, hash })
  }

  beforeDelete(keys: readonly string[]): void {
    const going = new Set(keys)
    const files = this.#files()
    const left = files.filter((file) => !going.has(file.key))
    const gone = files.filter((file) => going.has(file.key))
    if (gone.length === 0) return
    this.#counts.deletions += gone.length
    // Rule 8: what is promised stays restorable, and no seal goes.
    for (const file of gone) if (isSeal(file)) this.#break(`the seal ${file.key} was deleted`)
    const newest = this.#slots.size
    const reaches = (from: readonly LtxFile[], txid: number) => planRestore(from, txid as Txid).ok
    const plan = planRestore(left, null)
    if (!plan.ok || plan.value.txid !== newest) this.#break('the newest state was deleted')
    for (const txid of this.#slots.keys())
      if (this.#isPromised(txid) && !reaches(left, txid)) this.#break(`TXID ${txid} was promised and deleted`)
    // Of every hour within a month, something that could be restored still can be.
    const hours = new Map<number, boolean>()
    for (const [txid, { header }] of this.#slots) {
      if (this.#clock.now() - header.timestampMs >= defaultRetention.hourlyMs || !reaches(files, txid)) continue
      const hour = Math.floor(header.timestampMs / hourMs)
      hours.set(hour, (hours.get(hour) ?? false) || reaches(left, txid))
    }
    for (const [hour, isThere] of hours) if (!isThere) this.#break(`nothing is left of hour ${hour}`)
  }

  /** Rule 6: after opening, the database is what the store has, or what its own node had committed beyond. */
  #checkOpened(db: Database, position: OpenedHistory): void {
    const hash = sha256(db.image())
    const isStore = hash === this.#slots.get(position.txid)!.hash
    if (!isStore && !(position.origin === 'local' && this.#committed.has(hash)))
      this.#break(`opening at TXID ${position.txid} gave another database`)
    this.#checkAcked(db)
  }

  /** Rule 1: what was acknowledged is there, whoever owns the history now. */
  #checkAcked(db: Database): void {
    const ids = new Set(db.all<{ id: number }>('SELECT id FROM t').map(({ id }) => id))
    for (const id of this.#acked) if (!ids.has(id)) this.#break(`row ${id} was acknowledged and is gone`)
  }

  #isPromised(txid: number): boolean {
    const slot = this.#slots.get(txid)!
    if (this.#reserved.has(txid) || txid === this.#slots.size) return true
    return this.#clock.now() - slot.header.timestampMs < defaultRetention.everyMs
  }

  #newest(): Slot {
    return this.#slots.get(this.#slots.size)!
  }

  #files(): (LtxFile & { readonly key: string })[] {
    return this.#store.inner.keys.flatMap((key) => {
      const [level, name, ...more] = key.slice(prefix.length + 1).split('/')
      const range = name === undefined || more.length > 0 ? null : parseLtxName(name)
      if (range === null) return []
      return [{ key, level: Number.parseInt(level!, 16), ...range, sizeBytes: this.#sizeOf(key), modifiedAtMs: 0 }]
    })
  }

  #sizeOf(key: string): number {
    const txid = slotOf(key)
    return txid === null ? 1_000 : this.#slots.get(txid)!.body.length
  }

  #break(what: string): never {
    const error = new BrokenRuleError(what)
    this.#broken ??= error
    throw error
  }

  // ── how it runs ──

  /** Work that goes on by itself. What the world does to it is no failure; what breaks a rule is. */
  #inBackground(work: Promise<unknown>): void {
    const watched: Promise<void> = work
      .then(
        () => undefined,
        (error: unknown) => {
          const code = errorCode(error)
          const isExpected =
            code !== undefined || (error instanceof Error && error.message === 'the simulation is over')
          if (!isExpected) this.#broken ??= error
        },
      )
      .finally(() => this.#background.delete(watched))
    this.#background.add(watched)
  }

  /** Settles everything, without faults once healing, until `goal` is reached or nothing is under way. */
  async #drain(goal: Promise<unknown> | null): Promise<void> {
    let isReached = false
    goal?.then(
      () => (isReached = true),
      () => (isReached = true),
    )
    for (let turn = 0; turn < 20_000; turn++) {
      await this.#quiet()
      if (this.#broken !== null) throw this.#broken
      if (isReached) return
      if (this.#store.pending.length > 0) await this.#anyRequest().settle('done')
      else if (goal === null && this.#opening === null) return
      else await this.#clock.advance(500)
    }
    throw new BrokenRuleError('nothing moves any more')
  }

  /** Until nothing happens without us: files are real, so what waits for them must be waited for. */
  async #quiet(): Promise<void> {
    for (let calm = 0, looks = 0; calm < calmLooks && looks < looksMax; looks++) {
      const before = this.#store.activity
      await Promise.all(Array.from({ length: 4 }, () => stat(this.#root)))
      await setImmediate()
      calm = this.#store.activity === before && !this.#isBusy() ? calm + 1 : 0
    }
  }

  /** Whether somebody works on files, and so on nothing that the simulation could settle. */
  #isBusy(): boolean {
    const waiting = new Set(this.#store.pending.map(({ client }) => client))
    for (const [client, count] of this.#jobs) if (count > 0 && !client.isDead && !waiting.has(client)) return true
    return false
  }

  async #job<T>(client: SimClient, work: () => Promise<T>): Promise<T> {
    const count = (by: number) => this.#jobs.set(client, (this.#jobs.get(client) ?? 0) + by)
    count(1)
    try {
      return await work()
    } finally {
      count(-1)
      this.#store.activity++
    }
  }

  /** In an order that does not depend on which file was read first. */
  #anyRequest(): PendingRequest {
    const name = ({ client, operation, key }: PendingRequest) => `${client.name} ${operation} ${key}`
    return this.#pick([...this.#store.pending].sort((a, b) => (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0)))
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#rng.below(items.length)]!
  }
}

/** Its header, which changes when it starts over, and its size. */
function walOf(path: string): { readonly header: string; readonly sizeBytes: number } {
  const bytes = readFileSync(path)
  return { header: bytes.subarray(0, 32).toString('hex'), sizeBytes: bytes.length }
}

function slotOf(key: string): number | null {
  const match = /\/0000\/([0-9a-f]{16})-\1\.ltx$/.exec(key)
  return match === null ? null : Number.parseInt(match[1]!, 16)
}
