// Whether what was read a moment ago still holds.

import type { Database } from '../db/database.ts'
import { quoteName, type SqlParams } from '../db/sql.ts'
import type { Engine } from '../engine.ts'

/** Characters of a statement with its values that are worth keeping. */
const keyLengthMax = 2_000

/**
 * Another number after each commit to the file, whoever makes it; what was read under one number holds while it is the
 * same. Null inside a transaction, which sees writes that have none yet.
 */
export function contentVersion(data: Database): number | null {
  if (data.inTransaction) return null
  return data.get<{ data_version: number }>('PRAGMA data_version')?.data_version ?? null
}

/**
 * What to keep the answer of a statement under, while the content stays as it is. Null where the content alone does not
 * decide it, and for texts that are too long.
 */
export function statementKey(engine: Engine, sql: string, params: SqlParams): string | null {
  if (sql.length > keyLengthMax || !dependsOnContentAlone(engine, sql)) return null
  // Unambiguous, or another client's values could be taken for these.
  const key = JSON.stringify([sql, ...params], (_, value: unknown) =>
    typeof value === 'bigint' ? { bigint: String(value) } : value,
  )
  return key.length > keyLengthMax ? null : key
}

/** Not what looks at the clock (macros are values, but `strftime` may be given `now`), nor views: they may do anything. */
function dependsOnContentAlone(engine: Engine, sql: string): boolean {
  return !/strftime|random/i.test(sql) && !engine.collections.views().some(({ name }) => sql.includes(quoteName(name)))
}
