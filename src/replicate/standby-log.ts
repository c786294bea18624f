// A standby's end of `quorum`: keeps other nodes' units until the object store has them, and its promises to successors.
// A promise names the one opening that may append; it is on disk before it is given, so that no restart forgets that an
// older owner was refused.
//
//   {id}/promise.json                          the newest opening that asked
//   {id}/{epoch}-{incarnation}-{chain}.chain   see standby-chain.ts; the newest chain counts, an older one is being replaced

import {
  closeSync,
  type Dirent,
  fdatasync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { assert } from '../lib/assert.ts'
import { concat } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { Mutex } from '../lib/mutex.ts'
import type { LtxWriter } from './ltx/header.ts'
import {
  type ChainHead,
  chainHeadBytes,
  decodeChain,
  encodeChainHead,
  encodeChainRecord,
  StandbyChainError,
} from './standby-chain.ts'

/** What one database may hold here; beyond it the owner's acknowledgements wait for the object store, bytes. */
export const chainBytesMax = 64 << 20
/** What all databases may hold here together, bytes; beyond it none may add. */
const heldBytesMaxDefault = 8 * 2 ** 30
/** From this share of it on none may hold more than its part, so that few with much leave room for many with little. */
const fairFromShare = 0.5
/** Part that every database may hold until nothing is left, bytes. */
const fairBytesMin = 1 << 20
/** Messages for one database that may wait for each other. */
const waitingMax = 256
const promiseVersion = 1
/** Of a database, as its folder is named. */
const idPattern = /^[a-z0-9]+$/
const syncData = promisify(fdatasync)

export interface HeldChain extends ChainHead {
  /** Number of its newest unit. */
  readonly lastSeq: number
  readonly sizeBytes: number
}

export type PromiseOutcome =
  /** From now on only this opening may append. `held`: what earlier ones left. */
  | { readonly accepted: true; readonly held: HeldChain | null }
  /** A later owner was here first. */
  | { readonly accepted: false; readonly epoch: number }

/**
 * `promised`: a later opening asked; `unknown`: this standby never promised, or has lost its disk; `gap`: units between
 * were not received; `full`: no room until the store catches up.
 */
export type AppendOutcome = 'stored' | 'promised' | 'unknown' | 'gap' | 'full'

export interface StandbyUnit {
  readonly seq: number
  /** Number of the first unit of the chain; the same as `seq` starts a chain, which replaces the one before. */
  readonly chainSeq: number
  readonly baseTxid: ChainHead['baseTxid']
  readonly bytes: Uint8Array
}

interface Entry {
  readonly turn: Mutex
  promised: LtxWriter | null
  chain: (HeldChain & { readonly path: string }) | null
}

export class StandbyLogs {
  readonly #root: string
  readonly #heldBytesMax: number
  readonly #entries = new Map<string, Promise<Entry>>()
  /** Bytes on disk by database. */
  readonly #held = new Map<string, number>()
  #heldBytes = 0
  #refusals = 0

  private constructor(root: string, heldBytesMax: number) {
    this.#root = root
    this.#heldBytesMax = heldBytesMax
  }

  /**
   * Counts what earlier processes held.
   *
   * @param root made when it is needed.
   */
  static open(root: string, heldBytesMax = heldBytesMaxDefault): StandbyLogs {
    const logs = new StandbyLogs(root, heldBytesMax)
    let entries: Dirent[]
    try {
      entries = readdirSync(root, { withFileTypes: true })
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      return logs
    }
    for (const entry of entries) {
      const { name: id } = entry
      if (!entry.isDirectory() || !idPattern.test(id)) continue // not ours: no reason for the node not to start
      let bytes = 0
      for (const name of readdirSync(join(root, id)))
        if (parseChainName(name) !== null) bytes += statSync(join(root, id, name)).size
      logs.#note(id, bytes)
    }
    return logs
  }

  /** Bytes of units held for all databases. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Units refused for want of room since the start; their owners wait for the store. */
  get refusals(): number {
    return this.#refusals
  }

  /** Resolves once the promise is on disk. Throws StandbyChainError when what is held is damaged: then it is no answer. */
  promise(id: string, writer: LtxWriter): Promise<PromiseOutcome> {
    return this.#inTurn(id, async (entry) => {
      const { promised } = entry
      if (promised !== null && promised.epoch > writer.epoch) return { accepted: false, epoch: promised.epoch }
      if (promised === null || !isSame(promised, writer)) {
        await this.#writePromise(id, writer)
        entry.promised = writer
      }
      if (entry.chain === null) return { accepted: true, held: null }
      const { path: _, ...held } = entry.chain
      return { accepted: true, held }
    })
  }

  /** Resolves once the unit is on disk. One that is there already is `stored` again. */
  append(id: string, writer: LtxWriter, unit: StandbyUnit): Promise<AppendOutcome> {
    return this.#inTurn(id, async (entry) => {
      if (entry.promised === null) return 'unknown'
      if (!isSame(entry.promised, writer)) return 'promised'
      const { chain } = entry
      const isNext = chain !== null && isSame(chain.writer, writer) && chain.chainSeq === unit.chainSeq
      if (isNext && unit.seq <= chain.lastSeq) return 'stored'
      const record = encodeChainRecord(unit.bytes)
      if (isNext && unit.seq === chain.lastSeq + 1) {
        const sizeBytes = chain.sizeBytes + record.length
        if (!this.#hasRoom(id, sizeBytes)) return 'full'
        await appendSynced(chain.path, chain.sizeBytes, record)
        entry.chain = { ...chain, lastSeq: unit.seq, sizeBytes }
        this.#note(id, sizeBytes)
        return 'stored'
      }
      if (unit.seq !== unit.chainSeq) return 'gap'
      const head = { writer, chainSeq: unit.chainSeq, baseTxid: unit.baseTxid }
      const bytes = concat([encodeChainHead(head), record])
      if (!this.#hasRoom(id, bytes.length)) return 'full'
      const path = join(this.#root, id, chainName(head))
      await appendSynced(path, 0, bytes)
      await syncDirectory(join(this.#root, id))
      if (chain !== null && chain.path !== path) await rm(chain.path, { force: true })
      entry.chain = { ...head, lastSeq: unit.seq, sizeBytes: bytes.length, path }
      this.#note(id, bytes.length)
      return 'stored'
    })
  }

  /** A piece of the chain file for the opening that was promised; null when it is not that one, or nothing is held. */
  read(
    id: string,
    reader: LtxWriter,
    range: { readonly from: number; readonly to: number },
  ): Promise<Uint8Array | null> {
    return this.#inTurn(id, async ({ promised, chain }) => {
      if (chain === null || promised === null || !isSame(promised, reader)) return null
      const { from } = range
      const bytes = new Uint8Array(Math.max(0, Math.min(range.to, chain.sizeBytes) - from))
      await using file = await open(chain.path, 'r')
      let length = 0
      while (length < bytes.length) {
        const { bytesRead } = await file.read(bytes, length, bytes.length - length, from + length)
        if (bytesRead === 0) throw new StandbyChainError(`${chain.path} is shorter than it was`)
        length += bytesRead
      }
      return bytes
    })
  }

  /** Forgets a database whose units the store has. Only the opening that was promised may say so. */
  async release(id: string, writer: LtxWriter): Promise<boolean> {
    return this.#inTurn(id, async ({ promised }) => {
      if (promised !== null && !isSame(promised, writer)) return false
      await rm(join(this.#root, id), { recursive: true, force: true })
      this.#note(id, 0)
      this.#entries.delete(id)
      return true
    })
  }

  #note(id: string, bytes: number): void {
    this.#heldBytes += bytes - (this.#held.get(id) ?? 0)
    if (bytes === 0) this.#held.delete(id)
    else this.#held.set(id, bytes)
  }

  /** Whether a database may hold so much. */
  #hasRoom(id: string, sizeBytes: number): boolean {
    const before = this.#held.get(id) ?? 0
    const total = this.#heldBytes + sizeBytes - before
    const holders = this.#held.size + (before === 0 ? 1 : 0)
    const partBytes = Math.max(fairBytesMin, this.#heldBytesMax / holders)
    const isFair = total <= this.#heldBytesMax * fairFromShare || sizeBytes <= partBytes
    if (sizeBytes <= chainBytesMax && total <= this.#heldBytesMax && isFair) return true
    this.#refusals++
    return false
  }

  async #inTurn<T>(id: string, work: (entry: Entry) => Promise<T>): Promise<T> {
    assert(idPattern.test(id), 'the id of a database names its folder')
    for (;;) {
      let loading = this.#entries.get(id)
      if (loading === undefined) {
        loading = this.#load(id)
        this.#entries.set(id, loading)
        loading.catch(() => this.#entries.delete(id)) // whoever waits gets the error; the next one looks again
      }
      const entry = await loading
      await entry.turn.acquire()
      try {
        // Released while it waited: two entries of one database would let two openings have its promise.
        if (this.#entries.get(id) === loading) return await work(entry)
      } finally {
        entry.turn.release()
      }
    }
  }

  async #load(id: string): Promise<Entry> {
    const entry: Entry = { turn: new Mutex(waitingMax), promised: readPromise(join(this.#root, id)), chain: null }
    let names: string[]
    try {
      names = await readdir(join(this.#root, id))
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      return entry
    }
    const newest = names
      .map((name) => parseChainName(name))
      .filter((each) => each !== null)
      .sort((a, b) => b.epoch - a.epoch || b.chainSeq - a.chainSeq)
    for (const { name } of newest) {
      const path = join(this.#root, id, name)
      const bytes = readFileSync(path)
      if (bytes.length < chainHeadBytes) continue // the disk was full, or it was killed: nothing of it was acknowledged
      const decoded = decodeChain(bytes)
      if (!decoded.ok) throw decoded.error
      const { head, units, sizeBytes } = decoded.value
      if (units.length === 0) continue // its first unit was never acknowledged, so the chain before still counts
      entry.chain = { ...head, lastSeq: head.chainSeq + units.length - 1, sizeBytes, path }
      break
    }
    return entry
  }

  async #writePromise(id: string, { epoch, incarnation }: LtxWriter): Promise<void> {
    const dir = join(this.#root, id)
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const path = join(dir, 'promise.json')
    {
      await using file = await open(`${path}.tmp`, 'w', 0o600)
      await file.writeFile(JSON.stringify({ version: promiseVersion, epoch, incarnation }))
      await file.datasync()
    }
    await rename(`${path}.tmp`, path)
    await syncDirectory(dir)
    await syncDirectory(this.#root)
  }
}

function isSame(a: LtxWriter, b: LtxWriter): boolean {
  return a.epoch === b.epoch && a.incarnation === b.incarnation
}

/** Cuts off what an earlier, failed write left behind `offset`, then writes. */
async function appendSynced(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const fd = openSync(path, offset === 0 ? 'w' : 'r+', 0o600)
  try {
    if (offset > 0 && statSync(path).size !== offset) ftruncateSync(fd, offset)
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
    await syncData(fd)
  } finally {
    closeSync(fd)
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r')
  await directory.sync()
}

function chainName({ writer, chainSeq }: ChainHead): string {
  return `${writer.epoch}-${writer.incarnation}-${chainSeq}.chain`
}

function parseChainName(
  name: string,
): { readonly name: string; readonly epoch: number; readonly chainSeq: number } | null {
  const match = /^(\d{1,10})-\d{1,10}-(\d{1,16})\.chain$/.exec(name)
  return match === null ? null : { name, epoch: Number(match[1]), chainSeq: Number(match[2]) }
}

/** A promise that cannot be read was given to somebody: the whole folder then needs a person, so this throws. */
function readPromise(dir: string): LtxWriter | null {
  let text: string
  try {
    text = readFileSync(join(dir, 'promise.json'), 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (cause) {
    throw new StandbyChainError(`${dir}/promise.json cannot be read`, { cause })
  }
  const { version, epoch, incarnation } = raw as Record<string, unknown>
  if (version !== promiseVersion || typeof epoch !== 'number' || typeof incarnation !== 'number')
    throw new StandbyChainError(`${dir}/promise.json has another shape`)
  return { epoch, incarnation }
}
