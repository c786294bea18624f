// Brings a database file that once was the newest one up to date in place, by the files that came since. What was read and
// half written when a process died is written again the next time, so only the end of it must be noted.

import { existsSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Txid } from '../lib/brand.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { DamagedDatabaseError } from './check-file.ts'
import { type LocalPoint, readLocalState, removeLocalState } from './local-state.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { HistoryLocation, LtxFile } from './ltx-store.ts'
import { PlanRestore, type Restored, type RestoreSettings } from './plan-restore.ts'
import { planRestore } from './restore-plan.ts'
import { readTail } from './seal.ts'

export interface CatchUpOptions extends RestoreSettings {
  /** Not before the local file's TXID. */
  readonly target: Txid
  /** A listing that suffices for a restore. */
  readonly files: readonly LtxFile[]
}

/**
 * Makes the file at `dbPath` the database as of `target`, if it is a state of this history from before and the files that
 * came since are smaller than a restore. No connection to it may be open.
 *
 * @returns null when it is not, or when bringing it up to date failed: then a restore must replace it. The local state is
 *   not written.
 */
export async function catchUpDatabase(
  at: HistoryLocation,
  dbPath: string,
  options: CatchUpOptions,
): Promise<Restored | null> {
  const { files, target, signal } = options
  const point = cleanPoint(dbPath)
  if (point === null || point.txid > target) return null
  const rest = filesBehind(files, point.txid, target)
  // Only a slot names its writer, and so one history out of several that might have reached this TXID.
  const slot = files.find(({ level, maxTxid }) => level === 0 && maxTxid === point.txid)
  if (rest === null || slot === undefined) return null
  try {
    const { header, checksum } = await readTail(at, slot, signal)
    if (checksum !== point.checksum || statSync(dbPath).size !== header.commit * header.pageSize) return null
    if (rest.length === 0)
      return { header, checksum, txid: target, filesCount: 0, bytesRead: 0, isProven: true, checked: 'none' }
    for (const suffix of ['-wal', '-shm']) await rm(dbPath + suffix, { force: true })
    await using restore = await PlanRestore.open(at, rest, { path: dbPath, base: header }, options)
    return await restore.run()
  } catch (error) {
    signal?.throwIfAborted()
    // The local file may have been damaged before, or what was listed is gone: a restore mends both, or says what is wrong.
    const isMendable = [ObjectNotFoundError, LtxFormatError, DamagedDatabaseError].some((each) => error instanceof each)
    if (!isMendable) throw error
    removeLocalState(dbPath)
    return null
  }
}

/** What the local file holds, when nothing is in its WAL. */
export function cleanPoint(dbPath: string): LocalPoint | null {
  const isEmptied = !existsSync(`${dbPath}-wal`) || statSync(`${dbPath}-wal`).size === 0
  if (!isEmptied || !existsSync(dbPath)) return null
  return readLocalState(dbPath)?.findLast(({ mark }) => mark === null || mark.isCheckpointed) ?? null
}

/** In their order; null when they do not lead there, or are no smaller than a restore. */
function filesBehind(files: readonly LtxFile[], from: Txid, target: Txid): readonly LtxFile[] | null {
  const local: LtxFile = { level: 9, minTxid: 1 as Txid, maxTxid: from, sizeBytes: 0, modifiedAtMs: 0 }
  const plan = planRestore([local, ...files.filter((each) => each.maxTxid > from && each.minTxid > 1)], target)
  if (!plan.ok) return null
  const rest = plan.value.files.filter((each) => each !== local)
  const whole = planRestore(files, target)
  return !whole.ok || sizeOf(rest) < sizeOf(whole.value.files) ? rest : null
}

function sizeOf(files: readonly LtxFile[]): number {
  return files.reduce((sum, each) => sum + each.sizeBytes, 0)
}
