// Writes LTX v3 files: header, page frames, page index, trailer.
//
//   frame    pgno u32 · flags u16 = 1 · length u32 · LZ4 block          …six zero bytes end the frames
//   index    per page varints pgno, offset, length of its frame; 0; u64 length of all that
//   trailer  u64 0 · u64 checksum: CRC-64 over header, frame headers with the plain pages, and the index, top bit set

import { setImmediate } from 'node:timers/promises'
import { assert } from '../../lib/assert.ts'
import { concat } from '../../lib/bytes.ts'
import { Crc64 } from '../../lib/crc/crc64.ts'
import { encodeLtxHeader, type LtxHeader, lockPgno } from './header.ts'
import { IndexWriter } from './index-writer.ts'
import { Lz4BlockEncoder, lz4BlockBound } from './lz4.ts'

export const frameHeaderBytes = 6
export const blockSizeBytes = 4
export const blockFlag = 1

export interface EncodedLtx {
  readonly bytes: Uint8Array
  /** The file checksum of the trailer, which names this exact content. */
  readonly checksum: bigint
}

const lz4 = new Lz4BlockEncoder()
/** Frames are written into pieces of this many bytes at least: one for each frame costs more than its checksum does. */
const pieceBytes = 1 << 20
/** The first piece, for the many files of a few pages. */
const firstPieceBytes = 1 << 14
/** Plain bytes between two pauses of {@link encodeLtxPaced}: about a millisecond of work, which neighbours wait for. */
const pauseBytes = 1 << 17

/**
 * Encodes one file.
 *
 * @param pages each of `header.pageSize` bytes, in any order. A file with `minTxid` 1 holds all pages from 1 to
 *   `commit` but the lock page.
 * @param previousCommit size of the database before; every page above it up to `commit` must be there, because a reader
 *   would take a stale one or fail.
 */
export function encodeLtx(
  header: LtxHeader,
  pages: ReadonlyMap<number, Uint8Array>,
  previousCommit: number,
): EncodedLtx {
  const steps = encodeSteps(header, pages, previousCommit)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** The same for files of any size: other work gets its turn between the pages, which must not change meanwhile. */
export async function encodeLtxPaced(
  header: LtxHeader,
  pages: ReadonlyMap<number, Uint8Array>,
  previousCommit: number,
): Promise<EncodedLtx> {
  const steps = encodeSteps(header, pages, previousCommit)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await setImmediate()
  }
}

function* encodeSteps(
  header: LtxHeader,
  pages: ReadonlyMap<number, Uint8Array>,
  previousCommit: number,
): Generator<void, EncodedLtx> {
  const { pageSize, commit } = header
  const lock = lockPgno(pageSize)
  const pgnos = Uint32Array.from(pages.keys()).sort()
  assert(!pages.has(lock), 'the lock page is never shipped')
  assert(
    pgnos.length === 0 || (pgnos[0]! >= 1 && pgnos[pgnos.length - 1]! <= commit),
    'a page lies outside the database',
  )
  assert(header.walOffset >= 32, 'a WAL offset of 0 stops the official replicator')
  for (let pgno = header.minTxid === 1 ? 1 : previousCommit + 1; pgno <= commit; pgno++)
    assert(pgno === lock || pages.has(pgno), `page ${pgno} is missing`)

  const crc = new Crc64()
  const head = encodeLtxHeader(header)
  crc.update(head)
  const parts = [head]
  const index = new IndexWriter()
  const blockStart = frameHeaderBytes + blockSizeBytes
  const room = blockStart + lz4BlockBound(pageSize)
  let piece = new Uint8Array(Math.max(firstPieceBytes, room))
  let view = new DataView(piece.buffer)
  let at = 0
  let offset = head.length
  let sincePause = 0
  for (const pgno of pgnos) {
    const page = pages.get(pgno)!
    assert(page.length === pageSize, `page ${pgno} has ${page.length} bytes`)
    if (at + room > piece.length) {
      parts.push(piece.subarray(0, at))
      piece = new Uint8Array(Math.max(pieceBytes, room))
      view = new DataView(piece.buffer)
      at = 0
    }
    const length = lz4.encode(page, piece.subarray(at + blockStart, at + room))
    view.setUint32(at, pgno)
    view.setUint16(at + 4, blockFlag)
    view.setUint32(at + 6, length)
    crc.update(piece.subarray(at, at + blockStart)).update(page)
    index.add(pgno, offset, blockStart + length)
    at += blockStart + length
    offset += blockStart + length
    sincePause += pageSize
    if (sincePause >= pauseBytes) {
      sincePause = 0
      yield
    }
  }
  parts.push(piece.subarray(0, at))
  const { bytes: end, checksum } = index.finish(crc)
  parts.push(end)
  return { bytes: concat(parts), checksum }
}

/** The pages of a whole image, views of it, without the lock page. */
export function imagePages(image: Uint8Array, pageSize: number): Map<number, Uint8Array> {
  assert(image.length > 0 && image.length % pageSize === 0, `an image of ${image.length} bytes`)
  const lock = lockPgno(pageSize)
  const pages = new Map<number, Uint8Array>()
  for (let pgno = 1, at = 0; at < image.length; pgno++, at += pageSize)
    if (pgno !== lock) pages.set(pgno, image.subarray(at, at + pageSize))
  return pages
}
