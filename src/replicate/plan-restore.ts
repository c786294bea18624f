// Puts the newest content of each page of a plan's files into one database file. What restore.ts and catch-up.ts share.
//
//   small files   whole, in parallel, expanded here; their checksum is compared
//   large files   header and page index first; then, newest file first, the ranges with pages that no newer file has,
//                 in parallel, expanded by threads. A file that is wanted whole, or nearly, has its checksum compared;
//                 for one that is read in part no checksum exists, so the result gets a quick check.

import { type FileHandle, open } from 'node:fs/promises'
import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import type { FileCheck } from './check-file.ts'
import { DamagedFileError } from './errors.ts'
import { decodeLtxPaced, ltxChecksumOf } from './ltx/decoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import { decodeLtxHeader, type LtxHeader, lockPgno, ltxHeaderBytes } from './ltx/header.ts'
import { decodePageIndex, fileChecksum, ltxEndLength, type PageIndex, type PieceChecksum } from './ltx/page-index.ts'
import { type HistoryLocation, isSeal, type LtxFile, ltxKey } from './ltx-store.ts'
import { PageWriter } from './page-writer.ts'
import { type FrameRange, fileRanges, PageSet } from './restore-ranges.ts'
import { RestoreThreads } from './restore-threads.ts'

/** Files up to this size are fetched whole: on a fast network that takes no longer than one more round trip. */
export const wholeFileBytesMax = 2 << 20
/** The index of about 3,000 pages; a longer one costs one more request. */
const endReadBytes = 32 << 10
/** One request for pages, bytes. */
const rangeBytesMax = 8 << 20
/**
 * This share of all bytes may be read only to compare the checksums of files that newer ones supersede in part. Else one
 * such file, however small, costs a quick check of the whole result: as long as expanding a third of it.
 */
const spareShare = 1 / 8
/** Pages written since the last time, bytes, after which the disk begins with them while the next ones are expanded. */
const writeThroughBytes = 64 << 20
/** Requests of one restore at the same time. */
const getsInFlight = 16
/** Bytes that all restores of this process hold between store and disk. */
const sharedBudget = new ByteBudget(128 << 20)
/** Files up to this size do not wait for it: {@link getsInFlight} of them are less than one range. */
const unbudgetedBytesMax = 64 << 10
/** No page takes fewer bytes in a file; bounds what a hostile size of the database makes us allocate. */
const frameBytesMin = 12

export interface RestoreProgress {
  readonly bytesDone: number
  /** An upper bound until the page indexes are read. */
  readonly bytesTotal: number
  readonly pagesDone: number
  readonly pagesTotal: number
}

export interface RestoreSettings {
  /** Whole files that the caller has, by key. */
  readonly bodies?: ReadonlyMap<string, Uint8Array>
  /** SQLite's check of the result; by default a quick one, and only where checksums could not prove all of it. */
  readonly check?: FileCheck | 'none'
  /** Reads also what newer files have, so that the checksum of every file is compared. */
  readonly readsWhole?: boolean
  /** Called for each file with the checksum that it claims, before that is compared. */
  readonly onFile?: (file: LtxFile, checksum: bigint) => void
  readonly onProgress?: (progress: RestoreProgress) => void
  /** Of bytes between store and disk; by default that of the process. */
  readonly budget?: ByteBudget
  readonly signal?: AbortSignal
}

/** The file that the pages go to. */
export interface RestoreTarget {
  readonly path: string
  /** null: the file does not exist yet. Else it holds a database, of which the files change what they hold. */
  readonly base: { readonly pageSize: number; readonly commit: number } | null
}

export interface Restored {
  /** Of the last file applied. */
  readonly header: LtxHeader
  readonly checksum: bigint
  readonly txid: Txid
  readonly filesCount: number
  readonly bytesRead: number
  /** The checksum of each file was compared, so every page that was written is what was shipped. */
  readonly isProven: boolean
  /** The check of SQLite that the result passed. */
  readonly checked: FileCheck | 'none'
}

/** A small file; its bytes count until they are let go. */
interface WholeFile {
  readonly bytes: Uint8Array
  readonly letGo: () => void
}

/** The two ends of a large file. */
interface FileEnds {
  readonly head: Uint8Array
  readonly end: Uint8Array
}

/** A large file of which some pages are wanted. */
interface LargeFile {
  readonly file: LtxFile
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

export class PlanRestore implements AsyncDisposable {
  readonly #at: HistoryLocation
  readonly #files: readonly LtxFile[]
  readonly #target: RestoreTarget
  readonly #file: FileHandle
  readonly #options: RestoreSettings
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #budget: ByteBudget
  /** Gives back what small files hold that were not expanded. */
  readonly #held = new Set<() => void>()
  #threads: RestoreThreads | null = null
  #newest: { readonly header: LtxHeader; readonly checksum: bigint; readonly pages: PageSet } | null = null
  #isProven = true
  #bytesRead = 0
  #bytesTotal: number
  #spareBytes: number
  #pagesDone = 0
  #unsyncedBytes = 0
  /** The sync under way, or the last one. Its failure is the restore's: the disk tells of a lost page only once. */
  #syncing: Promise<void> | null = null
  #isSyncing = false

  private constructor(
    at: HistoryLocation,
    files: readonly LtxFile[],
    target: RestoreTarget,
    file: FileHandle,
    options: RestoreSettings,
  ) {
    this.#at = at
    this.#files = files
    this.#target = target
    this.#file = file
    this.#options = options
    const { signal, budget = sharedBudget } = options
    this.#budget = budget
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    this.#bytesTotal = files.reduce((sum, each) => sum + each.sizeBytes, 0)
    this.#spareBytes = this.#bytesTotal * spareShare
  }

  /** @param files in the order to apply them; the first is a whole image or follows the target's base. Never empty. */
  static async open(
    at: HistoryLocation,
    files: readonly LtxFile[],
    target: RestoreTarget,
    options: RestoreSettings,
  ): Promise<PlanRestore> {
    assert(files.length > 0, 'there is something to restore')
    const file = await open(target.path, target.base === null ? 'wx' : 'r+', 0o600)
    return new PlanRestore(at, files, target, file, options)
  }

  /** Does it, syncs and checks the file. When it throws, the file is of no use. */
  async run(): Promise<Restored> {
    const jobs = await this.#readEnds()
    const newest = this.#newest
    assert(newest !== null, 'the newest file was read')
    if (newest.pages.missing !== 0)
      throw new LtxFormatError(`${this.#at.prefix}: ${newest.pages.missing} pages are in no file`)
    await this.#readRanges(jobs)
    // The lock page, and nothing else, is a hole: zeros.
    await this.#file.truncate(newest.header.commit * newest.header.pageSize)
    await this.#syncing
    await this.#file.sync()
    const checked = this.#options.check ?? (this.#isProven ? 'none' : 'quick')
    if (checked !== 'none') await this.#useThreads().check(this.#target.path, checked)
    return {
      header: newest.header,
      checksum: newest.checksum,
      txid: newest.header.maxTxid,
      filesCount: this.#files.length,
      bytesRead: this.#bytesRead,
      isProven: this.#isProven,
      checked,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the restore has ended'))
    this.#threads?.[Symbol.dispose]()
    for (const letGo of this.#held) letGo()
    await this.#syncing?.catch(() => undefined) // run() told of it; the descriptor must stay open until then
    await this.#file.close()
  }

  /** Expands small files, newest first, and says which ranges of the large ones hold what is missing. */
  async #readEnds(): Promise<RangeJob[]> {
    // A seal has no pages, and what it says of the size counts only where it is the newest.
    const isNeeded = (file: LtxFile, at: number) => at === 0 || this.#options.readsWhole || !isSeal(file)
    const newestFirst = [...this.#files].reverse().filter(isNeeded)
    const jobs: RangeJob[] = []
    const loads: (Promise<WholeFile | FileEnds> | null)[] = []
    for (const [index, file] of newestFirst.entries()) {
      while (loads.length < Math.min(newestFirst.length, index + getsInFlight)) {
        const ahead = newestFirst[loads.length]!
        const load = ahead.sizeBytes <= wholeFileBytesMax ? this.#getWhole(ahead) : this.#getEnds(ahead)
        load.catch(() => undefined) // awaited below; one that fails earlier must not count as unhandled
        loads.push(load)
      }
      const loaded = (await loads[index])!
      loads[index] = null // its bytes may go
      if ('letGo' in loaded) {
        await this.#expand(file, loaded.bytes)
        loaded.letGo()
      } else jobs.push(...this.#rangesOf(file, loaded))
    }
    return jobs
  }

  /** Files take their turn in the order in which they are expanded, so one that waits never waits for a later one. */
  async #getWhole(file: LtxFile): Promise<WholeFile> {
    const key = ltxKey(this.#at, file)
    const known = this.#options.bodies?.get(key)
    if (known !== undefined) return { bytes: known, letGo: () => {} }
    const giveBack = file.sizeBytes <= unbudgetedBytesMax ? () => {} : await this.#budget.take(file.sizeBytes)
    const letGo = () => {
      this.#held.delete(letGo)
      giveBack()
    }
    this.#held.add(letGo)
    try {
      this.#signal.throwIfAborted() // the restore may have ended while this waited
      const bytes = await this.#at.store.get(key, { signal: this.#signal })
      this.#bytesRead += bytes.length
      return { bytes, letGo }
    } catch (error) {
      letGo()
      throw error
    }
  }

  async #getEnds(file: LtxFile): Promise<FileEnds> {
    const { sizeBytes } = file
    const from = sizeBytes - endReadBytes
    const [head, last] = await Promise.all([
      this.#getRange(file, 0, ltxHeaderBytes),
      this.#getRange(file, from, sizeBytes),
    ])
    const length = this.#endLength(file, last)
    if (length <= last.length) return { head, end: last.subarray(last.length - length) }
    const before = await this.#getRange(file, sizeBytes - length, from)
    const end = new Uint8Array(length)
    end.set(before)
    end.set(last, before.length)
    return { head, end }
  }

  #endLength(file: LtxFile, last: Uint8Array): number {
    try {
      return ltxEndLength(last, file.sizeBytes)
    } catch (error) {
      throw this.#damaged(file, error)
    }
  }

  async #getRange(file: LtxFile, from: number, to: number): Promise<Uint8Array> {
    const key = ltxKey(this.#at, file)
    const bytes = await this.#at.store.get(key, { range: { from, to }, signal: this.#signal })
    if (bytes.length !== to - from)
      throw new DamagedFileError(file, `${key} ends at byte ${from + bytes.length}, before byte ${to}`)
    this.#bytesRead += bytes.length
    return bytes
  }

  /** Expands a file of which everything is there, and compares its checksum. */
  async #expand(file: LtxFile, bytes: Uint8Array): Promise<void> {
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
      throw this.#damaged(file, error)
    }
    this.#report()
  }

  /** Which ranges of a large file hold pages that no newer file has. */
  #rangesOf(file: LtxFile, { head, end }: FileEnds): RangeJob[] {
    try {
      const header = decodeLtxHeader(head)
      const index = decodePageIndex(end, header, file.sizeBytes)
      const pages = this.#begin(file, header, index.checksum)
      const { readsWhole = false } = this.#options
      const { ranges, isWhole, unwantedBytes } = fileRanges(index, (pgno) => pages.take(pgno), {
        rangeBytesMax,
        readsWhole,
        spareBytes: this.#spareBytes,
      })
      this.#spareBytes = Math.max(0, this.#spareBytes - unwantedBytes)
      const large: LargeFile = { file, head, index, isWhole, pieces: new Array(ranges.length) }
      if (ranges.length > 0 && !isWhole) this.#isProven = false
      this.#bytesTotal -= file.sizeBytes - head.length - end.length
      for (const { from, to } of ranges) this.#bytesTotal += to - from
      return ranges.map((range, piece) => ({ file: large, range, piece }))
    } catch (error) {
      throw this.#damaged(file, error)
    }
  }

  /** Compares a header with the name of its file and with the newest file, which comes first. */
  #begin(file: LtxFile, header: LtxHeader, checksum: bigint): PageSet {
    const { pageSize, commit, minTxid, maxTxid } = header
    if (minTxid !== file.minTxid || maxTxid !== file.maxTxid)
      throw new LtxFormatError(`it holds TXIDs ${minTxid} to ${maxTxid}`)
    this.#options.onFile?.(file, checksum)
    const { base } = this.#target
    const expected = this.#newest?.header.pageSize ?? base?.pageSize ?? pageSize
    if (pageSize !== expected) throw new LtxFormatError(`it has page size ${pageSize}, not ${expected}`)
    if (this.#newest === null) {
      const room = this.#files.reduce((sum, each) => sum + each.sizeBytes, 0) / frameBytesMin
      const had = base?.commit ?? 0
      if (commit > had + room + 1) throw new LtxFormatError(`it claims ${commit} pages, more than all files can hold`)
      this.#newest = { header, checksum, pages: new PageSet({ had, commit, lock: lockPgno(pageSize) }) }
    }
    return this.#newest.pages
  }

  async #readRanges(jobs: readonly RangeJob[]): Promise<void> {
    if (jobs.length === 0) return
    let next = 0
    const reader = async () => {
      try {
        while (next < jobs.length) {
          const job = jobs[next++]!
          const giveBack = await this.#budget.take(job.range.to - job.range.from)
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
    for (const { file, head, index, isWhole, pieces } of new Set(jobs.map((job) => job.file)))
      if (isWhole && fileChecksum(head, pieces, index.end) !== index.checksum)
        throw this.#damaged(file, new LtxFormatError('its checksum is wrong'))
  }

  async #readRange({ file: { file, isWhole, pieces }, range, piece }: RangeJob): Promise<void> {
    const { from, to, pgnos, wanted } = range
    const { pageSize } = this.#newest!.header
    for (let attempt = 1; ; attempt++) {
      this.#signal.throwIfAborted()
      const bytes = await this.#getRange(file, from, to)
      const run = { path: this.#target.path, pageSize, bytes, from, pgnos, wanted, withChecksum: isWhole }
      try {
        pieces[piece] = await this.#useThreads().decode(run)
        break
      } catch (error) {
        // Damaged on the way, perhaps: the store is asked once more.
        if (!(error instanceof LtxFormatError) || attempt === 2) throw this.#damaged(file, error)
      }
    }
    const before = this.#pagesDone
    for (const each of wanted) this.#pagesDone += each
    this.#writeThrough((this.#pagesDone - before) * pageSize)
    this.#report()
  }

  /** Lets the disk begin while the next pages are expanded: at the end it has less left to do. */
  #writeThrough(bytes: number): void {
    this.#unsyncedBytes += bytes
    if (this.#unsyncedBytes < writeThroughBytes || this.#isSyncing) return // a slow disk gets fewer, larger ones
    this.#unsyncedBytes = 0
    this.#isSyncing = true
    this.#syncing = this.#file.datasync().then(() => {
      this.#isSyncing = false // never after a failure, so that no later sync hides it
    })
    this.#syncing.catch(() => undefined) // awaited by run()
  }

  /** Names the object in what is wrong with it. */
  #damaged(file: LtxFile, error: unknown): unknown {
    if (!(error instanceof LtxFormatError)) return error
    return new DamagedFileError(file, `${ltxKey(this.#at, file)} is damaged`, { cause: error })
  }

  #useThreads(): RestoreThreads {
    this.#threads ??= new RestoreThreads()
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
