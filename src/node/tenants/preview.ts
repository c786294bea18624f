// What going back in time would change, collection by collection. Both states are rebuilt beside the live database and
// compared by id and content; the tenant goes on meanwhile.

import { Database as Sqlite } from 'bun:sqlite'
import { join } from 'node:path'
import type { CollectionChange, Cut, PreviewReport } from '../../ipc/messages/jobs.ts'
import { restoreDatabase } from '../../replicate/restore.ts'
import { quoteName } from '../engine/db/sql.ts'
import { type StoredCollection, storedCollections } from '../engine/files/file-references.ts'
import { locate, resolveCut, type TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import type { DatabaseName } from './tenant-files.ts'

interface Counts {
  readonly added: number
  readonly changed: number
  readonly removed: number
}

/** Rebuilds the states of now and of `cut`, and compares them. */
export async function previewRestore(
  histories: TenantHistories,
  cut: Cut,
  context: JobContext,
): Promise<PreviewReport> {
  const now = await resolveCut(histories, { type: 'latest' }, context.clock, context.signal)
  const rebuild = async (name: DatabaseName, moment: Cut, as: string): Promise<string> => {
    const path = join(context.scratchDir, as)
    const target = name === 'data.db' ? moment.data : moment.hooks
    await restoreDatabase(locate(histories, name), path, { target, signal: context.signal })
    return path
  }
  context.report({ step: 'rebuilding both states', done: 0, total: 4 })
  const dataThen = await rebuild('data.db', cut, 'then.db')
  const dataNow = await rebuild('data.db', now, 'now.db')
  const hooksThen = await rebuild('hooks.db', cut, 'hooks-then.db')
  const hooksNow = await rebuild('hooks.db', now, 'hooks-now.db')
  context.report({ step: 'comparing', done: 4, total: 4 })
  const { collections, isSettingsChanged } = compareData(dataThen, dataNow)
  const hooks = withBoth(hooksThen, hooksNow, (both) => compareTables(both, 'hooks', 'hooks').counts)
  return { cut, collections, isSettingsChanged, hooks }
}

/** Exported for its tests. */
export function compareData(
  thenPath: string,
  nowPath: string,
): Pick<PreviewReport, 'collections' | 'isSettingsChanged'> {
  return withBoth(thenPath, nowPath, (both) => {
    const then = new Map(storedCollections(both, 'main').map((each) => [each.id, each]))
    const now = new Map(storedCollections(both, 'now').map((each) => [each.id, each]))
    const changes: CollectionChange[] = []
    for (const id of new Set([...then.keys(), ...now.keys()])) {
      const change = compareCollection(both, then.get(id), now.get(id))
      if (change !== null) changes.push(change)
    }
    changes.sort((a, b) => (a.name < b.name ? -1 : 1))
    const { counts } = compareTables(both, '_params', '_params')
    return { collections: changes, isSettingsChanged: counts.added + counts.changed + counts.removed > 0 }
  })
}

/** `main` is then, `now` is now. */
function withBoth<T>(thenPath: string, nowPath: string, body: (both: Sqlite) => T): T {
  const both = new Sqlite(thenPath, { readwrite: true })
  try {
    both.run('ATTACH DATABASE ? AS now', [nowPath])
    return body(both)
  } finally {
    both.close()
  }
}

function compareCollection(
  both: Sqlite,
  then: StoredCollection | undefined,
  now: StoredCollection | undefined,
): CollectionChange | null {
  const { id, name, type } = (now ?? then)!
  const fate = then === undefined ? 'removed' : now === undefined ? 'restored' : 'kept'
  const hasTable = (collection: StoredCollection | undefined) => collection !== undefined && collection.type !== 'view'
  const isSchemaChanged = fate === 'kept' && !isSameRow(both, id)
  if (type === 'view' || !hasTable(then) || !hasTable(now)) {
    const added = hasTable(then) ? countOf(both, 'main', then!.name) : 0
    const removed = hasTable(now) ? countOf(both, 'now', now!.name) : 0
    return fate === 'kept' && !isSchemaChanged ? null : { id, name, fate, isSchemaChanged, added, changed: 0, removed }
  }
  const { counts } = compareTables(both, then!.name, now!.name)
  const isChanged = isSchemaChanged || counts.added + counts.changed + counts.removed > 0
  return isChanged ? { id, name, fate, isSchemaChanged, ...counts } : null
}

/** By id, and by content in the columns that both have. */
function compareTables(both: Sqlite, thenName: string, nowName: string): { readonly counts: Counts } {
  const [a, b] = [`main.${quoteName(thenName)}`, `now.${quoteName(nowName)}`]
  const columns = columnsOf(both, 'main', thenName).filter((name) => columnsOf(both, 'now', nowName).includes(name))
  const differs = columns.map((name) => `a.${quoteName(name)} IS NOT b.${quoteName(name)}`).join(' OR ')
  return {
    counts: {
      added: one(both, `SELECT count(*) AS n FROM ${a} a WHERE NOT EXISTS (SELECT 1 FROM ${b} b WHERE b.id = a.id)`),
      removed: one(both, `SELECT count(*) AS n FROM ${b} b WHERE NOT EXISTS (SELECT 1 FROM ${a} a WHERE a.id = b.id)`),
      changed: one(both, `SELECT count(*) AS n FROM ${a} a JOIN ${b} b ON b.id = a.id WHERE ${differs}`),
    },
  }
}

function isSameRow(both: Sqlite, id: string): boolean {
  const columns = 'name, type, fields, indexes, listRule, viewRule, createRule, updateRule, deleteRule, options'
  const row = (schema: string) => both.query(`SELECT ${columns} FROM ${schema}._collections WHERE id = ?`).values(id)
  return Bun.deepEquals(row('main'), row('now'))
}

function columnsOf(both: Sqlite, schema: string, table: string): string[] {
  const rows = both
    .query<{ name: string }, [string, string]>('SELECT name FROM pragma_table_info(?, ?)')
    .all(table, schema)
  return rows.map(({ name }) => name)
}

function countOf(both: Sqlite, schema: string, table: string): number {
  return one(both, `SELECT count(*) AS n FROM ${schema}.${quoteName(table)}`)
}

function one(both: Sqlite, sql: string): number {
  const statement = both.prepare<{ n: number }, []>(sql)
  try {
    return statement.get()!.n
  } finally {
    statement.finalize()
  }
}
