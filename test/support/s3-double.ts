// An S3 server for quick tests and faults: checks signatures and body hashes, keeps objects in memory, and can be told to
// fail, hang, cut a body, or do the work and lose the reply. It is no proof of itself; the same tests run on a real server.

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type S3Operation = 'put' | 'copy' | 'get' | 'head' | 'list' | 'delete' | 'multipart'

export type S3Fault =
  | { readonly type: 'status'; readonly status: number; readonly code: string }
  /** The work is done, the connection breaks before the answer. */
  | { readonly type: 'lost-reply' }
  /** The connection breaks before anything is done. */
  | { readonly type: 'broken' }
  /** A GET promises its whole length and ends half-way. */
  | { readonly type: 'cut-body' }

interface Stored {
  readonly body: Buffer
  readonly metadata: Readonly<Record<string, string>>
  readonly modifiedAtMs: number
  readonly etag: string
  readonly storageClass: string
}

interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

const listEntriesMax = 1_000

export class S3Double implements AsyncDisposable {
  readonly bucket = 'double-bucket'
  readonly region = 'us-east-1'
  readonly accessKey = 'double-access-key'
  readonly secretKey = 'double-secret-key'
  readonly objects = new Map<string, Stored>()
  /** Requests that arrived, by operation, failed ones included. */
  readonly counts = new Map<S3Operation, number>()
  /** As stores do that know no conditional writes: the last writer wins. */
  ignoresConditions = false
  /** Decides about each request before it is done; null lets it pass. */
  fault: ((operation: S3Operation, key: string) => S3Fault | null) | null = null
  readonly #uploads = new Map<
    string,
    { readonly key: string; readonly parts: Map<number, Buffer>; readonly initiatedAtMs: number }
  >()
  /** Uploads of one answer; S3 has 1,000. */
  uploadsPerPage = 1_000
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch(() => request.socket.destroy())
  })

  static async start(): Promise<S3Double> {
    const double = new S3Double()
    await new Promise<void>((resolve) => double.#server.listen(0, '127.0.0.1', resolve))
    return double
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const [path = '/', query = ''] = (request.url ?? '/').split('?')
    const params = new URLSearchParams(query)
    const [bucket, ...rest] = decodeURIComponent(path.slice(1)).split('/')
    const key = rest.join('/')
    const operation = operationOf(request.method ?? '', key, params, request.headers['x-amz-copy-source'] !== undefined)
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1)
    const fault = this.fault?.(operation, key) ?? null
    if (fault?.type === 'broken') {
      request.socket.destroy()
      return
    }
    const refusal = this.#refusal(request, path, query, body)
    const answer =
      refusal ??
      (bucket !== this.bucket
        ? failure(404, 'NoSuchBucket')
        : fault?.type === 'status'
          ? failure(fault.status, fault.code)
          : this.#answer(request, operation, key, params, body))
    if (fault?.type === 'lost-reply') {
      request.socket.destroy()
      return
    }
    const content = Buffer.from(answer.body ?? '')
    response.writeHead(answer.status, { 'content-length': String(content.length), ...answer.headers })
    if (fault?.type === 'cut-body' && content.length > 1) {
      response.write(content.subarray(0, content.length >> 1), () => request.socket.destroy())
      return
    }
    response.end(request.method === 'HEAD' ? undefined : content)
  }

  #answer(
    request: IncomingMessage,
    operation: S3Operation,
    key: string,
    params: URLSearchParams,
    body: Buffer,
  ): Answer {
    switch (operation) {
      case 'list':
        return this.#list(params)
      case 'delete': {
        for (const match of body.toString().matchAll(/<Key>([^<]*)<\/Key>/g))
          this.objects.delete(unescapeXml(match[1]!))
        return { status: 200, body: '<DeleteResult></DeleteResult>' }
      }
      case 'multipart':
        return this.#multipart(request, key, params, body)
      case 'put': {
        if (!this.ignoresConditions && request.headers['if-none-match'] === '*' && this.objects.has(key))
          return failure(412, 'PreconditionFailed')
        const stored = this.#store(key, body, metadataOf(request), classOf(request))
        return { status: 200, headers: { etag: stored.etag } }
      }
      case 'copy': {
        const source = decodeURIComponent(String(request.headers['x-amz-copy-source'])).replace(/^[^/]*\//, '')
        const found = this.objects.get(source)
        if (found === undefined) return failure(404, 'NoSuchKey')
        if (source === key && request.headers['x-amz-storage-class'] === undefined)
          return failure(400, 'InvalidRequest')
        const stored = this.#store(key, found.body, found.metadata, classOf(request))
        return { status: 200, body: `<CopyObjectResult><ETag>${escapeXml(stored.etag)}</ETag></CopyObjectResult>` }
      }
      default: {
        const stored = this.objects.get(key)
        if (stored === undefined) return failure(404, 'NoSuchKey')
        return getAnswer(stored, request.headers.range, request.method === 'HEAD')
      }
    }
  }

  #store(key: string, body: Buffer, metadata: Readonly<Record<string, string>>, storageClass = 'STANDARD'): Stored {
    const etag = `"${createHash('md5').update(body).digest('hex')}"`
    const stored = { body, metadata, modifiedAtMs: Date.now(), etag, storageClass }
    this.objects.set(key, stored)
    return stored
  }

  #multipart(request: IncomingMessage, key: string, params: URLSearchParams, body: Buffer): Answer {
    if (params.has('uploads') && request.method === 'GET') return this.#listUploads(params)
    if (params.has('uploads')) {
      const id = crypto.randomUUID()
      this.#uploads.set(id, { key, parts: new Map(), initiatedAtMs: Date.now() })
      return {
        status: 200,
        body: `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      }
    }
    const id = params.get('uploadId') ?? ''
    const upload = this.#uploads.get(id)
    if (upload?.key !== key) return failure(404, 'NoSuchUpload')
    if (request.method === 'DELETE') {
      this.#uploads.delete(id)
      return { status: 204 }
    }
    if (request.method === 'PUT') {
      upload.parts.set(Number(params.get('partNumber')), body)
      return { status: 200, headers: { etag: `"${createHash('md5').update(body).digest('hex')}"` } }
    }
    if (request.headers['if-none-match'] === '*' && this.objects.has(key)) return failure(412, 'PreconditionFailed')
    const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part)
    const stored = this.#store(key, Buffer.concat(parts), {})
    this.#uploads.delete(id)
    return {
      status: 200,
      body: `<CompleteMultipartUploadResult><ETag>${stored.etag}</ETag></CompleteMultipartUploadResult>`,
    }
  }

  /** Keys of uploads that were begun and not finished. */
  get uploadKeys(): string[] {
    return [...this.#uploads.values()].map(({ key }) => key).sort()
  }

  /** By key, then by id, as S3 orders and marks them. */
  #listUploads(params: URLSearchParams): Answer {
    const marks = [params.get('key-marker') ?? '', params.get('upload-id-marker') ?? ''] as const
    const found = [...this.#uploads]
      .map(([id, { key, initiatedAtMs }]) => ({ id, key, initiatedAtMs }))
      .filter(({ key }) => key.startsWith(params.get('prefix') ?? ''))
      .sort((a, b) => (a.key === b.key ? (a.id < b.id ? -1 : 1) : a.key < b.key ? -1 : 1))
      .filter(({ id, key }) => key > marks[0] || (key === marks[0] && id > marks[1]))
    const page = found.slice(0, this.uploadsPerPage)
    const isTruncated = page.length < found.length
    const last = page.at(-1)
    const uploads = page.map(
      ({ id, key, initiatedAtMs }) =>
        `<Upload><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId><Initiated>${new Date(initiatedAtMs).toISOString()}</Initiated></Upload>`,
    )
    const next = isTruncated
      ? `<NextKeyMarker>${escapeXml(last!.key)}</NextKeyMarker><NextUploadIdMarker>${last!.id}</NextUploadIdMarker>`
      : ''
    return {
      status: 200,
      body: `<ListMultipartUploadsResult><IsTruncated>${isTruncated}</IsTruncated>${next}${uploads.join('')}</ListMultipartUploadsResult>`,
    }
  }

  #list(params: URLSearchParams): Answer {
    const prefix = params.get('prefix') ?? ''
    const delimiter = params.get('delimiter')
    const after = params.get('continuation-token') ?? params.get('start-after') ?? ''
    const max = Math.min(Number(params.get('max-keys') ?? listEntriesMax), listEntriesMax)
    const entries: { readonly mark: string; readonly xml: string }[] = []
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix))
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    for (const key of keys) {
      if (Buffer.compare(Buffer.from(key), Buffer.from(after)) <= 0) continue
      const cut = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length)
      if (cut >= 0) {
        const common = key.slice(0, cut + 1)
        if (entries.at(-1)?.mark === common || after.startsWith(common)) continue
        entries.push({
          mark: common,
          xml: `<CommonPrefixes><Prefix>${escapeXml(common)}</Prefix></CommonPrefixes>`,
        })
        continue
      }
      const { body, modifiedAtMs, etag, storageClass } = this.objects.get(key)!
      entries.push({
        mark: key,
        xml: `<Contents><Key>${escapeXml(key)}</Key><LastModified>${new Date(modifiedAtMs).toISOString()}</LastModified><ETag>${escapeXml(etag)}</ETag><Size>${body.length}</Size><StorageClass>${storageClass}</StorageClass></Contents>`,
      })
    }
    const page = entries.slice(0, max)
    const more =
      entries.length > max
        ? `<IsTruncated>true</IsTruncated><NextContinuationToken>${escapeXml(page.at(-1)!.mark)}</NextContinuationToken>`
        : '<IsTruncated>false</IsTruncated>'
    return {
      status: 200,
      headers: { 'content-type': 'application/xml' },
      body: `<ListBucketResult>${more}${page.map((entry) => entry.xml).join('')}</ListBucketResult>`,
    }
  }

  /** Signature Version 4 in the header; null when it is right. */
  #refusal(request: IncomingMessage, path: string, query: string, body: Buffer): Answer | null {
    const pattern =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/
    const match = pattern.exec(request.headers.authorization ?? '')
    if (match === null) return failure(403, 'AccessDenied')
    const [, accessKey, day, region, signedHeaders, signature] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ]
    if (accessKey !== this.accessKey) return failure(403, 'InvalidAccessKeyId')
    const payloadHash = String(request.headers['x-amz-content-sha256'] ?? '')
    if (/^[0-9a-f]{64}$/.test(payloadHash) && payloadHash !== createHash('sha256').update(body).digest('hex'))
      return failure(400, 'XAmzContentSHA256Mismatch')
    const headers = signedHeaders
      .split(';')
      .map(
        (name) =>
          `${name}:${String(request.headers[name] ?? '')
            .trim()
            .replace(/ +/g, ' ')}\n`,
      )
      .join('')
    const sortedQuery = query
      .split('&')
      .filter((part) => part !== '')
      .map((part) => (part.includes('=') ? part : `${part}=`))
      .sort()
      .join('&')
    const canonical = [request.method, path, sortedQuery, headers, signedHeaders, payloadHash].join('\n')
    const scope = `${day}/${region}/s3/aws4_request`
    const toSign = [
      'AWS4-HMAC-SHA256',
      String(request.headers['x-amz-date']),
      scope,
      createHash('sha256').update(canonical).digest('hex'),
    ].join('\n')
    let signingKey = Buffer.from(`AWS4${this.secretKey}`)
    for (const part of [day, region, 's3', 'aws4_request'])
      signingKey = createHmac('sha256', signingKey).update(part).digest()
    const expected = createHmac('sha256', signingKey).update(toSign).digest()
    return timingSafeEqual(expected, Buffer.from(signature, 'hex')) ? null : failure(403, 'SignatureDoesNotMatch')
  }
}

function operationOf(method: string, key: string, params: URLSearchParams, isCopy: boolean): S3Operation {
  if (params.has('uploads') || params.has('uploadId')) return 'multipart'
  if (method === 'POST' && params.has('delete')) return 'delete'
  if (key === '') return 'list'
  if (method === 'PUT' && isCopy) return 'copy'
  return method === 'PUT' ? 'put' : method === 'HEAD' ? 'head' : 'get'
}

function classOf(request: IncomingMessage): string {
  return String(request.headers['x-amz-storage-class'] ?? 'STANDARD')
}

function metadataOf(request: IncomingMessage): Record<string, string> {
  const prefix = 'x-amz-meta-'
  const entries = Object.entries(request.headers).filter(([name]) => name.startsWith(prefix))
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]))
}

function getAnswer(stored: Stored, range: string | undefined, isHead: boolean): Answer {
  const total = stored.body.length
  const headers = {
    etag: stored.etag,
    'last-modified': new Date(stored.modifiedAtMs).toUTCString(),
    ...stored.metadata,
  }
  const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? '')
  if (match === null || isHead)
    return { status: 200, headers: { ...headers, 'content-length': String(total) }, body: stored.body }
  const from = Number(match[1])
  const to = Math.min(Number(match[2]) + 1, total)
  if (from >= total) return failure(416, 'InvalidRange')
  return {
    status: 206,
    headers: { ...headers, 'content-range': `bytes ${from}-${to - 1}/${total}` },
    body: stored.body.subarray(from, to),
  }
}

function failure(status: number, code: string): Answer {
  return {
    status,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`,
  }
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}

function unescapeXml(text: string): string {
  return text.replace(
    /&(lt|gt|quot|apos|amp);/g,
    (_, name: string) => ({ lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' })[name]!,
  )
}
