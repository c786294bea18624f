// Rebuilds a database file from its history: files in parallel, newest first, so that of each page only the newest
// content is written. The result is byte for byte the checkpointed file of the source at that TXID.

import { closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { LtxGapError, NeverShippedError } from './errors.ts'
import { type BeginLtx, type DecodedLtx, decodeLtxPaced } from './ltx/decoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import { type LtxHeader, lockPgno } from './ltx/header.ts'
import { type HistoryLocation, type LtxFile, listLtx, ltxKey, ltxName } from './ltx-store.ts'
import { planRestore, type RestorePlan } from './restore-plan.ts'

/** Files that are fetched at the same time, and bytes of them that may wait to be applied. */
const getsInFlight = 16
const bytesInFlightMax = 256 << 20
/** Neighbouring pages are written together, up to this many bytes. */
const runBytesMax = 1 << 20

export interface Restored {
  /** Of the last file applied. */
  readonly header: LtxHeader
  readonly checksum: bigint
  readonly txid: Txid
  readonly filesCount: number
  readonly bytesRead: number
}

/** Plans from a listing; throws NeverShippedError or LtxGapError. */
export function planOrThrow(at: HistoryLocation, files: readonly LtxFile[], target: Txid | null): RestorePlan {
  const plan = planRestore(files, target)
  if (plan.ok) return plan.value
  if (plan.error.type === 'never_shipped') throw new NeverShippedError(at.prefix)
  throw new LtxGapError(plan.error.expected, plan.error.found)
}

/**
 * Replaces the file at `dbPath` by the database as of `target`. No connection to it may be open. A stale `-wal` or
 * `-shm` beside it is removed before the new file gets its name; on failure the old files stay.
 *
 * @param target last TXID, inclusive; null for the newest.
 * @param files the listing, when the caller has it.
 */
export async function restoreDatabase(
  at: HistoryLocation,
  dbPath: string,
  options: {
    readonly target: Txid | null
    readonly files?: readonly LtxFile[]
    readonly signal?: AbortSignal
  },
): Promise<Restored> {
  const { signal } = options
  const plan = planOrThrow(
    at,
    options.files ?? (await listLtx(at, signal === undefined ? {} : { signal })),
    options.target,
  )
  const temporary = `${dbPath}.restoring`
  await rm(temporary, { force: true })
  const fd = openSync(temporary, 'wx', 0o600)
  let restored: Restored
  try {
    restored = await applyPlan(at, plan, fd, signal)
    fsyncSync(fd)
  } catch (error) {
    closeSync(fd)
    await rm(temporary, { force: true })
    throw error
  }
  closeSync(fd)
  // The old WAL must be gone first: SQLite would replay it into the new file.
  for (const suffix of ['-wal', '-shm']) await rm(dbPath + suffix, { force: true })
  await rename(temporary, dbPath)
  const folder = await open(dirname(dbPath), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return restored
}

async function applyPlan(
  at: HistoryLocation,
  plan: RestorePlan,
  fd: number,
  signal: AbortSignal | undefined,
): Promise<Restored> {
  const newestFirst = [...plan.files].reverse()
  const stop = new AbortController()
  const fetchSignal = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])
  const fetches: Promise<Uint8Array>[] = []
  let bytesInFlight = 0
  let bytesRead = 0
  let newest: DecodedLtx | null = null
  let seen = new Uint8Array(0)
  let missing = 0
  try {
    for (const [index, file] of newestFirst.entries()) {
      for (; fetches.length < newestFirst.length && fetches.length < index + getsInFlight; ) {
        const ahead = newestFirst[fetches.length]!
        if (fetches.length > index && bytesInFlight + ahead.sizeBytes > bytesInFlightMax) break
        bytesInFlight += ahead.sizeBytes
        const fetched = at.store.get(ltxKey(at, ahead), { signal: fetchSignal })
        fetched.catch(() => undefined) // awaited below; one that fails earlier must not count as unhandled
        fetches.push(fetched)
      }
      const bytes = await fetches[index]!
      fetches[index] = Promise.resolve(new Uint8Array(0))
      bytesInFlight -= file.sizeBytes
      bytesRead += bytes.length
      const writer = new RunWriter(fd)
      const name = ltxName(file.minTxid, file.maxTxid)
      const decoded = await decodeFile(name, bytes, (header) => {
        if (newest === null) {
          const lock = lockPgno(header.pageSize)
          seen = new Uint8Array(header.commit + 1)
          missing = header.commit - (lock <= header.commit ? 1 : 0)
        } else if (newest.header.pageSize !== header.pageSize)
          throw new LtxFormatError(`${name} has page size ${header.pageSize}, not ${newest.header.pageSize}`)
        if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid)
          throw new LtxFormatError(`${name} holds TXIDs ${header.minTxid} to ${header.maxTxid}`)
        return (pgno, page) => {
          // Pages above the last commit were cut off later; seen ones have newer content.
          if (pgno >= seen.length || seen[pgno] === 1) return
          seen[pgno] = 1
          missing--
          writer.write(pgno, page)
        }
      })
      writer.flush()
      newest ??= decoded
    }
  } finally {
    stop.abort()
  }
  if (newest === null || missing !== 0) throw new LtxFormatError(`${at.prefix}: ${missing} pages are in no file`)
  // The lock page, and nothing else, is a hole: zeros.
  ftruncateSync(fd, newest.header.commit * newest.header.pageSize)
  return { ...newest, txid: plan.txid, filesCount: plan.files.length, bytesRead }
}

/** Names the file in what it throws. */
async function decodeFile(name: string, bytes: Uint8Array, begin: BeginLtx): Promise<DecodedLtx> {
  try {
    return await decodeLtxPaced(bytes, begin)
  } catch (error) {
    if (error instanceof LtxFormatError) throw new LtxFormatError(`${name} is damaged`, { cause: error })
    throw error
  }
}

/** Writes pages at their places, neighbours in one call. */
class RunWriter {
  readonly #fd: number
  #run = new Uint8Array(0)
  #length = 0
  #offset = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  write(pgno: number, page: Uint8Array): void {
    const offset = (pgno - 1) * page.length
    if (this.#run.length === 0) this.#run = new Uint8Array(runBytesMax)
    if (offset !== this.#offset + this.#length || this.#length + page.length > this.#run.length) {
      this.flush()
      this.#offset = offset
    }
    this.#run.set(page, this.#length)
    this.#length += page.length
  }

  flush(): void {
    for (let at = 0; at < this.#length; ) at += writeSync(this.#fd, this.#run, at, this.#length - at, this.#offset + at)
    this.#offset += this.#length
    this.#length = 0
  }
}
