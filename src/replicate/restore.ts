// Rebuilds a database file from its history. Of each page only the newest content is written, so the result is byte for
// byte the checkpointed file of the source at that TXID. It gets its name once it is complete, synced and checked.

import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { LtxGapError, NeverShippedError } from './errors.ts'
import { type HistoryLocation, type LtxFile, listLtx } from './ltx-store.ts'
import { PlanRestore, type Restored, type RestoreSettings } from './plan-restore.ts'
import { planRestore, type RestorePlan } from './restore-plan.ts'

/** Retention may remove what was listed; then the listing is read again. */
const attemptsMax = 3

export interface RestoreOptions extends RestoreSettings {
  /** Last TXID, inclusive; null for the newest. */
  readonly target: Txid | null
  /** A listing that suffices, when the caller has it (from a manifest, for example). */
  readonly files?: readonly LtxFile[]
}

/** Plans from a listing; throws NeverShippedError or LtxGapError. */
export function planOrThrow(at: HistoryLocation, files: readonly LtxFile[], target: Txid | null): RestorePlan {
  const plan = planRestore(files, target)
  if (plan.ok) return plan.value
  if (plan.error.type === 'never_shipped') throw new NeverShippedError(at.prefix)
  throw new LtxGapError(plan.error.expected, plan.error.found)
}

/**
 * Replaces the file at `dbPath` by the database as of `target`. No connection to it may be open. A stale `-wal` or
 * `-shm` beside it is removed before the new file gets its name; on failure the old files stay.
 *
 * @throws NeverShippedError, LtxGapError; LtxFormatError with key and offset for a damaged file; DamagedDatabaseError when
 *   the check fails; ObjectStoreError; the reason of the signal.
 */
export async function restoreDatabase(at: HistoryLocation, dbPath: string, options: RestoreOptions): Promise<Restored> {
  const temporary = `${dbPath}.restoring`
  const restored = await restoreBeside(at, temporary, options)
  // The old WAL must be gone first: SQLite would replay it into the new file.
  for (const suffix of ['-wal', '-shm']) await rm(dbPath + suffix, { force: true })
  await rename(temporary, dbPath)
  const folder = await open(dirname(dbPath), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return restored
}

/** Leaves the finished, synced file at `path`, or nothing. */
async function restoreBeside(at: HistoryLocation, path: string, options: RestoreOptions): Promise<Restored> {
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  for (let attempt = 1; ; attempt++) {
    options.signal?.throwIfAborted()
    const files = attempt === 1 ? options.files : undefined
    const plan = planOrThrow(at, files ?? (await listLtx(at, signal)), options.target)
    await rm(path, { force: true })
    try {
      await using restore = await PlanRestore.open(at, plan.files, { path, base: null }, options)
      return await restore.run()
    } catch (error) {
      await rm(path, { force: true })
      if (!(error instanceof ObjectNotFoundError) || attempt === attemptsMax) throw error
    }
  }
}
