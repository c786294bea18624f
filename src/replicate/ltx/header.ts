// The first 100 bytes of an LTX v3 file; big-endian.
//
//    0 "LTX1"   4 flags = 2 (no database checksums)   8 page size   12 commit   16 min TXID   24 max TXID
//   32 timestamp ms   40 pre-apply checksum = 0   48 WAL offset   56 WAL size   64 salt-1   68 salt-2
//   72 node id: epoch << 32 | incarnation, ours alone to read   80 reserved

import type { Txid } from '../../lib/brand.ts'
import { isPageSize } from '../wal/header.ts'
import { LtxFormatError } from './errors.ts'

export const ltxHeaderBytes = 100
export const ltxTrailerBytes = 16

/** The official tools refuse to merge files that carry database checksums; every file says that it has none. */
const noChecksumFlag = 2
const magic = 0x4c545831

/** Who wrote a file. Official tools write zeros; a merge drops it. */
export interface LtxWriter {
  /** Epoch of the placement that wrote, 32 bits. */
  readonly epoch: number
  /** 32 random bits of each opening, to tell our own lost reply from another's file. */
  readonly incarnation: number
}

export interface LtxHeader {
  readonly pageSize: number
  /** Size of the database in pages after this file. */
  readonly commit: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
  readonly timestampMs: number
  /** Where in the WAL the first frame was; 32 where there is none. Never 0 in a level-0 file. */
  readonly walOffset: number
  readonly walSize: number
  readonly walSalt1: number
  readonly walSalt2: number
  readonly writer: LtxWriter
}

/** The page that holds SQLite's lock bytes: never in a file, always zero in the database. */
export function lockPgno(pageSize: number): number {
  return Math.floor(0x4000_0000 / pageSize) + 1
}

export function encodeLtxHeader(header: LtxHeader): Uint8Array {
  const bytes = new Uint8Array(ltxHeaderBytes)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, magic)
  view.setUint32(4, noChecksumFlag)
  view.setUint32(8, header.pageSize)
  view.setUint32(12, header.commit)
  view.setBigUint64(16, BigInt(header.minTxid))
  view.setBigUint64(24, BigInt(header.maxTxid))
  view.setBigInt64(32, BigInt(header.timestampMs))
  view.setBigInt64(48, BigInt(header.walOffset))
  view.setBigInt64(56, BigInt(header.walSize))
  view.setUint32(64, header.walSalt1)
  view.setUint32(68, header.walSalt2)
  view.setUint32(72, header.writer.epoch)
  view.setUint32(76, header.writer.incarnation)
  return bytes
}

/** Throws LtxFormatError for anything the official reader would refuse, and for database checksums, which we never use. */
export function decodeLtxHeader(bytes: Uint8Array): LtxHeader {
  if (bytes.length < ltxHeaderBytes) throw new LtxFormatError(`an LTX file of ${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0) !== magic) throw new LtxFormatError('no LTX file')
  const flags = view.getUint32(4)
  if (flags !== noChecksumFlag) throw new LtxFormatError(`an LTX file with flags ${flags}`)
  const header: LtxHeader = {
    pageSize: view.getUint32(8),
    commit: view.getUint32(12),
    minTxid: integer(view.getBigUint64(16)) as Txid,
    maxTxid: integer(view.getBigUint64(24)) as Txid,
    timestampMs: integer(view.getBigInt64(32)),
    walOffset: integer(view.getBigInt64(48)),
    walSize: integer(view.getBigInt64(56)),
    walSalt1: view.getUint32(64),
    walSalt2: view.getUint32(68),
    writer: { epoch: view.getUint32(72), incarnation: view.getUint32(76) },
  }
  if (!isPageSize(header.pageSize)) throw new LtxFormatError(`an LTX file with page size ${header.pageSize}`)
  if (header.commit === 0) throw new LtxFormatError('an LTX file of an empty database')
  if (header.minTxid < 1 || header.maxTxid < header.minTxid)
    throw new LtxFormatError(`an LTX file with TXIDs ${header.minTxid} to ${header.maxTxid}`)
  if (header.walOffset < 0 || header.walSize < 0) throw new LtxFormatError('an LTX file with a negative WAL range')
  if (view.getBigUint64(40) !== 0n) throw new LtxFormatError('an LTX file with a pre-apply checksum')
  return header
}

function integer(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
    throw new LtxFormatError(`an LTX header with ${value}`)
  return Number(value)
}
