// Files that are stored before the transaction whose records will name them. A batch is one transaction: were its files
// uploaded inside, every other writer of the tenant would wait for the store.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { Logger } from '../../../lib/obs/log.ts'
import type { FileStorage } from './storage.ts'
import type { UploadedFile } from './uploaded-file.ts'

/** Uploads under way at once. */
const uploadsAtOnce = 4

export interface EarlyUpload {
  readonly key: string
  readonly file: UploadedFile
}

interface Stored {
  readonly keys: ReadonlyMap<UploadedFile, string>
  readonly used: Set<UploadedFile>
}

const scope = new AsyncLocalStorage<Stored>()

/** Whether this file lies under this key already; whoever asks takes it over. */
export function takeEarlyUpload(file: UploadedFile, key: string): boolean {
  const stored = scope.getStore()
  if (stored?.keys.get(file) !== key) return false
  stored.used.add(file)
  return true
}

/**
 * Stores `uploads`, then runs `body`, in which the records that name them find them stored. `body` calls `keep` as soon as
 * those records are committed. What nobody took over, and everything when nothing was committed, is deleted. Throws what
 * the store throws; then nothing has run.
 */
export async function withEarlyUploads<T>(
  deps: { readonly files: FileStorage; readonly log: Logger },
  uploads: readonly EarlyUpload[],
  body: (keep: () => void) => Promise<T>,
): Promise<T> {
  if (uploads.length === 0) return body(() => {})
  const keys = new Map<UploadedFile, string>()
  const used = new Set<UploadedFile>()
  let isKept = false
  const keep = () => {
    isKept = true
  }
  try {
    for (let from = 0; from < uploads.length; from += uploadsAtOnce)
      await Promise.all(
        uploads.slice(from, from + uploadsAtOnce).map(async ({ key, file }) => {
          keys.set(file, key)
          await deps.files.put(key, file)
        }),
      )
    return await scope.run({ keys, used }, () => body(keep))
  } finally {
    for (const [file, key] of keys) if (!isKept || !used.has(file)) await remove(deps, key)
  }
}

async function remove({ files, log }: { readonly files: FileStorage; readonly log: Logger }, key: string) {
  try {
    await files.delete(key)
  } catch (error) {
    log.warn('file not deleted', { key, error })
  }
}
