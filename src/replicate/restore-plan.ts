// Which files rebuild a database. Pure; the order and the choice are those of official Litestream.

import type { Txid } from '../lib/brand.ts'
import { err, ok, type Result } from '../lib/result.ts'
import type { LtxFile } from './ltx-store.ts'

export type RestorePlanError =
  | { readonly type: 'never_shipped' }
  | { readonly type: 'ltx_gap'; readonly expected: Txid; readonly found: Txid | null }

/** What a plan looks at. */
export type PlannedFile = Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid'>

export interface RestorePlan<File extends PlannedFile = LtxFile> {
  /** In the order to apply them; the first starts at TXID 1. */
  readonly files: readonly File[]
  readonly txid: Txid
}

/**
 * Chooses the fewest LTX files that rebuild a database up to `target`.
 *
 * @param files every file listed, in any order; ranges may overlap between levels, never within one.
 * @param target last TXID wanted, inclusive; null for the newest that can be reached.
 * @returns the files in the order to apply them: a whole image (`minTxid` 1) first, then each starting at or before the
 *   previous `maxTxid` + 1; never empty. Fails with `never_shipped` when there are no files (only the caller knows
 *   whether the database is new) and with `ltx_gap` when `target` cannot be reached, or when files lie behind a hole,
 *   never with a shorter plan.
 */
export function planRestore<File extends PlannedFile>(
  files: readonly File[],
  target: Txid | null,
): Result<RestorePlan<File>, RestorePlanError> {
  if (files.length === 0) return err({ type: 'never_shipped' })
  const fitting = target === null ? files : files.filter((file) => file.maxTxid <= target)
  const byStart = [...fitting].sort((a, b) => a.minTxid - b.minTxid)
  const chosen: File[] = []
  let reached = 0
  let at = 0
  let best: File | null = null
  for (;;) {
    for (; at < byStart.length && byStart[at]!.minTxid <= reached + 1; at++)
      if (best === null || isBetter(byStart[at]!, best)) best = byStart[at]!
    if (best === null || best.maxTxid <= reached) break
    chosen.push(best)
    reached = best.maxTxid
  }
  const beyond = byStart[at]
  if (target !== null && reached < target)
    return err({ type: 'ltx_gap', expected: (reached + 1) as Txid, found: beyond?.minTxid ?? null })
  if (target === null && beyond !== undefined)
    return err({ type: 'ltx_gap', expected: (reached + 1) as Txid, found: beyond.minTxid })
  return ok({ files: afterLastImage(chosen, fitting, reached), txid: reached as Txid })
}

function isBetter(file: PlannedFile, than: PlannedFile): boolean {
  if (file.maxTxid !== than.maxTxid) return file.maxTxid > than.maxTxid
  if (file.minTxid !== than.minTxid) return file.minTxid < than.minTxid
  return file.level > than.level
}

/** Nothing before the newest whole image is needed: the greedy walk starts there anyway when it reaches farthest. */
function afterLastImage<File extends PlannedFile>(
  chosen: readonly File[],
  files: readonly File[],
  reached: number,
): File[] {
  const images = files.filter((file) => file.minTxid === 1 && file.maxTxid <= reached)
  const newest = images.reduce((a, b) => (isBetter(b, a) ? b : a))
  return [newest, ...chosen.filter((file) => file.maxTxid > newest.maxTxid)]
}
