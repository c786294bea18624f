// The file in which a standby keeps what an owner has streamed to it: a chain of units, each the pages of some commits as
// an LTX file. Together they turn the database at `baseTxid`, which the object store has, into the newest one that was
// acknowledged. Applying a unit again does no harm: it holds whole pages, and the last one wins.
//
//   head     "PFSC" · version u32 · epoch u32 · incarnation u32 · chain u64 · base TXID u64 · CRC-32 of all that
//   record   length u32 · CRC-32 u32 · LTX bytes                                         big-endian; one record a unit
//
// Unit n of the file has the number `chainSeq + n`. A chain starts over whenever the store has caught up.

import type { Txid } from '../lib/brand.ts'
import { AppError } from '../lib/errors.ts'
import { err, ok, type Result } from '../lib/result.ts'
import { decodeLtx } from './ltx/decoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { LtxHeader, LtxWriter } from './ltx/header.ts'
import type { WalPosition } from './wal/reader.ts'

export const chainHeadBytes = 36
const recordHeadBytes = 8
const magic = 0x50465343
const version = 1

export interface ChainHead {
  readonly writer: LtxWriter
  /** Number of the first unit. */
  readonly chainSeq: number
  /** The store has this TXID, and the units follow it without a gap. */
  readonly baseTxid: Txid
}

export interface Chain {
  readonly head: ChainHead
  readonly units: readonly Uint8Array[]
  /** Bytes of the head and of the whole records; what lies behind was never acknowledged. */
  readonly sizeBytes: number
}

/** A standby's file is damaged before its end: what it acknowledged is not there any more. */
export class StandbyChainError extends AppError {
  readonly code = 'standby_chain'
}

export function encodeChainHead({ writer, chainSeq, baseTxid }: ChainHead): Uint8Array {
  const bytes = new Uint8Array(chainHeadBytes)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, magic)
  view.setUint32(4, version)
  view.setUint32(8, writer.epoch)
  view.setUint32(12, writer.incarnation)
  view.setBigUint64(16, BigInt(chainSeq))
  view.setBigUint64(24, BigInt(baseTxid))
  view.setUint32(32, crc32(bytes.subarray(0, 32)))
  return bytes
}

export function encodeChainRecord(unit: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(recordHeadBytes + unit.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, unit.length)
  view.setUint32(4, crc32(unit))
  bytes.set(unit, recordHeadBytes)
  return bytes
}

/**
 * Reads a chain file. A last record that was not written to its end is left out; `err` when the damage lies before it,
 * or when the head is not one of this version.
 */
export function decodeChain(bytes: Uint8Array): Result<Chain, StandbyChainError> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (
    bytes.length < chainHeadBytes ||
    view.getUint32(0) !== magic ||
    view.getUint32(4) !== version ||
    view.getUint32(32) !== crc32(bytes.subarray(0, 32))
  )
    return err(new StandbyChainError('the head of a standby chain cannot be read'))
  const chainSeq = Number(view.getBigUint64(16))
  const baseTxid = Number(view.getBigUint64(24)) as Txid
  const head = { writer: { epoch: view.getUint32(8), incarnation: view.getUint32(12) }, chainSeq, baseTxid }
  const units: Uint8Array[] = []
  let at = chainHeadBytes
  while (at + recordHeadBytes <= bytes.length) {
    const from = at + recordHeadBytes
    const to = from + view.getUint32(at)
    if (to > bytes.length) break
    const unit = bytes.subarray(from, to)
    if (crc32(unit) !== view.getUint32(at + 4)) {
      if (to === bytes.length) break // a power cut may leave its length without its content
      return err(new StandbyChainError(`unit ${chainSeq + units.length} of a standby chain is damaged`))
    }
    units.push(unit)
    at = to
  }
  return ok({ head, units, sizeBytes: at })
}

/** What a chain adds to its base, as one set of pages. */
export interface ChainContent {
  readonly pages: Map<number, Uint8Array>
  /** Size of the database in pages. */
  readonly commit: number
  readonly pageSize: number
  /** Where the newest unit ends in its owner's WAL. */
  readonly walEnd: Pick<WalPosition, 'salt1' | 'salt2' | 'offset'>
}

/** Applies the units in their order. Throws StandbyChainError when one of them is not what its owner made. */
export function contentOf(chain: Chain): ChainContent {
  const pages = new Map<number, Uint8Array>()
  let last: LtxHeader | null = null
  try {
    for (const unit of chain.units) {
      const previous: LtxHeader | null = last
      last = decodeLtx(unit, (header) => {
        if (previous !== null && (header.minTxid !== previous.maxTxid + 1 || header.pageSize !== previous.pageSize))
          throw new LtxFormatError(`unit ${header.minTxid} does not follow ${previous.maxTxid}`)
        return (pgno, page) => pages.set(pgno, page.slice())
      }).header
      for (const pgno of pages.keys()) if (pgno > last.commit) pages.delete(pgno)
    }
  } catch (cause) {
    if (!(cause instanceof LtxFormatError)) throw cause
    throw new StandbyChainError('a unit of a standby chain cannot be decoded', { cause })
  }
  if (last === null) throw new StandbyChainError('a standby chain without a unit')
  const { commit, pageSize, walOffset, walSize, walSalt1: salt1, walSalt2: salt2 } = last
  return { pages, commit, pageSize, walEnd: { salt1, salt2, offset: walOffset + walSize } }
}

/**
 * Whether a chain goes on behind a file that the same owner shipped. When it does not, its pages are older than the
 * file's, and must not be applied.
 *
 * Within one opening SQLite counts the first salt up with each WAL, and starts a WAL over only when the store has all of
 * the one before; so the order of two places in it is known.
 */
export function goesBehind(chain: Pick<ChainHead, 'baseTxid'>, end: ChainContent['walEnd'], tail: LtxHeader): boolean {
  const { walOffset, walSize, walSalt1, walSalt2 } = tail
  // The seal, or an image beside which there was no WAL: such a file only precedes a chain that was based on it.
  if (walSalt1 === 0 && walSalt2 === 0) return chain.baseTxid >= tail.maxTxid
  const newerBy = (end.salt1 - walSalt1) | 0 // counts modulo 2^32
  return newerBy > 0 || (newerBy === 0 && end.salt2 === walSalt2 && end.offset > walOffset + walSize)
}

function crc32(bytes: Uint8Array): number {
  return Bun.hash.crc32(bytes)
}
