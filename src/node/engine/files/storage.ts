// Where uploaded files live. Standalone keeps PocketBase's `storage/` tree; in a fleet each file is an object.

import { AppError } from '../../../lib/errors.ts'
import type { UploadedFile } from './uploaded-file.ts'

/** Characters of a client's name that are kept beside the file. */
export const originalNameMax = 255

/** Bytes `[from, to)` of a file. */
export interface ByteRange {
  readonly from: number
  readonly to: number
}

export interface StoredFile {
  readonly sizeBytes: number
  /** ms since the Unix epoch. */
  readonly modifiedAtMs: number
  readonly contentType: string
  /** A part of the file, or all of it. A Blob is a file on this disk; a stream must be read or cancelled. */
  body(range?: ByteRange): Promise<Blob | ReadableStream<Uint8Array>>
}

export interface FilePage {
  readonly files: readonly { readonly key: string; readonly sizeBytes: number }[]
  /** Pass it back to go on; null at the end. */
  readonly next: string | null
}

/** Keys are `{collectionId}/{recordId}/{filename}`, checked by {@link assertFileKey}. */
export interface FileStorage {
  /** Stores a new file. The name is never used twice, so an existing key is an error. */
  put(key: string, file: UploadedFile): Promise<void>
  /** null when there is none. */
  open(key: string): Promise<StoredFile | null>
  /** All of a file, past every cache: for backups. The stream must be read or cancelled. null when there is none. */
  stream(key: string): Promise<{ readonly sizeBytes: number; readonly body: ReadableStream<Uint8Array> } | null>
  /** Files in the order of their keys, thumbs included; only where the store can list at little cost. */
  list?(next: string | null): Promise<FilePage>
  /** Deletes one file and its thumbs; a missing one is no error. */
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

/** Plain parts only: none empty, `.` or `..`, none with a separator or a control character. */
export function assertFileKey(key: string): void {
  const parts = key.replace(/\/$/, '').split('/')
  for (const part of parts) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not reach a file system
    if (part === '' || part === '.' || part === '..' || /[\\\u0000-\u001f]/.test(part) || part.length > 255)
      throw new FileKeyError(`${JSON.stringify(key)} is no file key`)
  }
}

/** Where the thumbs of a file are; ends in `/`. */
export function thumbsPrefix(key: string): string {
  const nameAt = key.lastIndexOf('/') + 1
  return `${key.slice(0, nameAt)}thumbs_${key.slice(nameAt)}/`
}
