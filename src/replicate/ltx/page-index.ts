// The page index at the end of an LTX file: where each page lies, so that a reader fetches only what it needs.
//
//   … last frame · six zero bytes · index: per page varints pgno, offset, length; 0 · u64 length of the index · trailer

import { Crc64, joinCrc64 } from '../../lib/crc/crc64.ts'
import { frameHeaderBytes } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import { type LtxHeader, lockPgno, ltxHeaderBytes, ltxTrailerBytes } from './header.ts'

/** What lies between the index and the end of the file: its length and the trailer. */
const behindIndexBytes = 8 + ltxTrailerBytes
/** The end of a file without pages: no file has a shorter one. */
export const ltxEndBytesMin = frameHeaderBytes + 1 + behindIndexBytes

/** A file from the end of its last frame on, and what it says. */
export interface PageIndex {
  /** In ascending order. */
  readonly pgnos: Uint32Array
  /** Where in the file each frame starts, and one more: where the last one ends. */
  readonly offsets: Float64Array
  /** As the trailer claims. */
  readonly checksum: bigint
  /** Checksum of the bytes that the file checksum covers behind the last frame, and how many they are. */
  readonly end: PieceChecksum
}

/**
 * How many bytes at the end of a file hold its index, the zeros before and the trailer behind it.
 *
 * @param end at least the last {@link ltxEndBytesMin} bytes of a file of `fileBytes`.
 */
export function ltxEndLength(end: Uint8Array, fileBytes: number): number {
  if (end.length < ltxEndBytesMin) throw new LtxFormatError(`an LTX file with an end of ${end.length} bytes`)
  const length = viewOf(end).getBigUint64(end.length - behindIndexBytes)
  const room = fileBytes - ltxHeaderBytes - frameHeaderBytes - behindIndexBytes
  if (length < 1n || length > BigInt(room)) throw new LtxFormatError(`an index of ${length} bytes in ${fileBytes}`)
  return frameHeaderBytes + Number(length) + behindIndexBytes
}

/**
 * Reads the end of a file, of exactly {@link ltxEndLength} bytes. Checks that the frames it names lie side by side between
 * header and index, and hold pages that a file with this header may hold; what the frames say themselves is for their
 * reader to compare.
 */
export function decodePageIndex(end: Uint8Array, header: LtxHeader, fileBytes: number): PageIndex {
  const view = viewOf(end)
  if (view.getUint32(0) !== 0 || view.getUint16(4) !== 0) throw new LtxFormatError('pages run into the index')
  const trailer = end.length - ltxTrailerBytes
  if (view.getBigUint64(trailer) !== 0n) throw new LtxFormatError('an LTX file with a post-apply checksum')
  const framesEnd = fileBytes - end.length
  const last = trailer - 9
  if (end[last] !== 0) throw new LtxFormatError('an index without its end')
  // Three varints a page, of three bytes or more in all: this bounds what a hostile file makes us allocate.
  const countMax = Math.floor((last - frameHeaderBytes) / 3)
  const pgnos = new Uint32Array(countMax)
  const offsets = new Float64Array(countMax + 1)
  const lock = lockPgno(header.pageSize)
  const isImage = header.minTxid === 1
  let at = frameHeaderBytes
  let count = 0
  let previous = 0
  let offset = ltxHeaderBytes
  const varint = (): number => {
    let value = 0
    for (let scale = 1; at < last && scale <= 2 ** 42; scale *= 128) {
      const byte = end[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    throw new LtxFormatError('an index with a damaged number')
  }
  while (at < last) {
    const pgno = varint()
    const expected = isImage ? previous + (previous + 1 === lock ? 2 : 1) : null
    if (pgno <= previous || pgno > header.commit || pgno === lock || (expected !== null && pgno !== expected))
      throw new LtxFormatError(`page ${pgno} follows ${previous} in the index of an LTX file of ${header.commit} pages`)
    if (varint() !== offset) throw new LtxFormatError(`page ${pgno} does not start where the page before it ends`)
    pgnos[count] = pgno
    offsets[count++] = offset
    const length = varint()
    if (length <= frameHeaderBytes) throw new LtxFormatError(`page ${pgno} claims a frame of ${length} bytes`)
    offset += length
    previous = pgno
  }
  if (offset !== framesEnd) throw new LtxFormatError(`an index of frames up to byte ${offset}, not ${framesEnd}`)
  const lastPgno = header.commit === lock ? lock - 1 : header.commit
  if (isImage && previous !== lastPgno)
    throw new LtxFormatError(`a whole image whose index ends at page ${previous} of ${lastPgno}`)
  offsets[count] = offset
  const covered = end.subarray(0, end.length - 8)
  return {
    pgnos: pgnos.slice(0, count),
    offsets: offsets.slice(0, count + 1),
    checksum: view.getBigUint64(end.length - 8),
    end: { crc: new Crc64().update(covered).value, length: covered.length },
  }
}

/** A checksum of some bytes of a file, and how many they were. */
export interface PieceChecksum {
  readonly crc: bigint
  readonly length: number
}

/** The file checksum from those of all pieces between header and index, in their order. */
export function fileChecksum(header: Uint8Array, frames: readonly PieceChecksum[], end: PieceChecksum): bigint {
  let crc = new Crc64().update(header.subarray(0, ltxHeaderBytes)).value
  for (const piece of [...frames, end]) crc = joinCrc64(crc, piece.crc, piece.length)
  return crc | (1n << 63n)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
