// Which bytes of a file a restore reads. Pure: from its page index and the pages that newer files do not have.

import type { PageIndex } from './ltx/page-index.ts'

/** Bytes between two wanted pages that are read along: one request costs more than they do. */
const gapBytesMax = 64 << 10
/** A file of which at least this share is wanted is read whole: then its checksum can be compared. */
const wholeShare = 7 / 8

/** Neighbouring frames of one file, as the bytes `[from, to)` of it. */
export interface FrameRange {
  readonly from: number
  readonly to: number
  readonly pgnos: Uint32Array
  /** 1 for each page that is wanted; the others lie between wanted ones. */
  readonly wanted: Uint8Array
}

export interface FileRanges {
  readonly ranges: readonly FrameRange[]
  /** All frames of the file are read, so its checksum can be compared. */
  readonly isWhole: boolean
  readonly wantedCount: number
  /** What is read only for the checksum. */
  readonly unwantedBytes: number
}

/**
 * @param take says whether a page is still wanted; asked once a page, in ascending order.
 * @param options `rangeBytesMax` of one request, where a frame is never cut; `readsWhole`: wanted or not; `spareBytes`: a
 *   file with so many unwanted bytes at most, and with any that is wanted, is read whole too.
 */
export function fileRanges(
  index: PageIndex,
  take: (pgno: number) => boolean,
  options: { readonly rangeBytesMax: number; readonly readsWhole?: boolean; readonly spareBytes?: number },
): FileRanges {
  const { rangeBytesMax, readsWhole = false, spareBytes = 0 } = options
  const { pgnos, offsets } = index
  const wanted = new Uint8Array(pgnos.length)
  let wantedCount = 0
  let wantedBytes = 0
  for (let i = 0; i < pgnos.length; i++) {
    if (!take(pgnos[i]!)) continue
    wanted[i] = 1
    wantedCount++
    wantedBytes += offsets[i + 1]! - offsets[i]!
  }
  if (wantedCount === 0 && !readsWhole) return { ranges: [], isWhole: false, wantedCount, unwantedBytes: 0 }
  const allBytes = offsets[pgnos.length]! - offsets[0]!
  const isWhole = readsWhole || wantedBytes >= allBytes * wholeShare || allBytes - wantedBytes <= spareBytes
  const ranges: FrameRange[] = []
  let first = -1
  let end = 0
  const close = () => {
    if (first >= 0)
      ranges.push({
        from: offsets[first]!,
        to: offsets[end]!,
        pgnos: pgnos.subarray(first, end),
        wanted: wanted.subarray(first, end),
      })
    first = -1
  }
  for (let i = 0; i < pgnos.length; i++) {
    if (!isWhole && wanted[i] === 0) continue
    const isApart = first >= 0 && offsets[i]! - offsets[end]! > gapBytesMax
    if (isApart || (first >= 0 && offsets[i + 1]! - offsets[first]! > rangeBytesMax)) close()
    if (first < 0) first = i
    end = i + 1
  }
  close()
  return { ranges, isWhole, wantedCount, unwantedBytes: isWhole ? allBytes - wantedBytes : 0 }
}

/** Pages that were found, so that of each only the newest content is taken: one bit a page. */
export class PageSet {
  readonly #bits: Uint32Array
  readonly #had: number
  readonly #commit: number
  readonly #lock: number
  #missing: number

  /**
   * @param had pages that are there already: they may be replaced but are not missed.
   * @param commit size of the database in pages; its lock page is never missed.
   */
  constructor({ had, commit, lock }: { readonly had: number; readonly commit: number; readonly lock: number }) {
    this.#bits = new Uint32Array(Math.ceil((commit + 1) / 32))
    this.#had = had
    this.#commit = commit
    this.#lock = lock
    this.#missing = commit <= had ? 0 : commit - had - (lock > had && lock <= commit ? 1 : 0)
  }

  /** Pages that no file had yet. */
  get missing(): number {
    return this.#missing
  }

  /** True the first time for each page of the database; a page above its end was cut off later. */
  take(pgno: number): boolean {
    if (pgno > this.#commit || pgno === this.#lock) return false
    const word = pgno >>> 5
    const bit = 1 << (pgno & 31)
    if ((this.#bits[word]! & bit) !== 0) return false
    this.#bits[word] = this.#bits[word]! | bit
    if (pgno > this.#had) this.#missing--
    return true
  }
}
