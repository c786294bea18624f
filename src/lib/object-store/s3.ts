// S3 and what speaks like it, through the AWS client. Attempts, deadlines and jitter are ours: the client's own retry
// would hide a lost reply, and a create-only write must know that its "exists already" may mean itself.

import type { lookup } from 'node:dns'
import { open, stat } from 'node:fs/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import type { Cancel, Clock } from '../clock.ts'
import { AppError, errorCode, TimeoutError } from '../errors.ts'
import { type RetryPolicy, retry } from '../retry.ts'
import type { Rng } from '../rng.ts'
import { assertObjectKey, listEntriesMax } from './key.ts'
import {
  type CopyOptions,
  type ListPage,
  ObjectExistsError,
  type ObjectInfo,
  ObjectNotFoundError,
  type ObjectStore,
  ObjectStoreError,
  type PutOptions,
  uploadsEndedMax,
} from './object-store.ts'

export interface S3StoreConfig {
  readonly kind: 's3'
  /** null: AWS of the region. */
  readonly endpoint: string | null
  readonly region: string
  readonly bucket: string
  /** Put before every key, with a slash between; may be empty. */
  readonly prefix: string
  /** null: what the environment of the process grants (instance role, profile). */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null
  /** Bucket in the path (default with an endpoint) or in the host name. */
  readonly forcePathStyle?: boolean
  /** Send and expect checksums only where S3 demands them: some stores that speak S3 know no others. */
  readonly checksumsOnlyWhenRequired?: boolean
}

/** Where connections may go; for stores whose address somebody else chose. */
export interface S3Network {
  /** As `dns.lookup`; fails with an AppError for names that may not be reached. */
  readonly lookup: typeof lookup
  /** Throws an AppError for a host that is an address which may not be reached: it is never looked up. */
  readonly checkHost: (host: string) => void
}

const policy: RetryPolicy = { attemptsMax: 4, baseDelayMs: 100, delayMsMax: 2_000 }
/** For connection, request and first byte of one attempt, ms. */
const attemptMs = 20_000
/** Slowest transfer that is not taken for a hanging one, bytes per ms: 256 KB/s. */
const bytesPerMs = 256
/** For a body of which the answer does not say the size: 15 minutes. */
const wholeGetMs = 900_000
/** A copy of 5 GiB inside the store. */
const copyMs = 300_000
/** Up to here the memory for an answer is taken at once, by the length it claims; of a larger one, as its bytes come. */
const ownBodyBytesMax = 64 << 20
/** Larger files go up in parts. */
const singlePutBytesMax = 8 << 20
/** S3 allows 10,000 parts. */
const partsMax = 10_000
/** Parts in flight, each held in memory. */
const partsInFlight = 4
/** Connections to one store whose address somebody else chose. */
const foreignSocketsMax = 16

type GetOptions = {
  readonly range?: { readonly from: number; readonly to: number }
  readonly signal?: AbortSignal
}

/** A client over one bucket; no request is made. */
export function openS3ObjectStore(
  config: S3StoreConfig,
  deps: { readonly clock: Clock; readonly rng: Rng; readonly network?: S3Network },
): ObjectStore {
  const { network } = deps
  const client = new S3Client({
    region: config.region,
    ...(config.endpoint === null ? {} : { endpoint: config.endpoint, forcePathStyle: config.forcePathStyle ?? true }),
    ...(config.credentials === null ? {} : { credentials: { ...config.credentials } }),
    ...(config.checksumsOnlyWhenRequired && {
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    }),
    ...(network !== undefined && { requestHandler: agentsOf(network) }),
    maxAttempts: 1,
  })
  if (network !== undefined) checkHosts(client, network)
  return new S3ObjectStore(client, config, deps)
}

/** All bytes of an answer; what came, where the answer ends before its length. */
async function bodyOf({ Body, ContentLength }: GetObjectCommandOutput): Promise<Uint8Array> {
  if (Body === undefined) return new Uint8Array(0)
  if (ContentLength === undefined || ContentLength > ownBodyBytesMax || !(Symbol.asyncIterator in Body))
    return Body.transformToByteArray()
  const bytes = new Uint8Array(ContentLength)
  let at = 0
  for await (const piece of Body as AsyncIterable<Uint8Array>) {
    if (at + piece.length > bytes.length)
      throw new ObjectStoreError(`an answer of more than its ${ContentLength} bytes`, { retryable: true, status: null })
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes.subarray(0, at)
}

/** Every connection of these agents goes through the network's look-up, so a kept one has been checked too. */
function agentsOf({ lookup }: S3Network): { readonly httpAgent: HttpAgent; readonly httpsAgent: HttpsAgent } {
  const options = { keepAlive: true, maxSockets: foreignSocketsMax, lookup }
  return { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) }
}

/** The host is checked as it is sent: it is the endpoint's, or the bucket's name put before that. */
function checkHosts(client: S3Client, network: S3Network): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const { request } = args
      if (typeof request === 'object' && request !== null && 'hostname' in request)
        network.checkHost(String(request.hostname).replace(/^\[|\]$/g, ''))
      return next(args)
    },
    { step: 'finalizeRequest', name: 'checkHost', priority: 'low' },
  )
}

class S3ObjectStore implements ObjectStore {
  readonly layout = 's3'
  readonly description: string
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string
  readonly #partChecksum: { readonly ChecksumAlgorithm?: 'CRC32' }
  readonly #clock: Clock
  readonly #rng: Rng

  constructor(client: S3Client, config: S3StoreConfig, deps: { readonly clock: Clock; readonly rng: Rng }) {
    this.#client = client
    this.#bucket = config.bucket
    this.#prefix = config.prefix === '' ? '' : `${config.prefix.replace(/\/+$/, '')}/`
    this.#partChecksum = config.checksumsOnlyWhenRequired ? {} : { ChecksumAlgorithm: 'CRC32' }
    this.#clock = deps.clock
    this.#rng = deps.rng
    this.description = `s3://${config.bucket}/${this.#prefix} at ${config.endpoint ?? `AWS ${config.region}`}`
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    const input = { ...this.#target(key), Body: body, ContentLength: body.length, ...this.#putHeaders(options) }
    const output = await this.#request('put', key, options.signal, timeFor(body.length), (abortSignal) =>
      this.#client.send(new PutObjectCommand(input), { abortSignal }),
    )
    return { etag: output.ETag ?? '' }
  }

  async putFile(key: string, path: string, options: PutOptions = {}): Promise<{ readonly etag: string }> {
    const { size } = await stat(path)
    if (size <= singlePutBytesMax) return this.put(key, await Bun.file(path).bytes(), options)
    const { IfNoneMatch, ...headers } = this.#putHeaders(options)
    // Some servers ignore the condition on completion, so an existing object is looked for first. That is no lock:
    // names that two writers could both make are single PUTs.
    if (options.createOnly && (await this.head(key, options)) !== null) throw new ObjectExistsError(key)
    const created = await this.#request('put', key, options.signal, attemptMs, (abortSignal) =>
      this.#client.send(new CreateMultipartUploadCommand({ ...this.#target(key), ...headers, ...this.#partChecksum }), {
        abortSignal,
      }),
    )
    const uploadId = created.UploadId
    if (uploadId === undefined)
      throw new ObjectStoreError(`put ${key}: the store named no upload`, { retryable: false, status: null })
    try {
      const parts = await this.#uploadParts(key, path, size, uploadId, options.signal)
      const done = await this.#request('put', key, options.signal, attemptMs, (abortSignal) =>
        this.#client.send(
          new CompleteMultipartUploadCommand({
            ...this.#target(key),
            UploadId: uploadId,
            MultipartUpload: { Parts: parts },
            IfNoneMatch,
          }),
          { abortSignal },
        ),
      )
      return { etag: done.ETag ?? '' }
    } catch (error) {
      // Best effort: the bucket's lifecycle rule removes what is left, and the first error is the one that matters.
      await this.#client
        .send(new AbortMultipartUploadCommand({ ...this.#target(key), UploadId: uploadId }))
        .catch(() => undefined)
      throw error
    }
  }

  async copy(from: string, to: string, options: CopyOptions = {}): Promise<void> {
    const input = {
      ...this.#target(to),
      CopySource: `${this.#bucket}/${this.#target(from).Key.split('/').map(encodeURIComponent).join('/')}`,
      ...(options.storageClass && { StorageClass: options.storageClass as StorageClass }),
    }
    await this.#request('copy', from, options.signal, copyMs, (abortSignal) =>
      this.#client.send(new CopyObjectCommand(input), { abortSignal }),
    )
  }

  async get(key: string, options: GetOptions = {}): Promise<Uint8Array> {
    const { range } = options
    if (range !== undefined && range.to <= range.from) return new Uint8Array(0)
    try {
      return await this.#request('get', key, options.signal, attemptMs, async (abortSignal, allow) => {
        const output = await this.#client.send(new GetObjectCommand({ ...this.#target(key), Range: rangeOf(range) }), {
          abortSignal,
        })
        allow(output.ContentLength === undefined ? wholeGetMs : timeFor(output.ContentLength))
        const bytes = await bodyOf(output)
        if (output.ContentLength !== undefined && bytes.length !== output.ContentLength)
          throw new ObjectStoreError(`get ${key}: got ${bytes.length} of ${output.ContentLength} bytes`, {
            retryable: true,
            status: null,
          })
        return bytes
      })
    } catch (error) {
      if (error instanceof ObjectStoreError && error.status === 416) return new Uint8Array(0)
      throw error
    }
  }

  async getStream(
    key: string,
    options: GetOptions = {},
  ): Promise<{ readonly info: ObjectInfo; readonly body: ReadableStream<Uint8Array> }> {
    const { range, signal } = options
    // The deadline covers the answer's head; the body is bound by the caller's signal.
    const output = await this.#request('get', key, signal, attemptMs, () =>
      this.#client.send(
        new GetObjectCommand({ ...this.#target(key), Range: rangeOf(range) }),
        signal === undefined ? {} : { abortSignal: signal },
      ),
    )
    if (output.Body === undefined)
      throw new ObjectStoreError(`get ${key}: an answer without a body`, { retryable: true, status: null })
    const total = /\/(\d+)$/.exec(output.ContentRange ?? '')?.[1]
    return {
      info: {
        key,
        sizeBytes: total === undefined ? (output.ContentLength ?? 0) : Number(total),
        modifiedAtMs: output.LastModified?.getTime() ?? 0,
        etag: output.ETag ?? '',
      },
      body: output.Body.transformToWebStream(),
    }
  }

  async head(key: string, options: { readonly signal?: AbortSignal } = {}): ReturnType<ObjectStore['head']> {
    try {
      const output = await this.#request('head', key, options.signal, attemptMs, (abortSignal) =>
        this.#client.send(new HeadObjectCommand(this.#target(key)), { abortSignal }),
      )
      return {
        key,
        sizeBytes: output.ContentLength ?? 0,
        modifiedAtMs: output.LastModified?.getTime() ?? 0,
        etag: output.ETag ?? '',
        metadata: output.Metadata ?? {},
        contentType: output.ContentType ?? null,
      }
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }

  async list(options: Parameters<ObjectStore['list']>[0]): Promise<ListPage> {
    const output = await this.#request('list', options.prefix, options.signal, attemptMs, (abortSignal) =>
      this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + options.prefix,
          MaxKeys: listEntriesMax,
          ...(options.delimiter === undefined ? {} : { Delimiter: options.delimiter }),
          ...(options.after === undefined ? {} : { StartAfter: this.#prefix + options.after }),
          ...(options.next ? { ContinuationToken: options.next } : {}),
        }),
        { abortSignal },
      ),
    )
    const objects = (output.Contents ?? []).map((object) => ({
      key: this.#stripped(object.Key ?? ''),
      sizeBytes: object.Size ?? 0,
      modifiedAtMs: object.LastModified?.getTime() ?? 0,
      etag: object.ETag ?? '',
      ...(object.StorageClass !== undefined && { storageClass: object.StorageClass }),
    }))
    const prefixes = (output.CommonPrefixes ?? []).map((prefix) => this.#stripped(prefix.Prefix ?? ''))
    return { objects, prefixes, next: output.IsTruncated ? (output.NextContinuationToken ?? null) : null }
  }

  async delete(keys: readonly string[], options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (keys.length === 0) return
    const objects = keys.map((key) => ({ Key: this.#target(key).Key }))
    const output = await this.#request('delete', keys[0]!, options.signal, attemptMs, (abortSignal) =>
      this.#client.send(new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects: objects, Quiet: true } }), {
        abortSignal,
      }),
    )
    const failed = output.Errors?.find((error) => error.Code !== 'NoSuchKey')
    if (failed !== undefined)
      throw new ObjectStoreError(`delete ${failed.Key}: ${failed.Code} ${failed.Message ?? ''}`, {
        retryable: true,
        status: null,
      })
  }

  async endUploads({ prefix, beforeMs, signal }: Parameters<ObjectStore['endUploads']>[0]): Promise<number> {
    let ended = 0
    let marker: { readonly key: string | undefined; readonly id: string | undefined } | null = null
    do {
      const from = marker
      const page: ListMultipartUploadsCommandOutput = await this.#request(
        'list',
        prefix,
        signal,
        attemptMs,
        (abortSignal) =>
          this.#client.send(
            new ListMultipartUploadsCommand({
              Bucket: this.#bucket,
              Prefix: this.#prefix + prefix,
              ...(from !== null && { KeyMarker: from.key, UploadIdMarker: from.id }),
            }),
            { abortSignal },
          ),
      )
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (Key === undefined || !Key.startsWith(this.#prefix + prefix) || UploadId === undefined) continue
        if (Initiated === undefined || Initiated.getTime() >= beforeMs) continue
        if (ended === uploadsEndedMax) return ended
        const input = { Bucket: this.#bucket, Key, UploadId }
        try {
          await this.#request('delete', this.#stripped(Key), signal, attemptMs, (abortSignal) =>
            this.#client.send(new AbortMultipartUploadCommand(input), { abortSignal }),
          )
        } catch (error) {
          if (error instanceof ObjectNotFoundError) continue // finished or ended meanwhile
          throw error
        }
        ended++
      }
      marker = page.IsTruncated ? { key: page.NextKeyMarker, id: page.NextUploadIdMarker } : null
    } while (marker !== null)
    return ended
  }

  async close(): Promise<void> {
    this.#client.destroy()
  }

  async #uploadParts(
    key: string,
    path: string,
    size: number,
    uploadId: string,
    signal: AbortSignal | undefined,
  ): Promise<CompletedPart[]> {
    const partBytes = Math.max(singlePutBytesMax, Math.ceil(size / partsMax))
    const count = Math.ceil(size / partBytes)
    const parts: CompletedPart[] = new Array(count)
    const file = await open(path, 'r')
    let nextPart = 0
    const uploader = async () => {
      while (nextPart < count) {
        const index = nextPart++
        const bytes = new Uint8Array(Math.min(partBytes, size - index * partBytes))
        for (let at = 0; at < bytes.length; ) {
          const { bytesRead } = await file.read(bytes, at, bytes.length - at, index * partBytes + at)
          if (bytesRead === 0)
            throw new ObjectStoreError(`put ${key}: ${path} got shorter`, { retryable: false, status: null })
          at += bytesRead
        }
        const input = { ...this.#target(key), UploadId: uploadId, PartNumber: index + 1, Body: bytes }
        const output = await this.#request('put', key, signal, timeFor(bytes.length), (abortSignal) =>
          this.#client.send(new UploadPartCommand({ ...input, ...this.#partChecksum }), { abortSignal }),
        )
        parts[index] = { PartNumber: index + 1, ETag: output.ETag, ChecksumCRC32: output.ChecksumCRC32 }
      }
    }
    try {
      const results = await Promise.allSettled(Array.from({ length: Math.min(partsInFlight, count) }, uploader))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
      return parts
    } finally {
      await file.close()
    }
  }

  /**
   * One request: bounded attempts, each with a deadline, errors translated.
   *
   * @param send may give itself another deadline from now on, once it knows more.
   */
  #request<T>(
    operation: string,
    key: string,
    signal: AbortSignal | undefined,
    timeMs: number,
    send: (signal: AbortSignal, allow: (timeMs: number) => void) => Promise<T>,
  ): Promise<T> {
    const deps = { clock: this.#clock, rng: this.#rng, policy, ...(signal === undefined ? {} : { signal }) }
    return retry(
      deps,
      (error) => error instanceof ObjectStoreError && error.retryable,
      async () => {
        signal?.throwIfAborted()
        const deadline = new AbortController()
        let cancel: Cancel = () => {}
        const allow = (forMs: number) => {
          cancel()
          cancel = this.#clock.setTimer(forMs, () =>
            deadline.abort(new TimeoutError(`${operation} ${key}: no answer within ${forMs} ms`)),
          )
        }
        allow(timeMs)
        try {
          return await send(signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]), allow)
        } catch (error) {
          signal?.throwIfAborted()
          throw this.#failure(operation, key, deadline.signal.aborted ? deadline.signal.reason : error)
        } finally {
          cancel()
        }
      },
    )
  }

  #failure(operation: string, key: string, error: unknown): Error {
    if (error instanceof ObjectStoreError) return error
    const status = error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? null) : null
    const name = error instanceof Error ? error.name : ''
    if (status === 412 && operation === 'put') return new ObjectExistsError(key, { cause: error })
    if (
      name === 'NoSuchKey' ||
      ((operation === 'get' || operation === 'head' || operation === 'copy') &&
        status === 404 &&
        name !== 'NoSuchBucket')
    )
      return new ObjectNotFoundError(key, { cause: error })
    // 409: a racing conditional write was still under way; the next attempt sees its outcome.
    const passing = status === null || status >= 500 || status === 429 || status === 408 || status === 409
    const isOurs = error instanceof AppError && !(error instanceof TimeoutError) // an address that may not be reached
    const local =
      isOurs ||
      errorCode(error) === 'ERR_INVALID_ARG_TYPE' ||
      error instanceof TypeError ||
      name === 'CredentialsProviderError'
    return new ObjectStoreError(
      `${operation} ${key} (${this.description}) failed${status === null ? '' : ` with status ${status}`}`,
      { retryable: passing && !local, status },
      { cause: error },
    )
  }

  #target(key: string): { readonly Bucket: string; readonly Key: string } {
    assertObjectKey(key)
    return { Bucket: this.#bucket, Key: this.#prefix + key }
  }

  #stripped(key: string): string {
    return key.slice(this.#prefix.length)
  }

  #putHeaders(options: PutOptions): {
    readonly IfNoneMatch?: string
    readonly Metadata?: Record<string, string>
    readonly ContentType?: string
    readonly StorageClass?: StorageClass
  } {
    return {
      ...(options.createOnly ? { IfNoneMatch: '*' } : {}),
      ...(options.metadata === undefined ? {} : { Metadata: { ...options.metadata } }),
      ...(options.contentType === undefined ? {} : { ContentType: options.contentType }),
      ...(options.storageClass && { StorageClass: options.storageClass as StorageClass }),
    }
  }
}

function rangeOf(range: { readonly from: number; readonly to: number } | undefined): string | undefined {
  return range === undefined ? undefined : `bytes=${range.from}-${range.to - 1}`
}

function timeFor(sizeBytes: number): number {
  return attemptMs + Math.ceil(sizeBytes / bytesPerMs)
}
