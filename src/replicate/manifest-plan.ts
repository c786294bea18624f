// Opens a long history without listing all of it: what a manifest names, and what the store has beyond. The manifest spares
// requests and is believed in nothing: where the history ends is what the store lists from the manifest's tail on, without a
// gap; that the tail is this history's is seen by its checksum; a file that is gone shows when it is read.

import type { Txid } from '../lib/brand.ts'
import { mergedLevelMax, mergeFactor } from './compaction.ts'
import { type HistoryManifest, type ManifestFile, newestImage } from './history-manifest.ts'
import {
  type HistoryLocation,
  type LtxFile,
  levelMax,
  listLevelPage,
  ltxName,
  nameBefore,
  slotsFrom,
} from './ltx-store.ts'
import { type PlannedFile, planRestore } from './restore-plan.ts'

/** Slots behind a manifest, above which their merges are asked for too: so many files more cost a restore little. */
const newerSlotsMax = 4 * mergeFactor

export interface NotedFiles {
  /** Enough for the newest state, if those that only the manifest names are still there. */
  readonly files: readonly LtxFile[]
  /** The slot that the manifest calls the tail. */
  readonly tail: LtxFile
  /** The last slot of the history. */
  readonly newest: LtxFile
}

/**
 * Puts together what a manifest names and what the store has listed since.
 *
 * @param listed all slots from the manifest's tail on, at least, and any other files of the history; what it says of a file
 *   counts more than the manifest.
 * @returns null when this is no proof of where the history ends, or no way to it: then the history must be listed.
 */
export function filesFromManifest(manifest: HistoryManifest, listed: readonly LtxFile[]): NotedFiles | null {
  const { txid } = manifest.tail
  const slots = listed.filter((file) => file.level === 0 && file.minTxid >= txid).sort((a, b) => a.minTxid - b.minTxid)
  const [tail, newest] = [slots[0], slots.at(-1)]
  // No owner skips a slot and the newest one stays, so behind a hole there was a deletion, and more than these files.
  const isDense = slots.every(({ minTxid, maxTxid }, index) => minTxid === txid + index && maxTxid === minTxid)
  if (tail === undefined || newest === undefined || !isDense) return null
  const found = new Set(listed.map(nameOf))
  const noted = manifest.files.filter((file) => !found.has(nameOf(file))).map(asListed)
  const files = [...listed, ...noted]
  const plan = planRestore(files, null)
  return plan.ok && plan.value.txid === newest.maxTxid ? { files, tail, newest } : null
}

/**
 * Asks the store for what is newer than a manifest: slots, images, and merges where there are many slots.
 *
 * @param options.since slots from this one on are wanted too, for a local file of that TXID.
 * @returns null as {@link filesFromManifest} does, and when the manifest is so old that listing costs as much.
 */
export async function listBehindManifest(
  at: HistoryLocation,
  manifest: HistoryManifest,
  options: { readonly since: Txid | null; readonly signal?: AbortSignal },
): Promise<NotedFiles | null> {
  const { since, ...rest } = options
  const { txid } = manifest.tail
  const image = newestImage(manifest)
  const [slots, images] = await Promise.all([
    listLevelPage(at, 0, nameBefore(slotsFrom(txid, since)), rest),
    // Closing a tenant leaves one that its manifest does not name.
    listLevelPage(at, levelMax, image.level === levelMax ? ltxName(image.minTxid, image.maxTxid) : null, rest),
  ])
  if (slots === null || images === null) return null
  const listed = [...slots, ...images]
  if (slots.filter(({ minTxid }) => minTxid > txid).length > newerSlotsMax) {
    const levels = Array.from({ length: mergedLevelMax }, (_, index) => index + 1)
    const merges = await Promise.all(
      levels.map((level) => listLevelPage(at, level, nameBefore(firstAbove(manifest.files, level)), rest)),
    )
    for (const page of merges) {
      if (page === null) return null
      listed.push(...page)
    }
  }
  return filesFromManifest(manifest, listed)
}

/** The first TXID that none of the leading files of at least this level holds: a new merge starts there or later. */
function firstAbove([image, ...later]: readonly ManifestFile[], level: number): Txid {
  let reached: number = image!.maxTxid
  for (const file of later) {
    if (file.level < level) break
    reached = file.maxTxid
  }
  return (reached + 1) as Txid
}

function asListed({ level, minTxid, maxTxid, sizeBytes, timestampMs }: ManifestFile): LtxFile {
  return { level, minTxid, maxTxid, sizeBytes, modifiedAtMs: timestampMs ?? 0 }
}

function nameOf({ level, minTxid, maxTxid }: PlannedFile): string {
  return `${level} ${ltxName(minTxid, maxTxid)}`
}
