// Rebuilds a database file from its history. Of each page only the newest content is written, so the result is byte for
// byte the checkpointed file of the source at that TXID. It gets its name once it is complete, synced and checked.

import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { DamagedDatabaseError } from './check-file.ts'
import { DamagedFileError, LtxGapError, NeverShippedError } from './errors.ts'
import { type HistoryLocation, type LtxFile, listLtx, ltxKey } from './ltx-store.ts'
import { PlanRestore, type Restored, type RestoreSettings } from './plan-restore.ts'
import { planRestore, type RestorePlan } from './restore-plan.ts'

/** Retention may remove what was listed; then the listing is read again. */
const attemptsMax = 3
/** Damaged files that one restore goes around: each costs another one, and more of them are a case for a person. */
const damagedMax = 8

export interface RestoreOptions extends RestoreSettings {
  /** Last TXID, inclusive; null for the newest. */
  readonly target: Txid | null
  /** A listing that suffices, when the caller has it. */
  readonly files?: readonly LtxFile[]
  /** Some of `files` are known by a manifest alone: when one is gone or not as it says, the history is listed. */
  readonly isNoted?: boolean
  /** Told of a listing that took the place of `files`. */
  readonly onListed?: (files: readonly LtxFile[]) => void
  /**
   * Told of a merged file that is damaged: the restore then begins again with other files of the same TXIDs, if there are
   * any. Without it the damage is the outcome, as it always is where a slot is damaged. Where SQLite finds damage that no
   * checksum covered, all files are read whole, so that theirs tell.
   */
  readonly onDamaged?: (error: DamagedFileError) => void
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
 * @throws NeverShippedError, LtxGapError; DamagedFileError with key and offset; DamagedDatabaseError when the check fails;
 *   ObjectStoreError; the reason of the signal.
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
  const { onDamaged, onListed } = options
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  const damaged: DamagedFileError[] = []
  let { target, files, isNoted = false } = options
  let settings: RestoreSettings = options
  for (let attempt = 1; ; ) {
    options.signal?.throwIfAborted()
    if (files === undefined) {
      files = await listLtx(at, signal)
      onListed?.(files)
    }
    const plan = planAround(at, files, target, damaged)
    await rm(path, { force: true })
    try {
      await using restore = await PlanRestore.open(at, plan.files, { path, base: null }, settings)
      return await restore.run()
    } catch (error) {
      await rm(path, { force: true })
      files = undefined // what was listed is gone, or leaves out what the damaged file stood for
      if (isNoted && isAboutFiles(error)) {
        isNoted = false // perhaps the manifest is wrong, and no file
        target = plan.txid
      } else if (
        error instanceof DamagedFileError &&
        error.file.level > 0 &&
        onDamaged &&
        damaged.length < damagedMax
      ) {
        damaged.push(error)
        target = plan.txid // around it, but not a state of before
        onDamaged(error)
      } else if (error instanceof DamagedDatabaseError && onDamaged && !settings.readsWhole) {
        settings = { ...options, readsWhole: true, check: options.check ?? 'quick' }
      } else if (!(error instanceof ObjectNotFoundError) || attempt++ === attemptsMax) throw error
    }
  }
}

function isAboutFiles(error: unknown): boolean {
  return [ObjectNotFoundError, DamagedFileError, DamagedDatabaseError].some((each) => error instanceof each)
}

/** A plan without the files that turned out to be damaged; throws the newest of their errors when there is none. */
function planAround(
  at: HistoryLocation,
  files: readonly LtxFile[],
  target: Txid | null,
  damaged: readonly DamagedFileError[],
): RestorePlan {
  const last = damaged.at(-1)
  if (last === undefined) return planOrThrow(at, files, target)
  const keys = new Set(damaged.map(({ file }) => ltxKey(at, file)))
  const plan = planRestore(
    files.filter((file) => !keys.has(ltxKey(at, file))),
    target,
  )
  if (!plan.ok) throw last
  return plan.value
}
