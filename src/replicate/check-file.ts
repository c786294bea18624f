// SQLite's own check of a database file that nobody has open.

import { constants, Database } from 'bun:sqlite'
import { AppError } from '../lib/errors.ts'

/** `quick` finds broken pages and trees, `full` also indexes that disagree with their tables; both read everything. */
export type FileCheck = 'quick' | 'full'

/** SQLite says that the file is damaged, although all that was read fitted. */
export class DamagedDatabaseError extends AppError {
  readonly code = 'damaged_database'
}

/**
 * Runs the check and throws DamagedDatabaseError with its first finding. Takes a second a gigabyte and more, during which
 * the calling thread does nothing else. Leaves no file behind and takes no lock, so nobody may write meanwhile.
 */
export function checkFile(path: string, check: FileCheck): void {
  const uri = `file:${path.split('/').map(encodeURIComponent).join('/')}?immutable=1`
  let finding: string
  try {
    const db = new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI)
    try {
      finding = String(db.query(`PRAGMA ${check === 'quick' ? 'quick_check' : 'integrity_check'}(1)`).values()[0]?.[0])
    } finally {
      db.close()
    }
  } catch (error) {
    throw new DamagedDatabaseError(`SQLite cannot read ${path}`, { cause: error })
  }
  if (finding !== 'ok') throw new DamagedDatabaseError(`${path} is damaged: ${finding}`)
}
