// Uploads that no record ever named: their transaction failed, or its node died between upload and commit. Every file that a
// record once named is either named still or noted as deleted (engine/files/deleted-files.ts), within all that retention
// promises; so what is neither, and old, belongs to nobody. It is noted as deleted now, and goes when its time has come:
// until then a mistake of ours can be seen and mended.

import type { TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import type { ListPage, ObjectStore } from '../../lib/object-store/object-store.ts'
import { quoteName } from '../engine/db/sql.ts'
import type { Engine } from '../engine/engine.ts'
import { toTexts } from '../engine/fields/cast.ts'
import { createDeletedFilesTable } from '../engine/files/deleted-files.ts'
import { tenantPrefix } from './manifest.ts'

/** Keys noted in one transaction. */
const noteKeysMax = 500

/**
 * Lists the tenant's files and notes the abandoned ones as deleted.
 *
 * @param olderThanMs age from which an upload counts: far above the longest transaction, and no less than retention.
 * @param isStopped ends it between two pages.
 * @returns how many were noted.
 */
export async function noteAbandonedFiles(
  id: TenantId,
  engine: Engine,
  { store, objectPrefix, clock }: { readonly store: ObjectStore; readonly objectPrefix: string; readonly clock: Clock },
  olderThanMs: number,
  isStopped: () => boolean,
): Promise<number> {
  const prefix = `${tenantPrefix(objectPrefix, id)}/files/`
  const cutoffMs = clock.now() - olderThanMs
  let noted = 0
  let next: string | null = null
  do {
    const page: ListPage = await store.list({ prefix, next })
    const abandoned: string[] = []
    for (const { key, modifiedAtMs } of page.objects) {
      if (modifiedAtMs > cutoffMs) continue
      const file = key.slice(prefix.length)
      // Deeper ones are thumbs, which go with their file.
      if (file.split('/').length === 3 && !isNamed(engine, file)) abandoned.push(file)
    }
    for (let from = 0; from < abandoned.length && !isStopped(); from += noteKeysMax)
      noted += await note(engine, abandoned.slice(from, from + noteKeysMax), clock.now())
    next = page.next
  } while (next !== null && !isStopped())
  return noted
}

/** Whether the record of this key has the file in any of its fields. */
function isNamed(engine: Engine, file: string): boolean {
  const [collectionId, recordId, name] = file.split('/') as [string, string, string]
  const collection = engine.collections.find(collectionId)
  if (collection === undefined || collection.data.id !== collectionId || collection.data.type === 'view') return false
  const fields = collection.fields.filter(({ type }) => type === 'file')
  if (fields.length === 0) return false
  const columns = fields.map((field) => quoteName(field.name)).join(', ')
  const row = engine.data.get(`SELECT ${columns} FROM ${quoteName(collection.data.name)} WHERE id = ?`, [recordId])
  return row !== null && Object.values(row).some((value) => toTexts(value).includes(name))
}

/** Those that are not noted yet; looks again inside the transaction, where nothing can change. */
async function note(engine: Engine, files: readonly string[], nowMs: number): Promise<number> {
  return engine.data.transaction(() => {
    createDeletedFilesTable(engine.data)
    let count = 0
    for (const file of files) {
      if (isNamed(engine, file)) continue
      const { changes } = engine.data.run('INSERT OR IGNORE INTO `_pfDeletedFiles` (key, deletedAtMs) VALUES (?, ?)', [
        file,
        nowMs,
      ])
      count += changes
    }
    return count
  })
}
