// Rebuilds a database file from its history. Of each page only the newest content is written, so the result is byte for
// byte the checkpointed file of the source at that TXID.
//
//   small files   whole, in parallel, expanded here; their checksum is compared
//   large files   header and page index first; then, newest file first, the ranges with pages that no newer file has,
//                 in parallel, expanded by threads. A file that is wanted whole has its checksum compared; for one that
//                 is read in part no checksum exists, so the result gets a quick check before it may take its name.

import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import type { FileCheck } from './check-file.ts'
import { LtxGapError, NeverShippedError } from './errors.ts'
import { decodeLtxPaced, ltxChecksumOf } from './ltx/decoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import { decodeLtxHeader, type LtxHeader, lockPgno, ltxHeaderBytes } from './ltx/header.ts'
import { decodePageIndex, fileChecksum, ltxEndLength, type PageIndex, type PieceChecksum } from './ltx/page-index.ts'
import { type HistoryLocation, type LtxFile, listLtx, ltxKey } from './ltx-store.ts'
import { PageWriter } from './page-writer.ts'
import { planRestore, type RestorePlan } from './restore-plan.ts'
import { type FrameRange, fileRanges, PageSet } from './restore-ranges.ts'
import { RestoreThreads } from './restore-threads.ts'

/** Files up to this size are fetched whole: on a fast network that takes no longer than one more round trip. */
export const wholeFileBytesMax = 2 << 20
/** The index of about 3,000 pages; a longer one costs one more request. */
const endReadBytes = 32 << 10
/** One request for pages, bytes. */
const rangeBytesMax = 8 << 20
/** Requests of one restore at the same time. */
const getsInFlight = 16
/** Bytes that all restores of this process hold between store and disk. */
const budget = new ByteBudget(128 << 20)
/** No page takes fewer bytes in a file; bounds what a hostile size of the database makes us allocate. */
const frameBytesMin = 12
/** Retention may remove what was listed; then the listing is read again. */
const attemptsMax = 3

export interface RestoreProgress {
  readonly bytesDone: number
  /** An upper bound until the page indexes are read. */
  readonly bytesTotal: number
  readonly pagesDone: number
  readonly pagesTotal: number
}

export interface RestoreOptions {
  /** Last TXID, inclusive; null for the newest. */
  readonly target: Txid | null
  /** A listing that suffices, when the caller has it (from a manifest, for example). */
  readonly files?: readonly LtxFile[]
  /** Whole files that the caller has, by key. */
  readonly bodies?: ReadonlyMap<string, Uint8Array>
  /** SQLite's check of the result; by default a quick one, and only where checksums could not prove all of it. */
  readonly check?: FileCheck | 'none'
  readonly onProgress?: (progress: RestoreProgress) => void
  readonly signal?: AbortSignal
}

export interface Restored {
  /** Of the last file applied. */
  readonly header: LtxHeader
  readonly checksum: bigint
  readonly txid: Txid
  readonly filesCount: number
  readonly bytesRead: number
  /** The checksum of each file was compared, so every page is what was shipped. */
  readonly isProven: boolean
  /** The check of SQLite that the result passed. */
  readonly checked: FileCheck | 'none'
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
 * @throws NeverShippedError, LtxGapError; LtxFormatError with key and offset for a damaged file; DamagedDatabaseError when
 *   the check fails; ObjectStoreError; the reason of the signal.
 */
export async function restoreDatabase(at: HistoryLocation, dbPath: string, options: RestoreOptions): Promise<Restored> {
  const temporary = `${dbPath}.restoring`
  const restored = await restoreBeside(at, temporary, options)
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

/** Leaves the finished, synced file at `path`, or nothing. */
async function restoreBeside(at: HistoryLocation, path: string, options: RestoreOptions): Promise<Restored> {
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted()
    const files = attempt === 1 ? options.files : undefined
    const plan = planOrThrow(at, files ?? (await listLtx(at, signal)), options.target)
    await rm(path, { force: true })
    try {
      await using restore = await PlanRestore.open(at, plan, path, options)
      return await restore.run()
    } catch (error) {
      await rm(path, { force: true })
      if (!(error instanceof ObjectNotFoundError) || attempt === attemptsMax) throw error
    }
  }
}

/** The two ends of a large file. */
interface FileEnds {
  readonly head: Uint8Array
  readonly end: Uint8Array
}

/** A large file of which some pages are wanted. */
interface LargeFile {
  readonly key: string
  readonly head: Uint8Array
  readonly index: PageIndex
  readonly isWhole: boolean
  readonly pieces: PieceChecksum[]
}

interface RangeJob {
  readonly file: LargeFile
  readonly range: FrameRange
  /** Which of the file's pieces it is. */
  readonly piece: number
}

class PlanRestore implements AsyncDisposable {
  readonly #at: HistoryLocation
  readonly #plan: RestorePlan
  readonly #path: string
  readonly #file: FileHandle
  readonly #options: RestoreOptions
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #resources = new DisposableStack()
  #threads: RestoreThreads | null = null
  #newest: { readonly header: LtxHeader; readonly checksum: bigint; readonly pages: PageSet } | null = null
  #isProven = true
  #bytesRead = 0
  #bytesTotal: number
  #pagesDone = 0

  private constructor(at: HistoryLocation, plan: RestorePlan, path: string, file: FileHandle, options: RestoreOptions) {
    this.#at = at
    this.#plan = plan
    this.#path = path
    this.#file = file
    this.#options = options
    const { signal } = options
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    this.#bytesTotal = plan.files.reduce((sum, each) => sum + each.sizeBytes, 0)
  }

  static async open(
    at: HistoryLocation,
    plan: RestorePlan,
    path: string,
    options: RestoreOptions,
  ): Promise<PlanRestore> {
    return new PlanRestore(at, plan, path, await open(path, 'wx', 0o600), options)
  }

  async run(): Promise<Restored> {
    const { files } = this.#plan
    const jobs = await this.#readEnds()
    const newest = this.#newest
    if (newest === null || newest.pages.missing !== 0)
      throw new LtxFormatError(`${this.#at.prefix}: ${newest?.pages.missing ?? 'all'} pages are in no file`)
    await this.#readRanges(jobs)
    // The lock page, and nothing else, is a hole: zeros.
    await this.#file.truncate(newest.header.commit * newest.header.pageSize)
    await this.#file.sync()
    const checked = this.#options.check ?? (this.#isProven ? 'none' : 'quick')
    if (checked !== 'none') await this.#useThreads().check(this.#path, checked)
    return {
      header: newest.header,
      checksum: newest.checksum,
      txid: this.#plan.txid,
      filesCount: files.length,
      bytesRead: this.#bytesRead,
      isProven: this.#isProven,
      checked,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the restore has ended'))
    this.#resources.dispose()
    await this.#file.close()
  }

  /** Expands small files, newest first, and says which ranges of the large ones hold what is missing. */
  async #readEnds(): Promise<RangeJob[]> {
    const newestFirst = [...this.#plan.files].reverse()
    const jobs: RangeJob[] = []
    const loads: Promise<Uint8Array | FileEnds>[] = []
    for (const [index, file] of newestFirst.entries()) {
      while (loads.length < Math.min(newestFirst.length, index + getsInFlight)) {
        const ahead = newestFirst[loads.length]!
        const load = ahead.sizeBytes <= wholeFileBytesMax ? this.#getWhole(ahead) : this.#getEnds(ahead)
        load.catch(() => undefined) // awaited below; one that fails earlier must not count as unhandled
        loads.push(load)
      }
      const loaded = await loads[index]!
      loads[index] = Promise.resolve(new Uint8Array(0)) // its bytes may go
      if (loaded instanceof Uint8Array) await this.#expand(file, loaded)
      else jobs.push(...this.#rangesOf(file, loaded))
    }
    return jobs
  }

  async #getWhole(file: LtxFile): Promise<Uint8Array> {
    const key = ltxKey(this.#at, file)
    const known = this.#options.bodies?.get(key)
    if (known !== undefined) return known
    const bytes = await this.#at.store.get(key, { signal: this.#signal })
    this.#bytesRead += bytes.length
    return bytes
  }

  async #getEnds(file: LtxFile): Promise<FileEnds> {
    const { sizeBytes } = file
    const key = ltxKey(this.#at, file)
    const from = sizeBytes - endReadBytes
    const [head, last] = await Promise.all([
      this.#getRange(key, 0, ltxHeaderBytes),
      this.#getRange(key, from, sizeBytes),
    ])
    const length = this.#endLength(key, last, sizeBytes)
    if (length <= last.length) return { head, end: last.subarray(last.length - length) }
    const before = await this.#getRange(key, sizeBytes - length, from)
    const end = new Uint8Array(length)
    end.set(before)
    end.set(last, before.length)
    return { head, end }
  }

  #endLength(key: string, last: Uint8Array, sizeBytes: number): number {
    try {
      return ltxEndLength(last, sizeBytes)
    } catch (error) {
      throw damaged(key, error)
    }
  }

  async #getRange(key: string, from: number, to: number): Promise<Uint8Array> {
    const bytes = await this.#at.store.get(key, { range: { from, to }, signal: this.#signal })
    if (bytes.length !== to - from)
      throw new LtxFormatError(`${key} ends at byte ${from + bytes.length}, before byte ${to}`)
    this.#bytesRead += bytes.length
    return bytes
  }

  /** Expands a file of which everything is there, and compares its checksum. */
  async #expand(file: LtxFile, bytes: Uint8Array): Promise<void> {
    const key = ltxKey(this.#at, file)
    try {
      const header = decodeLtxHeader(bytes)
      const pages = this.#begin(file, header, ltxChecksumOf(bytes))
      const writer = new PageWriter(this.#file.fd, header.pageSize)
      await decodeLtxPaced(bytes, () => (pgno, page) => {
        if (!pages.take(pgno)) return
        writer.place(pgno).set(page)
        this.#pagesDone++
      })
      writer.flush()
    } catch (error) {
      throw damaged(key, error)
    }
    this.#report()
  }

  /** Which ranges of a large file hold pages that no newer file has. */
  #rangesOf(file: LtxFile, { head, end }: FileEnds): RangeJob[] {
    const key = ltxKey(this.#at, file)
    try {
      const header = decodeLtxHeader(head)
      const index = decodePageIndex(end, header, file.sizeBytes)
      const pages = this.#begin(file, header, index.checksum)
      const { ranges, isWhole } = fileRanges(index, (pgno) => pages.take(pgno), rangeBytesMax)
      const large: LargeFile = { key, head, index, isWhole, pieces: new Array(ranges.length) }
      if (ranges.length > 0 && !isWhole) this.#isProven = false
      this.#bytesTotal -= file.sizeBytes - head.length - end.length
      for (const { from, to } of ranges) this.#bytesTotal += to - from
      return ranges.map((range, piece) => ({ file: large, range, piece }))
    } catch (error) {
      throw damaged(key, error)
    }
  }

  /** Compares a header with the name of its file and with the newest file, which comes first. */
  #begin(file: LtxFile, header: LtxHeader, checksum: bigint): PageSet {
    const { pageSize, commit, minTxid, maxTxid } = header
    if (minTxid !== file.minTxid || maxTxid !== file.maxTxid)
      throw new LtxFormatError(`it holds TXIDs ${minTxid} to ${maxTxid}`)
    if (this.#newest === null) {
      const room = this.#plan.files.reduce((sum, each) => sum + each.sizeBytes, 0) / frameBytesMin
      if (commit > room + 1) throw new LtxFormatError(`it claims ${commit} pages, more than all files can hold`)
      this.#newest = { header, checksum, pages: new PageSet(commit, lockPgno(pageSize)) }
    } else if (this.#newest.header.pageSize !== pageSize)
      throw new LtxFormatError(`it has page size ${pageSize}, not ${this.#newest.header.pageSize}`)
    return this.#newest.pages
  }

  async #readRanges(jobs: readonly RangeJob[]): Promise<void> {
    if (jobs.length === 0) return
    let next = 0
    const reader = async () => {
      try {
        while (next < jobs.length) {
          const job = jobs[next++]!
          const giveBack = await budget.take(job.range.to - job.range.from)
          try {
            await this.#readRange(job)
          } finally {
            giveBack()
          }
        }
      } catch (error) {
        this.#stop.abort(error) // the others end too; no thread may write any more when this restore ends
        throw error
      }
    }
    const ends = await Promise.allSettled(Array.from({ length: Math.min(getsInFlight, jobs.length) }, reader))
    const failed = ends.some((end) => end.status === 'rejected')
    if (failed) throw this.#signal.reason // the first error, or the caller's reason
    for (const { key, head, index, isWhole, pieces } of new Set(jobs.map((job) => job.file)))
      if (isWhole && fileChecksum(head, pieces, index.end) !== index.checksum)
        throw new LtxFormatError(`${key} is damaged: its checksum is wrong`)
  }

  async #readRange({ file, range, piece }: RangeJob): Promise<void> {
    const { key, isWhole, pieces } = file
    const { from, to, pgnos, wanted } = range
    const { pageSize } = this.#newest!.header
    for (let attempt = 1; ; attempt++) {
      this.#signal.throwIfAborted()
      const bytes = await this.#getRange(key, from, to)
      const run = { path: this.#path, pageSize, bytes, from, pgnos, wanted, withChecksum: isWhole }
      try {
        pieces[piece] = await this.#useThreads().decode(run)
        break
      } catch (error) {
        // Damaged on the way, perhaps: the store is asked once more.
        if (!(error instanceof LtxFormatError) || attempt === 2) throw damaged(key, error)
      }
    }
    for (const each of wanted) this.#pagesDone += each
    this.#report()
  }

  #useThreads(): RestoreThreads {
    this.#threads ??= this.#resources.use(new RestoreThreads())
    return this.#threads
  }

  #report(): void {
    this.#options.onProgress?.({
      bytesDone: this.#bytesRead,
      bytesTotal: Math.max(this.#bytesTotal, this.#bytesRead),
      pagesDone: this.#pagesDone,
      pagesTotal: this.#newest?.header.commit ?? 0,
    })
  }
}

/** Names the object in what is wrong with it. */
function damaged(key: string, error: unknown): unknown {
  return error instanceof LtxFormatError ? new LtxFormatError(`${key} is damaged`, { cause: error }) : error
}
