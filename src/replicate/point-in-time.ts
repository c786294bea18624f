// Which TXID a time means, and going back to it without rewriting anything: the old content becomes the newest slot, so
// that undoing the undo is one more of the same.

import { rm } from 'node:fs/promises'
import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { ObjectStoreError } from '../lib/object-store/object-store.ts'
import type { Rng } from '../lib/rng.ts'
import { FencedError } from './errors.ts'
import { findTail } from './history.ts'
import { encodeLtx, imagePages } from './ltx/encoder.ts'
import type { LtxHeader } from './ltx/header.ts'
import { getSlot, type HistoryLocation, listLtx, putSlot } from './ltx-store.ts'
import { restoreDatabase } from './restore.ts'
import { readTail, sealHistory } from './seal.ts'

export interface RestorablePoint {
  readonly txid: Txid
  readonly timestampMs: number
}

/**
 * The last slot at or before a time. Slots never go back in time, so this is a binary search over their headers.
 *
 * @returns null when the history begins later, or when the slots of that time are no longer there.
 */
export async function pointAt(
  at: HistoryLocation,
  timeMs: number,
  signal?: AbortSignal,
): Promise<RestorablePoint | null> {
  const files = await listLtx(at, signal === undefined ? {} : { signal })
  const slots = files.filter((file) => file.level === 0).sort((a, b) => a.minTxid - b.minTxid)
  let from = 0
  let to = slots.length
  let found: RestorablePoint | null = null
  while (from < to) {
    const middle = (from + to) >>> 1
    const { header } = await readTail(at, slots[middle]!, signal)
    if (header.timestampMs <= timeMs) {
      found = { txid: header.maxTxid, timestampMs: header.timestampMs }
      from = middle + 1
    } else to = middle
  }
  return found
}

/**
 * Makes the database as of `target` the newest state of the history, as a whole image behind a seal of `epoch`. The
 * database must be closed everywhere; an owner that is not is fenced. Afterwards it is opened as usual.
 *
 * @param scratchPath where the old state is rebuilt for a moment; removed in the end. Held in memory whole.
 * @returns the TXID of the new slot.
 */
export async function rollBackTo(
  at: HistoryLocation,
  target: Txid,
  options: {
    readonly epoch: number
    readonly scratchPath: string
    readonly clock: Clock
    readonly rng: Rng
    readonly signal?: AbortSignal
  },
): Promise<Txid> {
  const { epoch, scratchPath, clock, rng } = options
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  try {
    // The listing of the tail leaves out what only older states need.
    const { last } = await findTail(at, options.signal)
    const { header: old } = await restoreDatabase(at, scratchPath, { target, ...signal })
    const image = await Bun.file(scratchPath).bytes()
    const writer = { epoch, incarnation: rng.below(2 ** 32) }
    const { seal } = await sealHistory(at, last, { writer, clock, ...signal })
    assert(seal.header.pageSize === old.pageSize, 'page sizes of one history are equal')
    const txid = (seal.header.maxTxid + 1) as Txid
    const header: LtxHeader = {
      ...seal.header,
      commit: old.commit,
      minTxid: txid,
      maxTxid: txid,
      timestampMs: Math.max(clock.now(), seal.header.timestampMs + 1),
    }
    const file = encodeLtx(header, imagePages(image, old.pageSize), seal.header.commit)
    if ((await putSlot(at, file, header, signal)) === 'taken') {
      const found = await getSlot(at, txid, signal)
      if (found === null)
        throw new ObjectStoreError(`slot ${txid} of ${at.prefix} is taken and empty`, { retryable: true, status: null })
      if (found.checksum !== file.checksum) throw new FencedError(at.prefix, txid, found.header.writer.epoch)
    }
    return txid
  } finally {
    await rm(scratchPath, { force: true })
  }
}
