// Goal: a commit that enough standbys have is never lost, whoever dies, and no owner finds enough standbys once a
// successor has asked them. Method: real databases and standby logs in one process; the store in memory fails as told.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { seededRng, systemRng } from '../../src/lib/rng.ts'
import { StaleEpochError } from '../../src/replicate/errors.ts'
import { chainHeadBytes } from '../../src/replicate/standby-chain.ts'
import {
  acksMinOf,
  StandbyCouncil,
  type StandbyNode,
  StandbysUnreachableError,
} from '../../src/replicate/standby-council.ts'
import { StandbyLogs } from '../../src/replicate/standby-log.ts'
import { StandbyStream, StandbysBehindError } from '../../src/replicate/standby-stream.ts'
import { Owner, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-quorum-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const id = 'abcdefghij12345'
let standbys = 0

/** A standby that can be cut off, from everybody or only from an epoch, and restarted. */
class Standby implements StandbyNode {
  readonly name = `s${++standbys}`
  readonly dir = join(root, this.name)
  logs = StandbyLogs.open(this.dir)
  isUp = true
  cutOffEpoch = 0
  promise: StandbyNode['promise'] = (writer) => this.#reach(writer.epoch, () => this.logs.promise(id, writer))
  append: StandbyNode['append'] = (writer, unit) => this.#reach(writer.epoch, () => this.logs.append(id, writer, unit))
  read: StandbyNode['read'] = (reader, range) => this.#reach(reader.epoch, () => this.logs.read(id, reader, range))
  release: StandbyNode['release'] = (writer) =>
    this.#reach(writer.epoch, async () => void (await this.logs.release(id, writer)))

  restart(): void {
    this.logs = StandbyLogs.open(this.dir)
  }

  loseDisk(): void {
    rmSync(this.dir, { recursive: true, force: true })
    this.restart()
  }

  get chainFiles(): string[] {
    return readdirSync(join(this.dir, id)).filter((name) => name.endsWith('.chain'))
  }

  async #reach<T>(epoch: number, work: () => Promise<T>): Promise<T> {
    if (!this.isUp || epoch === this.cutOffEpoch) throw new Error(`${this.name} cannot be reached`)
    return work()
  }
}

interface Quorum {
  readonly owner: Awaited<ReturnType<typeof Owner.open>>
  readonly stream: StandbyStream
  /** How often it asked for another opening. */
  readonly lost: () => number
  write(value: string | Uint8Array): Promise<void>
}

/** An opening with standbys; without `dir` on a new disk. */
async function openQuorum(
  store: MemoryObjectStore,
  epoch: number,
  options: {
    readonly own: readonly Standby[]
    readonly sets: Readonly<Record<number, readonly Standby[]>>
    readonly dir?: string
  },
): Promise<Quorum> {
  const council = new StandbyCouncil({ sets: setsOf(options.sets), own: options.own, log })
  const owner = await Owner.open(store, epoch, {
    ...(options.dir === undefined ? {} : { dir: options.dir }),
    recover: (tail, writer, at) => council.recover(tail, writer, at),
  })
  const { writer } = owner.position
  await council.releaseOthers(writer)
  let lost = 0
  const stream = new StandbyStream(owner.db, owner.shipper, {
    clock: systemClock,
    log,
    peers: council.peers(writer),
    acksMin: acksMinOf(options.own.length),
    firstSeq: council.firstSeq,
    onLost: () => lost++,
  })
  const write = async (value: string | Uint8Array) => stream.waitStored(await owner.insert(value))
  return { owner, stream, lost: () => lost, write }
}

const setsOf = (sets: Readonly<Record<number, readonly Standby[]>>) =>
  Object.entries(sets).map(([epoch, nodes]) => ({ epoch: Number(epoch), nodes }))

/** A history that epoch 1 made and left. */
async function begun(): Promise<MemoryObjectStore> {
  const store = new MemoryObjectStore()
  await using first = await Owner.create(store)
  await first.flush()
  return store
}

const outage = () => ({ type: 'error', status: 503 }) as const

test('the successor on another disk has every commit that the standby had and the store had not', async () => {
  const store = await begun()
  const standby = new Standby()
  const { owner, write } = await openQuorum(store, 2, { own: [standby], sets: {} })
  await write('before')
  await owner.flush()
  store.fault = outage
  const rng = seededRng(5)
  const values = Array.from({ length: 30 }, (_, n) => `${n} ${rng.bytes(200 + n * 100).toHex()}`)
  for (const value of values) await write(value)
  const hash = owner.hash()
  await owner.abandon()
  store.fault = null
  standby.restart()
  const next = await openQuorum(store, 3, { own: [new Standby()], sets: { 2: [standby] } })
  expect(next.owner.values()).toEqual(['before', ...values])
  expect(next.owner.hash()).toBe(hash)
  expect(await restoredHash(next.owner.at, null)).toBe(hash)
  expect(readdirSync(standby.dir)).toEqual([]) // released: everything is in the store
  await next.write('after')
  await next.owner.flush()
  expect(await restoredHash(next.owner.at, null)).toBe(next.owner.hash())
  await next.owner.close()
})

test('once a successor has asked, the old owner gets no acknowledgement, sealed or not', async () => {
  const store = await begun()
  const standby = new Standby()
  const old = await openQuorum(store, 2, { own: [standby], sets: {} })
  await old.write('kept')
  const council = new StandbyCouncil({ sets: [{ epoch: 2, nodes: [standby] }], own: [], log })
  // The successor dies between its question and its seal: the old owner must stay silent all the same.
  const tail = { header: { ...header(old.owner), writer: old.owner.position.writer }, checksum: 0n }
  expect((await council.recover(tail, { epoch: 3, incarnation: 1 }, old.owner.at))?.commit).toBeGreaterThan(0)
  await expect(old.write('too late')).rejects.toBeInstanceOf(StandbysBehindError)
  expect(old.lost()).toBe(0)
  standby.restart() // the promise was on disk
  await expect(old.write('still too late')).rejects.toBeInstanceOf(StandbysBehindError)
  await expect(openQuorum(store, 2, { own: [standby], sets: { 2: [standby] } })).rejects.toBeInstanceOf(StaleEpochError)
  store.fault = outage
  await old.owner.abandon()
  store.fault = null
  const next = await openQuorum(store, 4, { own: [standby], sets: { 2: [standby], 3: [standby] } })
  expect(next.owner.values()).toEqual(['kept'])
  await next.owner.abandon()
})

function header(owner: Owner) {
  const { timestampMs, pageSize, commit, txid } = owner.position
  const wal = { walOffset: 32, walSize: 0, walSalt1: 0, walSalt2: 0 }
  return { pageSize, commit, minTxid: txid, maxTxid: txid, timestampMs, ...wal }
}

test('owner and standby cut off together: the successor stays down until the standby or a person speaks', async () => {
  const store = await begun()
  const standby = new Standby()
  const old = await openQuorum(store, 2, { own: [standby], sets: {} })
  await old.write('only on the standby')
  standby.cutOffEpoch = 3
  const requests = store.requestCountOf('put')
  await expect(openQuorum(store, 3, { own: [], sets: { 2: [standby] } })).rejects.toBeInstanceOf(
    StandbysUnreachableError,
  )
  expect(store.requestCountOf('put')).toBe(requests) // nothing was sealed
  await old.write('the old owner goes on') // nobody else may: this is no split
  standby.cutOffEpoch = 0
  const next = await openQuorum(store, 3, { own: [], sets: { 2: [standby] } })
  expect(next.owner.values()).toEqual(['only on the standby', 'the old owner goes on'])
  await expect(old.write('never')).rejects.toBeInstanceOf(StandbysBehindError)
  await old.owner.abandon()
  await next.owner.abandon()
})

test('two of three: one may be away at each moment, and any two know everything', async () => {
  const store = await begun()
  const three = [new Standby(), new Standby(), new Standby()] as const
  const { owner, write, stream } = await openQuorum(store, 2, { own: three, sets: {} })
  store.fault = outage
  const values: string[] = []
  for (let n = 0; n < 30; n++) {
    const away = three[Math.floor(n / 10)]!
    for (const each of three) each.isUp = each !== away
    values.push(`v${n}`)
    await write(`v${n}`)
  }
  for (const each of three) each.isUp = false
  await expect(write('nobody')).rejects.toBeInstanceOf(StandbysBehindError)
  expect(stream.storedSeq).toBe(values.length)
  await owner.abandon()
  store.fault = null
  three[1].isUp = true
  await expect(openQuorum(store, 3, { own: [], sets: { 2: three } })).rejects.toBeInstanceOf(StandbysUnreachableError)
  three[2].isUp = true
  const next = await openQuorum(store, 3, { own: [], sets: { 2: three } })
  expect(next.owner.values().slice(0, values.length)).toEqual(values)
  await next.owner.abandon()
}, 180_000)

test('a restart on the same disk goes on with its files, and has what a power cut took from them', async () => {
  const store = await begun()
  const standby = new Standby()
  const first = await openQuorum(store, 2, { own: [standby], sets: {} })
  store.fault = outage
  await first.write('a')
  const walAfterA = readFileSync(first.owner.db.walPath).length
  await first.write('b')
  await first.owner.abandon()
  store.fault = null
  const second = await openQuorum(store, 2, { own: [standby], sets: { 2: [standby] }, dir: first.owner.dir })
  expect(second.owner.origin).toBe('local')
  expect(second.owner.values()).toEqual(['a', 'b'])
  await second.write('c')
  await second.owner.flush()
  expect(await restoredHash(second.owner.at, null)).toBe(second.owner.hash())
  store.fault = outage
  await second.write('d')
  await second.owner.abandon()
  store.fault = null
  truncateSync(second.owner.db.walPath, walAfterA)
  const third = await openQuorum(store, 2, { own: [standby], sets: { 2: [standby] }, dir: first.owner.dir })
  expect(third.owner.origin).toBe('restored')
  expect(third.owner.values()).toEqual(['a', 'b', 'c', 'd'])
  await third.owner.abandon()
})

test('a standby without its promise is refused its share; a chain starts over; a torn unit was never acknowledged', async () => {
  const store = await begun()
  const standby = new Standby()
  const { owner, write, lost, stream } = await openQuorum(store, 2, { own: [standby], sets: {} })
  for (let n = 0; n < 12; n++) {
    await write(seededRng(n).bytes(1 << 20))
    await owner.flush()
  }
  expect(standby.chainFiles.length).toBe(1)
  expect(readFileSync(join(standby.dir, id, standby.chainFiles[0]!)).length).toBeLessThan(7 << 20)
  await write('whole')
  const path = join(standby.dir, id, standby.chainFiles[0]!)
  writeFileSync(path, Buffer.concat([readFileSync(path), new Uint8Array([0, 0, 1, 0, 9, 9])]))
  standby.restart()
  await write('behind the torn one')
  standby.loseDisk()
  await expect(write('lost its promise')).rejects.toBeInstanceOf(StandbysBehindError)
  expect(lost()).toBe(1)
  await owner.flush()
  await stream.close({ isShipped: true })
  await owner.close()
}, 180_000)

test('a long outage: the chain goes on beyond where it would start over, and all of it is recovered', async () => {
  const store = await begun()
  const standby = new Standby()
  const { owner, write } = await openQuorum(store, 2, { own: [standby], sets: {} })
  store.fault = outage
  const rng = seededRng(3)
  const values = Array.from({ length: 30 }, () => rng.bytes(500_000).toHex())
  for (const value of values) await write(value) // 30 MB that no restart can make shorter
  const [file] = standby.chainFiles
  expect(readFileSync(join(standby.dir, id, file!)).length).toBeGreaterThan(15 << 20)
  await owner.abandon()
  store.fault = null
  const next = await openQuorum(store, 3, { own: [standby], sets: { 2: [standby] } })
  expect(next.owner.values()).toEqual(values)
  await next.write('then it is short again')
  expect(readFileSync(join(standby.dir, id, standby.chainFiles[0]!)).length).toBeLessThan(1 << 20)
  await next.owner.close()
}, 180_000)

test('an owner that dies between its seal and what its standbys told it leaves that to the next one', async () => {
  const store = await begun()
  const standby = new Standby()
  const old = await openQuorum(store, 2, { own: [standby], sets: {} })
  await old.owner.insert('shipped')
  await old.owner.flush()
  store.fault = outage
  await old.write('on the standby')
  await old.owner.abandon()
  for (const epoch of [3, 4]) {
    let puts = 0
    store.fault = (operation) => (operation === 'put' && puts++ > 0 ? outage() : null)
    await expect(openQuorum(store, epoch, { own: [], sets: { 2: [standby] } })).rejects.toThrow('503')
  }
  store.fault = null
  const next = await openQuorum(store, 5, { own: [], sets: { 2: [standby] } })
  expect(next.owner.values()).toEqual(['shipped', 'on the standby'])
  await next.owner.abandon()
  const later = await openQuorum(store, 6, { own: [], sets: {} })
  expect(later.owner.values()).toEqual(['shipped', 'on the standby'])
  await later.owner.abandon()
})

test('standbys of owners before the last one that wrote need not be there any more', async () => {
  const store = await begun()
  const [gone, there] = [new Standby(), new Standby()]
  const first = await openQuorum(store, 2, { own: [gone], sets: {} })
  await first.write('a')
  await first.owner.close()
  const second = await openQuorum(store, 3, { own: [there], sets: { 2: [gone] } })
  gone.isUp = false
  // It has sealed, but not written: it may have died before it put what `gone` told it.
  await expect(openQuorum(store, 4, { own: [], sets: { 2: [gone], 3: [there] } })).rejects.toBeInstanceOf(
    StandbysUnreachableError,
  )
  await second.owner.insert('b')
  await second.owner.flush()
  await second.owner.abandon()
  const next = await openQuorum(store, 5, { own: [], sets: { 2: [gone], 3: [there] } })
  expect(next.owner.values()).toEqual(['a', 'b'])
  await next.owner.abandon()
})

test('damage before the end of a chain is no answer to a takeover', async () => {
  const store = await begun()
  const standby = new Standby()
  const { owner, write } = await openQuorum(store, 2, { own: [standby], sets: {} })
  await write('one')
  await write('two')
  await owner.abandon()
  const path = join(standby.dir, id, standby.chainFiles[0]!)
  const bytes = readFileSync(path)
  bytes[chainHeadBytes + 50]! ^= 1
  writeFileSync(path, bytes)
  standby.restart()
  await expect(openQuorum(store, 3, { own: [], sets: { 2: [standby] } })).rejects.toBeInstanceOf(
    StandbysUnreachableError,
  )
})

test('a chain file without its head was never acknowledged: the one before it counts', async () => {
  const store = await begun()
  const standby = new Standby()
  const { owner, write } = await openQuorum(store, 2, { own: [standby], sets: {} })
  store.fault = outage
  await write('one')
  store.fault = null
  await owner.abandon()
  const [name] = standby.chainFiles
  const { writer } = owner.position
  for (const length of [0, chainHeadBytes - 1])
    writeFileSync(
      join(standby.dir, id, `${writer.epoch}-${writer.incarnation}-${9 + length}.chain`),
      new Uint8Array(length),
    )
  expect(standby.chainFiles.length).toBe(3)
  expect(name).toBeDefined()
  standby.restart()
  const heir = await openQuorum(store, 3, { own: [], sets: { 2: [standby] } })
  expect(heir.owner.values()).toEqual(['one'])
  await heir.owner.abandon()
})

test('two openings that ask while a third lets go: never do both have the promise', async () => {
  const logs = StandbyLogs.open(join(root, 'race'))
  const writer = (epoch: number) => ({ epoch, incarnation: epoch })
  const unit = { seq: 2, chainSeq: 2, baseTxid: 1 as Txid, bytes: new Uint8Array(9) }
  await logs.promise(id, writer(1))
  const releasing = logs.release(id, writer(1))
  const newer = logs.promise(id, writer(3))
  await releasing
  const older = await logs.promise(id, writer(2))
  expect((await newer).accepted).toBe(true)
  // Whichever was first, the newer one has it in the end.
  expect(await logs.append(id, writer(2), unit)).toBe('promised')
  expect(await logs.append(id, writer(3), unit)).toBe('stored')
  expect(older.accepted || older.epoch === 3).toBe(true)
})

test('random histories: writers, shipping, vacuum, takeovers; whatever was acknowledged is there', async () => {
  const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))
  console.log(`SEED=${seed}`)
  const rng = seededRng(seed)
  const store = await begun()
  const all = [new Standby(), new Standby(), new Standby(), new Standby()]
  const sets: Record<number, readonly Standby[]> = {}
  const acked: string[] = []
  for (let epoch = 2; epoch < 12; epoch++) {
    const from = rng.below(2)
    const own = all.slice(from, from + (rng.below(2) === 0 ? 1 : 3))
    if (rng.below(3) === 0) {
      let puts = 0
      store.fault = (operation) => (operation === 'put' && puts++ > 0 ? outage() : null)
      await openQuorum(store, epoch, { own, sets }).then(
        ({ owner }) => owner.abandon(),
        (error) => expect(String(error)).toContain('503'),
      )
      store.fault = null
      sets[epoch] = own
      epoch++
    }
    const { owner, write } = await openQuorum(store, epoch, { own, sets })
    sets[epoch] = own
    const values = owner.values()
    expect(acked.filter((value) => !values.includes(value))).toEqual([])
    if (rng.below(2) === 0) store.fault = outage
    for (let n = 0, steps = rng.below(14); n < steps; n++) {
      const value = `${epoch}/${n} ${rng.bytes(rng.below(9_000)).toHex()}`
      const kind = rng.below(8)
      if (kind === 0)
        await owner.insert(value) // nobody waits: it may be shipped, streamed or lost
      else if (kind === 1) {
        // Enough for a checkpoint, so that the next commit starts the WAL over.
        await owner.insert(rng.bytes(3 << 20))
        if (store.fault === null) await owner.flush()
        await owner.db.transaction(() => owner.db.run('DELETE FROM t WHERE length(v) > 2000000'))
      } else {
        await write(value)
        acked.push(value)
      }
      if (store.fault === null && rng.below(3) === 0) await owner.flush()
      if (acked.length > 0 && rng.below(6) === 0) {
        const gone = acked.splice(rng.below(acked.length), 1)[0]!
        await owner.db.transaction(() => owner.db.run('DELETE FROM t WHERE v = ?', [gone]))
      }
    }
    const hash = owner.hash()
    if (rng.below(3) === 0) {
      store.fault = null
      await owner.close()
      expect(await restoredHash(owner.at, null)).toBe(hash)
    } else {
      if (rng.below(2) === 0) store.fault = outage
      await owner.abandon()
    }
    store.fault = null
    for (const each of all) if (rng.below(2) === 0) each.restart()
  }
}, 180_000)
