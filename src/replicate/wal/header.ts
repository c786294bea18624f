// The first 32 bytes of a WAL file. SQLite file format, "The Write-Ahead Log".
//
//    0 magic 0x377f0682 (checksum words little-endian) or …83 (big-endian)   4 version   8 page size
//   12 checkpoint sequence   16 salt-1   20 salt-2   24 checksum of the first 24 bytes, two words

export const walHeaderBytes = 32

const magicLittleEndian = 0x377f0682
const magicBigEndian = 0x377f0683
const version = 3_007_000

/** A running WAL checksum: two words, mod 2^32. */
export interface WalChecksum {
  readonly s0: number
  readonly s1: number
}

export interface WalHeader {
  /** Byte order in which the checksum reads its words; stored values are big-endian always. */
  readonly littleEndian: boolean
  readonly pageSize: number
  readonly sequence: number
  readonly salt1: number
  readonly salt2: number
  /** Where the chain of the frames begins. */
  readonly checksum: WalChecksum
}

/** Adds a multiple of 8 bytes to a running checksum. */
export function walChecksum(bytes: Uint8Array, littleEndian: boolean, from: WalChecksum): WalChecksum {
  let { s0, s1 } = from
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < bytes.length; at += 8) {
    s0 = (s0 + view.getUint32(at, littleEndian) + s1) | 0
    s1 = (s1 + view.getUint32(at + 4, littleEndian) + s0) | 0
  }
  return { s0: s0 >>> 0, s1: s1 >>> 0 }
}

/** null when the bytes are too few, another format, or damaged: SQLite then takes the WAL for empty, and so do we. */
export function decodeWalHeader(bytes: Uint8Array): WalHeader | null {
  if (bytes.length < walHeaderBytes) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = view.getUint32(0)
  if (magic !== magicLittleEndian && magic !== magicBigEndian) return null
  const pageSize = view.getUint32(8)
  if (view.getUint32(4) !== version || !isPageSize(pageSize)) return null
  const littleEndian = magic === magicLittleEndian
  const checksum = walChecksum(bytes.subarray(0, 24), littleEndian, { s0: 0, s1: 0 })
  if (checksum.s0 !== view.getUint32(24) || checksum.s1 !== view.getUint32(28)) return null
  return {
    littleEndian,
    pageSize,
    sequence: view.getUint32(12),
    salt1: view.getUint32(16),
    salt2: view.getUint32(20),
    checksum,
  }
}

/** A power of two from 512 to 65536. */
export function isPageSize(size: number): boolean {
  return Number.isInteger(size) && size >= 512 && size <= 65_536 && (size & (size - 1)) === 0
}
