// In a fleet a deleted file stays an object until no restore point can want it back. Its key is noted with the change
// that deleted it (records/record-store.ts); this removes what retention has released.

import type { Database } from '../db/database.ts'
import type { FileStorage } from './storage.ts'

/** Where deleted files are noted; made with the first of them. Inside a transaction. */
export function createDeletedFilesTable(data: Database): void {
  data.exec(
    'CREATE TABLE IF NOT EXISTS `_pfDeletedFiles` (key TEXT PRIMARY KEY NOT NULL, deletedAtMs INTEGER NOT NULL)',
  )
}

/** Files removed by one call; the caller comes back for more. */
const sweepFilesMax = 500

/**
 * Deletes the objects of files that were deleted at or before `cutoffMs`, then forgets them.
 *
 * Objects go first: a crash between the two only repeats deletes, which are no error. `isStopped` ends it between two.
 * @returns how many went; fewer than the maximum of one call means that none is left.
 */
export async function sweepDeletedFiles(
  data: Database,
  files: FileStorage,
  cutoffMs: number,
  isStopped: () => boolean = () => false,
): Promise<{ readonly deleted: number; readonly isDone: boolean }> {
  const hasTable = data.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_pfDeletedFiles'") !== null
  if (!hasTable) return { deleted: 0, isDone: true }
  const rows = data.all<{ key: string }>(
    'SELECT key FROM `_pfDeletedFiles` WHERE deletedAtMs <= ? ORDER BY deletedAtMs LIMIT ?',
    [cutoffMs, sweepFilesMax],
  )
  let deleted = 0
  for (; deleted < rows.length && !isStopped(); deleted++) await files.delete(rows[deleted]!.key)
  if (deleted > 0)
    await data.transaction(() => {
      for (const { key } of rows.slice(0, deleted)) data.run('DELETE FROM `_pfDeletedFiles` WHERE key = ?', [key])
    })
  return { deleted, isDone: deleted < sweepFilesMax }
}
