// Keeps restores short: every 64 slots become one file of level 1, every 64 of those one of level 2, and so on. By count,
// not by clock: a change that stands alone is not written again. The inputs stay; only retention may remove them.
//
// A merge of TXIDs that the store has is the same whoever makes it, so it needs no lock and a fenced owner does no harm.

import type { Txid } from '../lib/brand.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { LtxMerger } from './ltx/merge.ts'
import { type HistoryLocation, ltxKey, ltxName } from './ltx-store.ts'

/** Files of one level that become one of the next. */
export const mergeFactor = 64
/** The highest level made by counting; 64^4 slots are 190 days of one a second. */
const mergedLevelMax = 4
/** Inputs of one merge, bytes as stored: what is larger restores well enough as it is, and merging it costs the node. */
const inputBytesMax = 16 << 20
/** Inputs fetched at the same time. */
const getsInFlight = 8

export interface Merge {
  readonly level: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

/** The merges that end at a slot, lowest level first; most slots end none. */
export function mergesEndingAt(txid: Txid): Merge[] {
  const merges: Merge[] = []
  for (let level = 1, span = mergeFactor; level <= mergedLevelMax && txid % span === 0; level++, span *= mergeFactor)
    merges.push({ level, minTxid: (txid - span + 1) as Txid, maxTxid: txid })
  return merges
}

/**
 * Makes one merged file; inputs of level 1 and above that an earlier failure left out are made first.
 *
 * @returns false when it was left out because its inputs are too large.
 */
export async function mergeFiles(at: HistoryLocation, merge: Merge, signal: AbortSignal): Promise<boolean> {
  const span = (merge.maxTxid - merge.minTxid + 1) / mergeFactor
  const inputs = Array.from({ length: mergeFactor }, (_, index) => {
    const minTxid = (merge.minTxid + index * span) as Txid
    return { level: merge.level - 1, minTxid, maxTxid: (minTxid + span - 1) as Txid }
  })
  const merger = new LtxMerger()
  let inputBytes = 0
  for (let from = 0; from < inputs.length; from += getsInFlight) {
    const bodies = await Promise.all(
      inputs.slice(from, from + getsInFlight).map((input) => fetchInput(at, input, signal)),
    )
    for (const body of bodies) {
      inputBytes += body?.length ?? 0
      if (body === null || inputBytes > inputBytesMax) return false
      merger.add(body)
    }
  }
  const { header, file } = merger.finish()
  if (header.minTxid !== merge.minTxid || header.maxTxid !== merge.maxTxid)
    throw new Error(`merged ${ltxName(header.minTxid, header.maxTxid)}, not ${ltxName(merge.minTxid, merge.maxTxid)}`)
  await at.store.put(ltxKey(at, merge), file.bytes, {
    metadata: { 'litestream-timestamp': new Date(header.timestampMs).toISOString() },
    signal,
  })
  return true
}

/** null when the input was left out as too large, so what would be made of it is as well. */
async function fetchInput(at: HistoryLocation, input: Merge, signal: AbortSignal): Promise<Uint8Array | null> {
  const key = ltxKey(at, input)
  try {
    return await at.store.get(key, { signal })
  } catch (error) {
    if (!(error instanceof ObjectNotFoundError)) throw error
    // A slot that is gone was merged and removed; its merge exists or never will.
    if (input.level === 0 || !(await mergeFiles(at, input, signal))) return null
    return at.store.get(key, { signal })
  }
}
