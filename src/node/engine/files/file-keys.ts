// Every file that the records of a database name.

import { setImmediate } from 'node:timers/promises'
import type { Collection } from '../collections/collection.ts'
import type { Database } from '../db/database.ts'
import { quoteName } from '../db/sql.ts'
import { fileItems, itemName } from '../fields/file.ts'
import { assertFileKey } from './storage.ts'

/** Rows read at a time; between two pages others get their turn. */
const pageRows = 1_000

/**
 * Keys (`{collectionId}/{recordId}/{filename}`) of all files of records, in pages. Names that are no file names are left
 * out: a database from elsewhere may hold anything.
 */
export async function* storedFileKeys(
  database: Database,
  collections: readonly Collection[],
): AsyncGenerator<readonly string[]> {
  for (const collection of collections) {
    if (collection.isView) continue
    const fields = collection.fields.filter((field) => field.type === 'file').map((field) => quoteName(field.name))
    if (fields.length === 0) continue
    const table = quoteName(collection.name)
    for (let after = 0; ; ) {
      const rows = database.values(
        `SELECT rowid, id, ${fields.join(', ')} FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT ?`,
        [after, pageRows],
      )
      if (rows.length === 0) break
      after = Number(rows.at(-1)![0])
      yield rows.flatMap(([, id, ...values]) =>
        values.flatMap((value) =>
          fileItems(value ?? '')
            .map((item) => `${collection.id}/${id}/${itemName(item)}`)
            .filter(isFileKey),
        ),
      )
      await setImmediate()
    }
  }
}

function isFileKey(key: string): boolean {
  try {
    assertFileKey(key)
    return true
  } catch {
    return false // FileKeyError: it names nothing that could be stored
  }
}
