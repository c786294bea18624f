// Fencing without clocks: the next TXID is the lock. A new owner takes the slot behind the tail with a file of its own, the
// seal; from then on the create-only write of any older owner fails, because no owner may skip a slot. The seal is empty,
// but where standbys hold commits that the store does not have: then it brings them, in the same write.

import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { LtxGapError, StaleEpochError } from './errors.ts'
import { ltxChecksumOf } from './ltx/decoder.ts'
import { encodeLtx } from './ltx/encoder.ts'
import { decodeLtxHeader, type LtxHeader, type LtxWriter, lockPgno, ltxHeaderBytes } from './ltx/header.ts'
import { getSlot, type HistoryLocation, type LtxFile, ltxKey, putSlot } from './ltx-store.ts'
import type { ChainContent } from './standby-chain.ts'
import { announceTakeover } from './takeover.ts'

/** Slots that another owner may win from us before we stop: it is alive and we should not be here. */
const lostSlotsMax = 1_000
/** A first lost slot is bad luck, a second one a busy owner. */
const lostSlotsPerHint = 20

/** The last file of a history. */
export interface Tail {
  readonly header: LtxHeader
  readonly checksum: bigint
}

export interface Sealed {
  /** What the seal closed. */
  readonly tail: Tail
  /** The seal itself: one TXID above. */
  readonly seal: Tail
  /** What the seal brought from the standbys; null: it is empty, and the database is the one of the tail. */
  readonly recovered: ChainContent | null
}

/**
 * Asks the standbys of a tail's writer for what they have behind the tail; from then on they obey `writer` alone. null when
 * there is nothing. May be called again with a later tail. Throws when too few of them answer: then nothing may be sealed.
 */
export type Recover = (tail: Tail, writer: LtxWriter) => Promise<ChainContent | null>

/** Files up to this size are read whole for their two ends: one request instead of two. */
const wholeReadBytesMax = 64 << 10

/** Header and checksum of a listed file. */
export async function readTail(at: HistoryLocation, file: LtxFile, signal?: AbortSignal): Promise<Tail> {
  const options = signal === undefined ? {} : { signal }
  const key = ltxKey(at, file)
  if (file.sizeBytes <= wholeReadBytesMax) {
    const bytes = await at.store.get(key, options)
    return { header: decodeLtxHeader(bytes), checksum: ltxChecksumOf(bytes) }
  }
  const [head, end] = await Promise.all([
    at.store.get(key, { range: { from: 0, to: ltxHeaderBytes }, ...options }),
    at.store.get(key, { range: { from: file.sizeBytes - ltxHeaderBytes - 16, to: file.sizeBytes }, ...options }),
  ])
  return { header: decodeLtxHeader(head), checksum: ltxChecksumOf(end) }
}

/**
 * Takes the slot behind the tail for `writer`.
 *
 * @param last the newest file known; when more have appeared since, the seal goes behind them.
 * @throws StaleEpochError when a file of a higher epoch is met: then somebody else is the rightful owner, and nothing
 *   was written.
 */
export async function sealHistory(
  at: HistoryLocation,
  last: Tail,
  deps: {
    readonly writer: LtxWriter
    readonly clock: Clock
    readonly signal?: AbortSignal
    readonly recover?: Recover
  },
): Promise<Sealed> {
  const { writer, clock, signal, recover } = deps
  const options = signal === undefined ? {} : { signal }
  let tail = last
  for (let lost = 0; ; lost++) {
    if (tail.header.writer.epoch > writer.epoch || lost === lostSlotsMax)
      throw new StaleEpochError(at.prefix, writer.epoch, tail.header.writer.epoch)
    // For each tail anew: another owner may have been in between, or the old one may have shipped what standbys hold.
    const recovered = recover === undefined ? null : await recover(tail, writer)
    const txid = (tail.header.maxTxid + 1) as Txid
    const header = sealHeader(tail, txid, writer, clock, recovered)
    const file = encodeLtx(header, sealPages(tail, recovered), tail.header.commit)
    if ((await putSlot(at, file, header, options)) === 'created')
      return { tail, seal: { header, checksum: file.checksum }, recovered }
    const found = await getSlot(at, txid, options)
    if (found === null) throw new LtxGapError(txid, null)
    const { epoch, incarnation } = found.header.writer
    // Our own seal, whose reply was lost: perhaps with the timestamp of an earlier attempt, so take what is there.
    if (epoch === writer.epoch && incarnation === writer.incarnation) return { tail, seal: found, recovered }
    tail = found
    if (lost % lostSlotsPerHint === 1) await announceTakeover(at, writer.epoch, signal)
  }
}

/** A page by which the database grew and that no unit holds was free all along, so its content is no matter. */
function sealPages(tail: Tail, recovered: ChainContent | null): ReadonlyMap<number, Uint8Array> {
  const pages = new Map(recovered?.pages)
  const { pageSize, commit } = tail.header
  const lock = lockPgno(pageSize)
  for (let pgno = commit + 1; recovered !== null && pgno <= recovered.commit; pgno++)
    if (pgno !== lock && !pages.has(pgno)) pages.set(pgno, new Uint8Array(pageSize))
  return pages
}

function sealHeader(
  tail: Tail,
  txid: Txid,
  writer: LtxWriter,
  clock: Clock,
  recovered: ChainContent | null,
): LtxHeader {
  return {
    pageSize: tail.header.pageSize,
    // A smaller commit would cut the restored database, a larger one bring back stale pages.
    commit: recovered?.commit ?? tail.header.commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: Math.max(clock.now(), tail.header.timestampMs + 1),
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer,
  }
}
