// The source of truth of the whole product is an object store. This is all we ask of one.

import { AppError } from '../errors.ts'

/** Lower-case names without the `x-amz-meta-` prefix. `litestream-timestamp` (RFC 3339) is the only one others read. */
export type ObjectMetadata = Readonly<Record<string, string>>

export interface ObjectInfo {
  readonly key: string
  readonly sizeBytes: number
  /** ms since the Unix epoch, as the store says; never used for ordering. */
  readonly modifiedAtMs: number
  readonly etag: string
  /** As the store names it in a listing; missing where it has no classes. */
  readonly storageClass?: string
}

export interface ObjectHead extends ObjectInfo {
  readonly metadata: ObjectMetadata
  /** As it was put; missing or null where the store keeps none. */
  readonly contentType?: string | null
}

export interface PutOptions {
  /** Fail with ObjectExistsError when the key exists. Atomic among any number of writers. */
  readonly createOnly?: boolean
  readonly metadata?: ObjectMetadata
  readonly contentType?: string
  /** As in {@link CopyOptions}. */
  readonly storageClass?: string
  readonly signal?: AbortSignal
}

export interface CopyOptions {
  /** The store's own word, such as `STANDARD_IA`; without it the store's default. Stores without classes ignore it. */
  readonly storageClass?: string
  readonly signal?: AbortSignal
}

export interface ListPage {
  readonly objects: readonly ObjectInfo[]
  /** Common prefixes, when a delimiter was given; each ends with it. */
  readonly prefixes: readonly string[]
  /** Pass it back to go on; null at the end. */
  readonly next: string | null
}

export interface ObjectStore {
  /** `s3` names LTX levels `0000`, `file` names them `ltx/0`, as official Litestream does for each. */
  readonly layout: 's3' | 'file'
  /** For logs and errors: bucket and endpoint or directory, never a secret. */
  readonly description: string
  /** Writes a whole object. The bytes are not kept after the promise settles. */
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ readonly etag: string }>
  /** Streams an object of any size from a file, without holding it in memory (multipart where the store has it). */
  putFile(key: string, path: string, options?: PutOptions): Promise<{ readonly etag: string }>
  /**
   * Copies an object with its metadata, without its bytes passing here; at most 5 GiB. Onto itself it changes the storage
   * class alone. Throws ObjectNotFoundError.
   */
  copy(from: string, to: string, options?: CopyOptions): Promise<void>
  /** The object or a part of it, `[from, to)`; throws ObjectNotFoundError. */
  get(
    key: string,
    options?: { readonly range?: { readonly from: number; readonly to: number }; readonly signal?: AbortSignal },
  ): Promise<Uint8Array>
  /** The same as a stream, for files of any size. */
  getStream(
    key: string,
    options?: { readonly range?: { readonly from: number; readonly to: number }; readonly signal?: AbortSignal },
  ): Promise<{ readonly info: ObjectInfo; readonly body: ReadableStream<Uint8Array> }>
  /** null when there is no such object. */
  head(key: string, options?: { readonly signal?: AbortSignal }): Promise<ObjectHead | null>
  /** In key order (UTF-8 bytes), at most 1,000 a page. */
  list(options: {
    readonly prefix: string
    readonly delimiter?: '/'
    readonly after?: string
    readonly next?: string | null
    readonly signal?: AbortSignal
  }): Promise<ListPage>
  /** Deletes up to 1,000 keys; missing ones are no error. */
  delete(keys: readonly string[], options?: { readonly signal?: AbortSignal }): Promise<void>
  /**
   * Ends uploads below a prefix that were begun before a time and never finished: what they hold is stored and no listing
   * shows it. At most {@link uploadsEndedMax} a call.
   *
   * @returns how many. MinIO lists only those of a prefix that is a whole key, and ends all of a day by itself.
   */
  endUploads(options: {
    readonly prefix: string
    readonly beforeMs: number
    readonly signal?: AbortSignal
  }): Promise<number>
  close(): Promise<void>
}

/** Uploads that one call ends; each is a request. */
export const uploadsEndedMax = 1_000

/** A create-only write met an object that is already there. It may be our own, after a lost reply. */
export class ObjectExistsError extends AppError {
  readonly code = 'object_exists'
  readonly key: string
  constructor(key: string, options?: ErrorOptions) {
    super(`object ${key} exists already`, options)
    this.key = key
  }
}

export class ObjectNotFoundError extends AppError {
  readonly code = 'object_not_found'
  readonly key: string
  constructor(key: string, options?: ErrorOptions) {
    super(`object ${key} does not exist`, options)
    this.key = key
  }
}

/** The store could not be reached, refused us, or failed. `retryable` says whether the same call may work later. */
export class ObjectStoreError extends AppError {
  readonly code = 'object_store'
  readonly retryable: boolean
  /** HTTP status, or null when no answer came. */
  readonly status: number | null
  constructor(
    message: string,
    facts: { readonly retryable: boolean; readonly status: number | null },
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.retryable = facts.retryable
    this.status = facts.status
  }
}
