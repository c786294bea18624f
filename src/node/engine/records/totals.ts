// How many records a list has in all, remembered until something is written. Counting is most of what a page of a large
// collection costs, and page after page, client after client, asks for the same number.

import { LruMap } from '../../../lib/lru.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { SqlParams } from '../db/sql.ts'
import type { Engine } from '../engine.ts'
import { contentVersion, statementKey } from './content-version.ts'

/** Numbers kept per tenant. */
const totalsMax = 64

interface Total {
  readonly version: number
  readonly count: number
}

const kept = new WeakMap<Engine, LruMap<string, Total>>()

/** The one number that `sql` gives, as `n`. */
export function total(engine: Engine, sql: string, params: SqlParams): MaybePromise<number> {
  const version = contentVersion(engine.data)
  const key = version === null ? null : statementKey(engine, sql, params)
  if (version === null || key === null) return count(engine, sql, params)
  let totals = kept.get(engine)
  if (totals === undefined) kept.set(engine, (totals = new LruMap(totalsMax)))
  const known = totals.get(key)
  if (known?.version === version) return known.count
  const keep = (found: number) => {
    // What was committed while it was counted makes another version: then nobody will find this one.
    totals.set(key, { version, count: found })
    return found
  }
  const counted = count(engine, sql, params)
  return counted instanceof Promise ? counted.then(keep) : keep(counted)
}

function count(engine: Engine, sql: string, params: SqlParams): MaybePromise<number> {
  const rows = engine.data.read<{ n: number }>(sql, params)
  return rows instanceof Promise ? rows.then((found) => found[0]?.n ?? 0) : (rows[0]?.n ?? 0)
}
