// Deletes the local files of tenants that rest for long: everything in them is in the object store.

import type { Cancel, Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { TenantPool } from './pool.ts'
import type { TenantFiles } from './tenant-files.ts'

/** One look at all folders per this share of the time that they may rest. */
const looksPerPeriod = 6
const lookMsMin = 1_000
/** A copy for another node's tenant stays this much longer: its owner may rest, or may have another node by now, ms. */
const warmMsMax = 7 * 86_400_000

/** One timer for the whole worker. The result stops it. */
export function startEvictor(deps: {
  readonly pool: Pick<TenantPool, 'whileClosed'>
  readonly files: TenantFiles
  readonly clock: Clock
  readonly log: Logger
  readonly evictMs: number
  /** Called after each look: folders may be gone, by this worker's hand or another's. */
  readonly onLooked: () => Promise<void>
}): () => void {
  const { pool, files, clock, log, evictMs, onLooked } = deps
  let cancel: Cancel = () => {}
  let isStopped = false
  const look = async () => {
    try {
      await evictResting(pool, files, clock.now() - evictMs, log)
      await onLooked()
    } catch (error) {
      log.warn('resting tenants could not be evicted', { error })
    }
    if (!isStopped) again()
  }
  const again = () => {
    cancel = clock.setTimer(Math.max(lookMsMin, evictMs / looksPerPeriod), () => void look())
  }
  again()
  return () => {
    isStopped = true
    cancel()
  }
}

/** Removes clean folders last touched before `cutoffMs`; @returns how many. */
export async function evictResting(
  pool: Pick<TenantPool, 'whileClosed'>,
  files: TenantFiles,
  cutoffMs: number,
  log: Logger,
): Promise<number> {
  let count = 0
  for (const { id, isClean, touchedAtMs, warmAtMs } of await files.list()) {
    if (!isClean || touchedAtMs > cutoffMs || (warmAtMs ?? 0) > cutoffMs - warmMsMax) continue
    const removed = await pool.whileClosed(id, async () => {
      using lock = files.tryLock(id)
      // Another worker opens it, or it was opened and killed meanwhile.
      if (lock === null || !files.isClean(id)) return false
      await files.remove(id)
      return true
    })
    if (removed) count++
  }
  if (count > 0) log.info('resting tenants evicted', { count })
  return count
}
