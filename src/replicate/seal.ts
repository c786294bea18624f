// Fencing without clocks: the next TXID is the lock. A new owner takes the slot behind the tail with an empty file, the
// seal; from then on the create-only write of any older owner fails, because no owner may skip a slot.

import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { LtxGapError, StaleEpochError } from './errors.ts'
import { ltxChecksumOf } from './ltx/decoder.ts'
import { encodeLtx } from './ltx/encoder.ts'
import { decodeLtxHeader, type LtxHeader, type LtxWriter, ltxHeaderBytes } from './ltx/header.ts'
import { getSlot, type HistoryLocation, type LtxFile, ltxKey, putSlot } from './ltx-store.ts'
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
  /** What the seal closed; the database is at this TXID. */
  readonly tail: Tail
  /** The seal itself: one TXID above. */
  readonly seal: Tail
}

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
  deps: { readonly writer: LtxWriter; readonly clock: Clock; readonly signal?: AbortSignal },
): Promise<Sealed> {
  const { writer, clock, signal } = deps
  const options = signal === undefined ? {} : { signal }
  let tail = last
  for (let lost = 0; ; lost++) {
    if (tail.header.writer.epoch > writer.epoch || lost === lostSlotsMax)
      throw new StaleEpochError(at.prefix, writer.epoch, tail.header.writer.epoch)
    const txid = (tail.header.maxTxid + 1) as Txid
    const header = sealHeader(tail, txid, writer, clock)
    const file = encodeLtx(header, new Map(), tail.header.commit)
    if ((await putSlot(at, file, header, options)) === 'created')
      return { tail, seal: { header, checksum: file.checksum } }
    const found = await getSlot(at, txid, options)
    if (found === null) throw new LtxGapError(txid, null)
    const { epoch, incarnation } = found.header.writer
    // Our own seal, whose reply was lost: perhaps with the timestamp of an earlier attempt, so take what is there.
    if (epoch === writer.epoch && incarnation === writer.incarnation) return { tail, seal: found }
    tail = found
    if (lost % lostSlotsPerHint === 1) await announceTakeover(at, writer.epoch, signal)
  }
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
