// Where uploaded files live. Standalone keeps PocketBase's `storage/` tree; in a fleet each file is an object.

import { AppError } from '../../../lib/errors.ts'
import type { UploadedFile } from './uploaded-file.ts'

export interface StoredFile {
  readonly sizeBytes: number
  /** ms since the Unix epoch. */
  readonly modifiedAtMs: number
  readonly contentType: string
  /** `[from, to)`; the whole file without it. The stream must be read or cancelled. */
  stream(range?: { readonly from: number; readonly to: number }): Promise<ReadableStream<Uint8Array>>
}

/** Keys are `{collectionId}/{recordId}/{filename}`, checked by {@link assertFileKey}. */
export interface FileStorage {
  /** Stores a new file. The name is never used twice, so an existing key is an error. */
  put(key: string, file: UploadedFile): Promise<void>
  /** null when there is none. */
  open(key: string): Promise<StoredFile | null>
  /** Deletes one file; a missing one is no error. */
  delete(key: string): Promise<void>
  /** Deletes everything below `prefix`, which ends in `/`. */
  deletePrefix(prefix: string): Promise<void>
  /**
   * Whether a deleted file must stay readable for point-in-time restores: its key is then noted in `_pfDeletedFiles`
   * and removed after retention, instead of at once.
   */
  readonly keepsDeleted: boolean
}

/** A name that could leave its folder. */
export class FileKeyError extends AppError {
  readonly code = 'file_key'
}

/** Three plain parts or more, none of them empty, `.` or `..`, none with a separator or a control character. */
export function assertFileKey(key: string): void {
  const parts = key.replace(/\/$/, '').split('/')
  for (const part of parts) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not reach a file system
    if (part === '' || part === '.' || part === '..' || /[\\\u0000-\u001f]/.test(part) || part.length > 255)
      throw new FileKeyError(`${JSON.stringify(key)} is no file key`)
  }
}
