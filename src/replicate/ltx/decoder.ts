// Reads LTX v3 files of ours and of official Litestream: LZ4 blocks and, older, LZ4 frames, also mixed in one file.

import { setImmediate } from 'node:timers/promises'
import { Crc64 } from '../../lib/crc/crc64.ts'
import { blockFlag, blockSizeBytes, frameHeaderBytes } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import { decodeLtxHeader, type LtxHeader, lockPgno, ltxHeaderBytes, ltxTrailerBytes } from './header.ts'
import { decodeLz4Block, decodeLz4Frame, lz4BlockBound } from './lz4.ts'

/** Bytes a frame of the older encoding may need beside its page. */
const frameOverheadMax = 64

/** Plain bytes between two pauses of {@link decodeLtxPaced}: a few milliseconds of work. */
const pauseBytes = 2 << 20

export interface DecodedLtx {
  readonly header: LtxHeader
  readonly checksum: bigint
}

/** Gets the header, returns what takes each page. */
export type BeginLtx = (header: LtxHeader) => (pgno: number, page: Uint8Array) => void

/**
 * Reads a whole file and checks all of it before it returns.
 *
 * @param begin gets the header and returns what takes each page, in ascending order; the bytes of a page are only valid
 *   during the call. What was done must be undone when this function throws: the checksum comes last.
 */
export function decodeLtx(bytes: Uint8Array, begin: BeginLtx): DecodedLtx {
  const steps = decodeSteps(bytes, begin)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** The same for files of any size: other work gets its turn between the pages. */
export async function decodeLtxPaced(bytes: Uint8Array, begin: BeginLtx): Promise<DecodedLtx> {
  const steps = decodeSteps(bytes, begin)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await setImmediate()
  }
}

function* decodeSteps(bytes: Uint8Array, begin: BeginLtx): Generator<void, DecodedLtx> {
  const header = decodeLtxHeader(bytes)
  const onPage = begin(header)
  const lock = lockPgno(header.pageSize)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const crc = new Crc64().update(bytes.subarray(0, ltxHeaderBytes))
  const page = new Uint8Array(header.pageSize)
  let at = ltxHeaderBytes
  let previous = 0
  let sincePause = 0
  for (;;) {
    if (at + frameHeaderBytes > bytes.length) throw new LtxFormatError('an LTX file ends inside its pages')
    const pgno = view.getUint32(at)
    const flags = view.getUint16(at + 4)
    if (pgno === 0 && flags === 0) break
    if (pgno <= previous || pgno > header.commit || pgno === lock)
      throw new LtxFormatError(`page ${pgno} follows ${previous} in an LTX file of ${header.commit} pages`)
    if (header.minTxid === 1 && pgno !== previous + (previous + 1 === lock ? 2 : 1))
      throw new LtxFormatError(`a whole image leaves out pages between ${previous} and ${pgno}`)
    previous = pgno
    at = decodeFrame(bytes, view, at, page, crc)
    onPage(pgno, page)
    sincePause += page.length
    if (sincePause >= pauseBytes) {
      sincePause = 0
      yield
    }
  }
  const last = header.commit === lock ? lock - 1 : header.commit
  if (header.minTxid === 1 && previous !== last)
    throw new LtxFormatError(`a whole image ends at page ${previous} of ${last}`)
  const trailer = bytes.length - ltxTrailerBytes
  if (trailer - 8 < at + frameHeaderBytes) throw new LtxFormatError('an LTX file without an index')
  if (view.getBigUint64(trailer - 8) !== BigInt(trailer - 8 - at - frameHeaderBytes))
    throw new LtxFormatError('an LTX file whose index has another length than it says')
  if (view.getBigUint64(trailer) !== 0n) throw new LtxFormatError('an LTX file with a post-apply checksum')
  const checksum = crc.update(bytes.subarray(at, bytes.length - 8)).value | (1n << 63n)
  if (view.getBigUint64(bytes.length - 8) !== checksum) throw new LtxFormatError('an LTX file with a wrong checksum')
  return { header, checksum }
}

/**
 * Expands the page frame at `at`, whose page number the caller has checked, and adds it to the file checksum.
 *
 * @param view of the same bytes as `bytes`, which may be a piece of a file.
 * @param crc null: the checksum is not wanted.
 * @returns where the next frame starts.
 */
export function decodeFrame(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  page: Uint8Array,
  crc: Crc64 | null,
): number {
  const flags = view.getUint16(at + 4)
  let start = at + frameHeaderBytes
  let end: number
  if (flags === blockFlag) {
    start += blockSizeBytes
    if (start > bytes.length) throw new LtxFormatError('an LTX file ends inside its pages')
    const length = view.getUint32(start - blockSizeBytes)
    end = start + length
    if (length > lz4BlockBound(page.length) || end > bytes.length)
      throw new LtxFormatError(`page ${view.getUint32(at)} claims ${length} bytes`)
    decodeLz4Block(bytes.subarray(start, end), page)
  } else if (flags === 0) {
    const limit = start + lz4BlockBound(page.length) + frameOverheadMax
    end = start + decodeLz4Frame(bytes.subarray(start, limit), page)
  } else throw new LtxFormatError(`page ${view.getUint32(at)} has flags ${flags}`)
  crc?.update(bytes.subarray(at, start)).update(page)
  return end
}

/** The checksum that a file claims, from its last 8 bytes; nothing is verified. */
export function ltxChecksumOf(bytes: Uint8Array): bigint {
  if (bytes.length < ltxHeaderBytes + ltxTrailerBytes) throw new LtxFormatError(`an LTX file of ${bytes.length} bytes`)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(bytes.length - 8)
}
