// Whether what was read a moment ago still holds.

import type { Database } from '../db/database.ts'

/**
 * Another number after each commit to the file, whoever makes it; what was read under one number holds while it is the
 * same. Null inside a transaction, which sees writes that have none yet.
 */
export function contentVersion(data: Database): number | null {
  if (data.inTransaction) return null
  return data.get<{ data_version: number }>('PRAGMA data_version')?.data_version ?? null
}
