// One frame of a WAL: 24 bytes of header, then a page.
//
//    0 pgno   4 database size in pages if this frame commits, else 0   8 salt-1   12 salt-2   16 checksum, two words

import { type WalChecksum, type WalHeader, walChecksum } from './header.ts'

export const walFrameHeaderBytes = 24

export interface WalFrame {
  readonly pgno: number
  /** Size of the database in pages after the transaction that ends here; 0 inside a transaction. */
  readonly commit: number
  /** The page, a view of the bytes given to {@link decodeWalFrame}. */
  readonly page: Uint8Array
  /** The running checksum up to here; the next frame's starts from it. */
  readonly checksum: WalChecksum
}

/**
 * Reads one frame.
 *
 * @param bytes exactly the frame's header and page.
 * @param previous the checksum of the frame before, or of the header.
 * @returns null when the frame does not continue the chain: a stale, torn or rolled-back tail begins here.
 */
export function decodeWalFrame(header: WalHeader, bytes: Uint8Array, previous: WalChecksum): WalFrame | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const pgno = view.getUint32(0)
  if (pgno === 0 || view.getUint32(8) !== header.salt1 || view.getUint32(12) !== header.salt2) return null
  const page = bytes.subarray(walFrameHeaderBytes)
  const overHead = walChecksum(bytes.subarray(0, 8), header.littleEndian, previous)
  const checksum = walChecksum(page, header.littleEndian, overHead)
  if (checksum.s0 !== view.getUint32(16) || checksum.s1 !== view.getUint32(20)) return null
  return { pgno, commit: view.getUint32(4), page, checksum }
}
