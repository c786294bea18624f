// Reads what was committed since a position, from an open `-wal` file. That file carries no SQLite locks, so reading it
// by a descriptor of our own is safe; the database and its `-shm` are never opened here.

import type { FileHandle } from 'node:fs/promises'
import { decodeWalFrame, walFrameHeaderBytes } from './frame.ts'
import { decodeWalHeader, type WalChecksum, type WalHeader, walHeaderBytes } from './header.ts'

/** Read at a time, bytes; frames are cut from it. Small enough that neighbours do not wait long for what follows. */
const readBytes = 1 << 18

/** The end of a committed frame; the next capture starts there. Always behind a commit frame or the header. */
export interface WalPosition {
  readonly salt1: number
  readonly salt2: number
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly checksum: WalChecksum
}

export type WalCapture =
  /** No valid header: nothing is in the WAL. */
  | { readonly type: 'empty' }
  /** The WAL is not the one of the position, or does not continue its chain. */
  | { readonly type: 'mismatch' }
  | {
      readonly type: 'frames'
      readonly header: WalHeader
      readonly from: WalPosition
      readonly to: WalPosition
      /** Newest content of each page up to the last commit; empty when nothing was committed since. */
      readonly pages: Map<number, Uint8Array>
      /** Database size in pages at `to`; 0 when nothing was committed since. */
      readonly commit: number
    }

/**
 * Reads committed frames from `position` to the last commit. The caller keeps writers out.
 *
 * A checksum that does not match ends the reading: frames of a rolled-back transaction keep the current salts. So does
 * a transaction without its commit frame.
 *
 * @param position where the last capture ended; null for the start of the file, whatever WAL it is.
 */
export async function captureWal(file: FileHandle, position: WalPosition | null): Promise<WalCapture> {
  const head = new Uint8Array(walHeaderBytes)
  if ((await readFully(file, head, 0)) < walHeaderBytes) return { type: 'empty' }
  const header = decodeWalHeader(head)
  if (header === null) return { type: 'empty' }
  const { salt1, salt2 } = header
  if (position !== null && (position.salt1 !== salt1 || position.salt2 !== salt2)) return { type: 'mismatch' }
  const from = position ?? { salt1, salt2, offset: walHeaderBytes, checksum: header.checksum }

  if (position !== null && !(await continues(file, header, position))) return { type: 'mismatch' }
  const frameBytes = walFrameHeaderBytes + header.pageSize
  const piece = new Uint8Array(Math.max(1, Math.floor(readBytes / frameBytes)) * frameBytes)
  const pages = new Map<number, Uint8Array>()
  let open: { readonly pgno: number; readonly page: Uint8Array }[] = []
  let to: WalPosition = from
  let commit = 0
  let checksum = from.checksum
  let offset = from.offset
  reading: for (;;) {
    const length = await readFully(file, piece, offset)
    const complete = length - (length % frameBytes)
    for (let at = 0; at < complete; at += frameBytes) {
      const frame = decodeWalFrame(header, piece.subarray(at, at + frameBytes), checksum)
      if (frame === null) break reading
      checksum = frame.checksum
      open.push({ pgno: frame.pgno, page: frame.page.slice() })
      if (frame.commit === 0) continue
      for (const { pgno, page } of open) pages.set(pgno, page)
      open = []
      commit = frame.commit
      to = { salt1, salt2, offset: offset + at + frameBytes, checksum }
    }
    offset += complete
    if (length < piece.length) break
  }
  // What a shrink cut off. Pages between are kept even when an older transaction wrote them: a later one that grew the
  // database again without writing them leaves exactly this content.
  for (const pgno of pages.keys()) if (pgno > commit) pages.delete(pgno)
  return { type: 'frames', header, from, to, pages, commit }
}

/** Whether the frame that ends at the position is still the one that was read: its stored checksum says so. */
async function continues(file: FileHandle, header: WalHeader, position: WalPosition): Promise<boolean> {
  const { s0, s1 } = position.checksum
  if (position.offset === walHeaderBytes) return s0 === header.checksum.s0 && s1 === header.checksum.s1
  const frameBytes = walFrameHeaderBytes + header.pageSize
  if (position.offset < walHeaderBytes + frameBytes || (position.offset - walHeaderBytes) % frameBytes !== 0)
    return false
  const bytes = new Uint8Array(walFrameHeaderBytes)
  if ((await readFully(file, bytes, position.offset - frameBytes)) < bytes.length) return false
  const view = new DataView(bytes.buffer)
  return (
    view.getUint32(8) === header.salt1 &&
    view.getUint32(12) === header.salt2 &&
    view.getUint32(16) === s0 &&
    view.getUint32(20) === s1
  )
}

/** Fills `bytes` from `offset` on; returns how many there were. */
async function readFully(file: FileHandle, bytes: Uint8Array, offset: number): Promise<number> {
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, offset + length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return length
}
