// Proves that a history can be restored: it is, with every checksum compared, SQLite's full check, and a second time from
// other files (the slots that the merges and images were made of), which must give the same bytes.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import { freeBytes } from '../lib/free-bytes.ts'
import { checksumText, type ManifestFile } from './history-manifest.ts'
import { type HistoryLocation, type LtxFile, listLtx, ltxKey } from './ltx-store.ts'
import type { RestoreProgress } from './plan-restore.ts'
import { planOrThrow, restoreDatabase } from './restore.ts'
import { planRestore } from './restore-plan.ts'
import { readTail } from './seal.ts'

/** What must stay free on the disk beside both restored files, bytes. */
const diskReserveBytes = 512 << 20

/** The history cannot be trusted: it restores to something that contradicts what its owner noted, or itself. */
export class DrillFailedError extends AppError {
  readonly code = 'drill_failed'
}

/** There is not enough disk here; another node may have it. */
export class DrillSpaceError extends AppError {
  readonly code = 'drill_space'
}

export interface DrillResult {
  readonly txid: Txid
  /** Of the database. */
  readonly sizeBytes: number
  readonly filesCount: number
  readonly bytesRead: number
  /** Of the first restore, the one that a failover would do. */
  readonly restoreMs: number
  /** Files whose checksum was the one that the owner had noted. */
  readonly notedCount: number
  /** Files of the second restore; null when there is no second way. */
  readonly otherFilesCount: number | null
}

/**
 * Restores the newest state into `dir` and removes it again.
 *
 * @param noted files as the owner's manifest describes them; those that the plan has too must have the same checksum.
 * @throws DrillFailedError, DrillSpaceError; whatever a restore throws, which then is the finding.
 */
export async function drillHistory(
  at: HistoryLocation,
  dir: string,
  options: {
    readonly noted: readonly ManifestFile[]
    readonly clock: Clock
    readonly onProgress?: (progress: RestoreProgress) => void
    readonly signal: AbortSignal
  },
): Promise<DrillResult> {
  const { noted, clock, signal, onProgress } = options
  const files = await listLtx(at, { signal })
  const plan = planOrThrow(at, files, null)
  const { header } = await readTail(at, plan.files[plan.files.length - 1]!, signal)
  await checkSpace(dir, 2 * header.commit * header.pageSize)
  const checksums = new Map(noted.map((file) => [ltxKey(at, file), file.checksum]))
  let notedCount = 0
  const compare = (file: LtxFile, checksum: bigint) => {
    const key = ltxKey(at, file)
    const expected = checksums.get(key) ?? null
    if (expected === null) return
    if (expected !== checksumText(checksum))
      throw new DrillFailedError(`${key} has checksum ${checksumText(checksum)}; its owner noted ${expected}`)
    notedCount++
  }
  const [first, second] = [join(dir, 'first.db'), join(dir, 'second.db')]
  const settings = { readsWhole: true, onFile: compare, signal, ...(onProgress && { onProgress }) }
  try {
    const startedAtMs = clock.monotonic()
    const restored = await restoreDatabase(at, first, { target: plan.txid, files, check: 'full', ...settings })
    const restoreMs = clock.monotonic() - startedAtMs
    const others = otherFiles(files, plan.files)
    const other = planRestore(others, plan.txid)
    let bytesRead = restored.bytesRead
    if (other.ok) {
      const again = await restoreDatabase(at, second, { target: plan.txid, files: others, check: 'none', ...settings })
      bytesRead += again.bytesRead
      if ((await hashOf(first)) !== (await hashOf(second)))
        throw new DrillFailedError(
          `${at.prefix} at TXID ${plan.txid} is another database when restored from other files`,
        )
    }
    return {
      txid: plan.txid,
      sizeBytes: header.commit * header.pageSize,
      filesCount: restored.filesCount,
      bytesRead,
      restoreMs,
      notedCount,
      otherFilesCount: other.ok ? other.value.files.length : null,
    }
  } finally {
    for (const path of [first, second]) await rm(path, { force: true })
  }
}

/** All but the merges and images of a plan. When there are none, there is no second way. */
function otherFiles(files: readonly LtxFile[], planned: readonly LtxFile[]): LtxFile[] {
  const merged = new Set(planned.filter(({ level }) => level > 0))
  return merged.size === 0 ? [] : files.filter((file) => !merged.has(file))
}

async function checkSpace(dir: string, neededBytes: number): Promise<void> {
  const free = await freeBytes(dir)
  if (free < neededBytes + diskReserveBytes)
    throw new DrillSpaceError(`${dir} has ${free} bytes free; a drill here needs ${neededBytes} and a reserve`)
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece)
  return hash.digest('hex')
}
