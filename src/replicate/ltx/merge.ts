// Several files of one history as one: of each page the newest content, the size and time of the last file. Files are
// read window by window and frames are copied as they are, so memory does not grow with the database.

import { concat } from '../../lib/bytes.ts'
import { Crc64 } from '../../lib/crc/crc64.ts'
import { decodeFrame } from './decoder.ts'
import { blockFlag, blockSizeBytes, frameHeaderBytes } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import { decodeLtxHeader, encodeLtxHeader, type LtxHeader, lockPgno, ltxHeaderBytes } from './header.ts'
import { IndexWriter } from './index-writer.ts'
import { decodePageIndex, ltxEndLength, type PageIndex } from './page-index.ts'

/** Windows of all inputs together, bytes; of one input within these bounds. */
const windowsBytes = 64 << 20
const windowBytesMin = 256 << 10
const windowBytesMax = 8 << 20
/** What is fetched of the end of a large file at first: the index of some 3,000 pages. */
const endBytes = 32 << 10

/** A file that is read in pieces. */
export interface LtxInput {
  /** For errors. */
  readonly name: string
  readonly sizeBytes: number
  /** `[from, to)` of the file, exactly. */
  read(from: number, to: number): Promise<Uint8Array>
}

/** Takes the bytes of the merged file in order; they are only valid during the call. */
export type LtxSink = (bytes: Uint8Array) => void

export interface MergedLtx {
  readonly header: LtxHeader
  readonly checksum: bigint
  readonly sizeBytes: number
}

/**
 * Merges files that follow one another into one, and checks every one of them whole.
 *
 * @param write gets the merged file; what it got is worthless when this throws.
 * @throws LtxFormatError when an input is damaged or does not follow the one before; what reading throws.
 */
export async function mergeLtx(inputs: readonly LtxInput[], write: LtxSink): Promise<MergedLtx> {
  const windowBytes = Math.min(windowBytesMax, Math.max(windowBytesMin, Math.floor(windowsBytes / inputs.length)))
  const cursors: Cursor[] = []
  for (const input of inputs) {
    const cursor = await Cursor.open(input, windowBytes)
    if (cursors.length > 0) assertFollows(cursors[cursors.length - 1]!, cursor)
    cursors.push(cursor)
  }
  if (cursors.length === 0) throw new LtxFormatError('nothing to merge')
  const last = cursors[cursors.length - 1]!.header
  const header: LtxHeader = {
    ...last,
    minTxid: cursors[0]!.header.minTxid,
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
  }
  const crc = new Crc64()
  const index = new IndexWriter()
  const head = encodeLtxHeader(header)
  crc.update(head)
  write(head)
  let sizeBytes = head.length
  const isImage = header.minTxid === 1
  const lock = lockPgno(header.pageSize)
  let previous = 0
  for (let pgno = nextPgno(cursors); pgno !== null; pgno = nextPgno(cursors)) {
    let newest: Cursor | null = null
    for (const cursor of cursors) {
      if (cursor.pgno !== pgno) continue
      await cursor.take()
      newest = cursor
    }
    if (newest === null || pgno > header.commit) continue // cut off later
    if (isImage && pgno !== previous + (previous + 1 === lock ? 2 : 1))
      throw new LtxFormatError(`pages between ${previous} and ${pgno} are in no file`)
    previous = pgno
    crc.update(newest.frame.subarray(0, newest.frameHeadBytes)).update(newest.page)
    index.add(pgno, sizeBytes, newest.frame.length)
    write(newest.frame)
    sizeBytes += newest.frame.length
  }
  for (const cursor of cursors) cursor.finish()
  if (isImage && previous !== (header.commit === lock ? lock - 1 : header.commit))
    throw new LtxFormatError(`pages behind ${previous} are in no file`)
  const end = index.finish(crc)
  write(end.bytes)
  return { header, checksum: end.checksum, sizeBytes: sizeBytes + end.bytes.length }
}

/** Reads a whole file in windows and checks all of it; throws LtxFormatError. */
export async function checkLtx(input: LtxInput): Promise<{ readonly header: LtxHeader; readonly checksum: bigint }> {
  const cursor = await Cursor.open(input, windowBytesMax)
  while (cursor.pgno !== null) await cursor.take()
  return { header: cursor.header, checksum: cursor.finish() }
}

function assertFollows({ header: last }: Cursor, { header, name }: Cursor): void {
  if (header.minTxid > last.maxTxid + 1 || header.maxTxid <= last.maxTxid)
    throw new LtxFormatError(`${name} does not follow TXID ${last.maxTxid}`)
  if (header.pageSize !== last.pageSize) throw new LtxFormatError(`${name} has another page size`)
}

function nextPgno(cursors: readonly Cursor[]): number | null {
  let least: number | null = null
  for (const { pgno } of cursors) if (pgno !== null && (least === null || pgno < least)) least = pgno
  return least
}

/** One file, frame by frame. */
class Cursor {
  readonly name: string
  readonly header: LtxHeader
  /** Plain content and frame of the page taken last; valid until the next one is. */
  readonly page: Uint8Array
  frame: Uint8Array = new Uint8Array(0)
  /** Bytes of {@link frame} that the file checksum covers as they are. */
  frameHeadBytes = 0
  readonly #input: LtxInput
  readonly #windowBytes: number
  readonly #index: PageIndex
  readonly #crc: Crc64
  readonly #end: Uint8Array
  #next = 0
  #window: Uint8Array
  #windowAt: number

  private constructor(
    input: LtxInput,
    windowBytes: number,
    parts: {
      readonly header: LtxHeader
      readonly head: Uint8Array
      readonly end: Uint8Array
      readonly index: PageIndex
    },
  ) {
    const { header, head, end, index } = parts
    this.name = input.name
    this.header = header
    this.page = new Uint8Array(header.pageSize)
    this.#input = input
    this.#windowBytes = windowBytes
    this.#index = index
    this.#crc = new Crc64().update(head.subarray(0, ltxHeaderBytes))
    this.#end = end
    this.#window = head
    this.#windowAt = 0
  }

  static async open(input: LtxInput, windowBytes: number): Promise<Cursor> {
    const { name, sizeBytes } = input
    try {
      const head = await input.read(0, Math.min(sizeBytes, windowBytes))
      const header = decodeLtxHeader(head)
      const known = head.length === sizeBytes ? head : await input.read(Math.max(0, sizeBytes - endBytes), sizeBytes)
      const length = ltxEndLength(known, sizeBytes)
      const end =
        length <= known.length
          ? known.slice(known.length - length)
          : concat([await input.read(sizeBytes - length, sizeBytes - known.length), known])
      return new Cursor(input, windowBytes, { header, head, end, index: decodePageIndex(end, header, sizeBytes) })
    } catch (error) {
      throw named(name, error)
    }
  }

  /** The page that {@link take} takes; null at the end. */
  get pgno(): number | null {
    return this.#next < this.#index.pgnos.length ? this.#index.pgnos[this.#next]! : null
  }

  async take(): Promise<void> {
    const from = this.#index.offsets[this.#next]!
    const to = this.#index.offsets[this.#next + 1]!
    if (to > this.#windowAt + this.#window.length) await this.#slide(from, to)
    const at = from - this.#windowAt
    const bytes = this.#window.subarray(at, at + to - from)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const pgno = this.#index.pgnos[this.#next]!
    try {
      if (view.getUint32(0) !== pgno) throw new LtxFormatError(`page ${pgno} is not where the index says`)
      if (decodeFrame(bytes, view, 0, this.page, this.#crc) !== bytes.length)
        throw new LtxFormatError(`page ${pgno} ends before its frame does`)
    } catch (error) {
      throw named(this.name, error)
    }
    this.frame = bytes
    this.frameHeadBytes = frameHeaderBytes + (view.getUint16(4) === blockFlag ? blockSizeBytes : 0)
    this.#next++
  }

  /** After the last page: compares the checksum of everything read with the file's own, and returns it. */
  finish(): bigint {
    const checksum = this.#crc.update(this.#end.subarray(0, this.#end.length - 8)).value | (1n << 63n)
    if (checksum !== this.#index.checksum) throw named(this.name, new LtxFormatError('a wrong file checksum'))
    return checksum
  }

  async #slide(from: number, to: number): Promise<void> {
    const pagesEnd = this.#index.offsets[this.#index.pgnos.length]!
    this.#window = await this.#input.read(from, Math.max(to, Math.min(pagesEnd, from + this.#windowBytes)))
    this.#windowAt = from
  }
}

function named(name: string, error: unknown): unknown {
  return error instanceof LtxFormatError ? new LtxFormatError(`${name} is damaged`, { cause: error }) : error
}
