// Fencing without clocks: the next TXID is the lock. A new owner takes the slot behind the tail with an empty file, the
// seal; from then on the create-only write of any older owner fails, because no owner may skip a slot. Where standbys hold
// commits that the store does not have, they go into the slot behind the seal, before anything is acknowledged.

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
  readonly seal: Tail & { readonly sizeBytes: number }
  /** What standbys have behind the tail; null: nothing. */
  readonly recovered: ChainContent | null
}

/**
 * Asks the standbys of a tail's writer for what they have behind the tail; from then on they obey `writer` alone. null when
 * there is nothing. May be called again with a later tail. Throws when too few of them answer: then nothing may be sealed.
 */
export type Recover = (tail: Tail, writer: LtxWriter, at: HistoryLocation) => Promise<ChainContent | null>

/** Files up to this size are read whole for their two ends: one request instead of two. */
const wholeReadBytesMax = 64 << 10

/** Header and checksum of a listed file, and all of a small one, which a restore then need not fetch again. */
export async function readTail(
  at: HistoryLocation,
  file: LtxFile,
  signal?: AbortSignal,
): Promise<Tail & { readonly body: Uint8Array | null }> {
  const options = signal === undefined ? {} : { signal }
  const key = ltxKey(at, file)
  if (file.sizeBytes <= wholeReadBytesMax) {
    const bytes = await at.store.get(key, options)
    return { header: decodeLtxHeader(bytes), checksum: ltxChecksumOf(bytes), body: bytes }
  }
  const [head, end] = await Promise.all([
    at.store.get(key, { range: { from: 0, to: ltxHeaderBytes }, ...options }),
    at.store.get(key, { range: { from: file.sizeBytes - ltxHeaderBytes - 16, to: file.sizeBytes }, ...options }),
  ])
  return { header: decodeLtxHeader(head), checksum: ltxChecksumOf(end), body: null }
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
    const recovered = recover === undefined ? null : await recover(tail, writer, at)
    const txid = (tail.header.maxTxid + 1) as Txid
    const header = sealHeader(tail, txid, writer, clock)
    const file = encodeLtx(header, new Map(), tail.header.commit)
    if ((await putSlot(at, file, header, options)) === 'created')
      return { tail, seal: { header, checksum: file.checksum, sizeBytes: file.bytes.length }, recovered }
    const found = await getSlot(at, txid, options)
    if (found === null) throw new LtxGapError(txid, null)
    const { epoch, incarnation } = found.header.writer
    // Our own seal, whose reply was lost: perhaps with the timestamp of an earlier attempt, so take what is there.
    if (epoch === writer.epoch && incarnation === writer.incarnation)
      return { tail, seal: { ...found, sizeBytes: found.bytes.length }, recovered }
    tail = found
    if (lost % lostSlotsPerHint === 1) await announceTakeover(at, writer.epoch, signal)
  }
}

/**
 * Puts what standbys had into the slot behind the seal; it is the database's newest file then.
 *
 * @throws StaleEpochError when another owner has sealed meanwhile.
 */
export async function putRecovered(
  at: HistoryLocation,
  { seal, recovered }: { readonly seal: Tail; readonly recovered: ChainContent },
  deps: { readonly writer: LtxWriter; readonly clock: Clock; readonly signal?: AbortSignal },
): Promise<Sealed['seal']> {
  const options = deps.signal === undefined ? {} : { signal: deps.signal }
  const txid = (seal.header.maxTxid + 1) as Txid
  const header = { ...sealHeader(seal, txid, deps.writer, deps.clock), commit: recovered.commit }
  const pages = new Map(recovered.pages)
  const { pageSize, commit } = seal.header
  // A page by which the database grew and that no unit holds was free all along: its content is no matter.
  for (let pgno = commit + 1; pgno <= recovered.commit; pgno++)
    if (pgno !== lockPgno(pageSize) && !pages.has(pgno)) pages.set(pgno, new Uint8Array(pageSize))
  const file = encodeLtx(header, pages, commit)
  if ((await putSlot(at, file, header, options)) === 'taken') {
    const found = await getSlot(at, txid, options)
    if (found === null) throw new LtxGapError(txid, null)
    if (found.checksum !== file.checksum)
      throw new StaleEpochError(at.prefix, deps.writer.epoch, found.header.writer.epoch)
  }
  return { header, checksum: file.checksum, sizeBytes: file.bytes.length }
}

function sealHeader(tail: Tail, txid: Txid, writer: LtxWriter, clock: Clock): LtxHeader {
  return {
    pageSize: tail.header.pageSize,
    // A smaller commit would cut the restored database, a larger one bring back stale pages.
    commit: tail.header.commit,
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
