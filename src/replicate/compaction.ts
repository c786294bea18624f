// When larger files take the place of many small ones. By count and growth, not by clock: a change that stands alone is not
// written again. Pure; `merge-files.ts` does it. The inputs stay, only retention removes them.
//
//   levels 1 to 3   16 files of the level below, or 1 MB of them at level 1
//   level 9         a whole image, when what lies above the last one is half its size, or it is a week old and not the newest
//
// Together they bound a restore at one and a half times the database and some sixty files.

import type { Txid } from '../lib/brand.ts'
import type { ManifestFile } from './history-manifest.ts'
import { isSeal, levelMax } from './ltx-store.ts'
import { planRestore } from './restore-plan.ts'

/** Files of one level that become one of the next. */
export const mergeFactor = 16
/** The highest level made by counting. */
export const mergedLevelMax = 3
/** Fewer files of level 0 do as well when they are this large together, bytes as stored. */
const mergeBytesMin = 1 << 20
/** Inputs of one merge: it holds a window of each. A longer run goes in several steps. */
export const mergeInputsMax = 256
/** A new image is due when this share of the last one was written since, and no less than so many bytes. */
const imageGrowthShare = 0.5
const imageGrowthBytesMin = 256 << 10
/** A database that changed gets a new image after this long anyway, ms. */
const imageAgeMs = 7 * 24 * 3_600_000

export interface MergeJob {
  readonly level: number
  /** In their order; each starts at or before the end of the one before. */
  readonly inputs: readonly ManifestFile[]
}

/**
 * The next merge that is due, or null.
 *
 * @param files the newest plan: a whole image and what follows it, in order.
 */
export function planMerge(files: readonly ManifestFile[], nowMs: number): MergeJob | null {
  if (isImageDue(files, nowMs)) return { level: levelMax, inputs: files.slice(0, mergeInputsMax) }
  for (let level = 1; level <= mergedLevelMax; level++) {
    const inputs = dueRun(files, level)
    if (inputs !== null) return { level, inputs }
  }
  return null
}

/** TXIDs that the merged file holds. */
export function mergedRange({ inputs }: MergeJob): { readonly minTxid: Txid; readonly maxTxid: Txid } {
  return { minTxid: inputs[0]!.minTxid, maxTxid: inputs[inputs.length - 1]!.maxTxid }
}

/** The plan with one more file of the same history, which may take the place of others. */
export function withFile(files: readonly ManifestFile[], added: ManifestFile): readonly ManifestFile[] {
  const plan = planRestore([...files, added], null)
  return plan.ok ? plan.value.files : files
}

function isImageDue([image, ...later]: readonly ManifestFile[], nowMs: number): boolean {
  const grown = later.reduce((sum, each) => sum + each.sizeBytes, 0)
  if (grown > Math.max(imageGrowthBytesMin, image!.sizeBytes * imageGrowthShare)) return true
  const changes = later.some((each) => !isSeal(each))
  return changes && image!.timestampMs !== null && nowMs - image!.timestampMs > imageAgeMs
}

/** The first run of neighbours below a level that holds enough files of the level right below. */
function dueRun(files: readonly ManifestFile[], level: number): readonly ManifestFile[] | null {
  let run: ManifestFile[] = []
  for (const file of [...files.slice(1), null]) {
    if (file !== null && file.level < level) {
      run.push(file)
      continue
    }
    // Smaller files behind the last one of the right level wait for their own merge.
    while (run.length > 0 && run[run.length - 1]!.level < level - 1) run.pop()
    const bytes = run.reduce((sum, each) => sum + each.sizeBytes, 0)
    const count = run.filter((each) => each.level === level - 1).length
    if (count >= mergeFactor || (level === 1 && count > 1 && bytes >= mergeBytesMin))
      return run.slice(0, mergeInputsMax)
    run = []
  }
  return null
}
