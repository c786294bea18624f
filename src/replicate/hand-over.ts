// Leaves a history so that the official replicator can go on with it: it starts from the newest slot, which must hold one
// TXID, and a whole image makes its first restore short. Nobody may write to the history meanwhile, nor afterwards but the
// official one: its writes are not create-only, so there is no fence between the two.

import { rm } from 'node:fs/promises'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { findTail } from './history.ts'
import { encodeLtx, imagePages } from './ltx/encoder.ts'
import type { LtxHeader } from './ltx/header.ts'
import { type HistoryLocation, levelMax, ltxKey, putSlot } from './ltx-store.ts'
import { restoreDatabase } from './restore.ts'

export interface HandOver {
  readonly txid: Txid
  readonly timestampMs: number
  /** What had to be written. */
  readonly written: readonly ('image' | 'slot')[]
}

/**
 * Makes sure that the history ends with a slot of one TXID and that a whole image of that TXID is there.
 *
 * @param options.scratchPath where the database is rebuilt for a moment; removed in the end. Held in memory whole.
 */
export async function handOver(
  at: HistoryLocation,
  options: { readonly scratchPath: string; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<HandOver> {
  const { scratchPath, signal } = options
  const { files, last } = await findTail(at, signal)
  const { maxTxid: txid, timestampMs } = last.header
  const hasSlot = files.some((file) => file.level === 0 && file.minTxid === txid && file.maxTxid === txid)
  const hasImage = files.some((file) => file.level === levelMax && file.minTxid === 1 && file.maxTxid === txid)
  const written: HandOver['written'][number][] = []
  if (hasSlot && hasImage) return { txid, timestampMs, written }
  try {
    await restoreDatabase(at, scratchPath, { target: txid, files, signal })
    const pages = imagePages(await Bun.file(scratchPath).bytes(), last.header.pageSize)
    const header: LtxHeader = {
      ...last.header,
      minTxid: txid,
      maxTxid: txid,
      walOffset: 32, // 0 stops the official replicator
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
    }
    if (!hasImage) {
      const image = { ...header, minTxid: 1 as Txid }
      await at.store.put(
        ltxKey(at, { level: levelMax, minTxid: image.minTxid, maxTxid: txid }),
        encodeLtx(image, pages, 0).bytes,
        { metadata: { 'litestream-timestamp': new Date(timestampMs).toISOString() }, signal },
      )
      written.push('image')
    }
    // Taken meanwhile: by us, in an attempt whose reply was lost.
    if (!hasSlot && (await putSlot(at, encodeLtx(header, pages, header.commit), header, { signal })) === 'created')
      written.push('slot')
    return { txid, timestampMs, written }
  } finally {
    await rm(scratchPath, { force: true })
  }
}
