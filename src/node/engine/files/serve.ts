// Answers to requests for a file: type, disposition, ranges and conditions. PocketBase: tools/filesystem, Serve, which
// leans on Go's http.ServeContent; RFC 9110 sections 13 and 14.

import type { ByteRange, StoredFile } from './storage.ts'

/** Types a browser may show in place; everything else is downloaded. */
const inlineTypes = new Set(
  (
    'image/png image/jpg image/jpeg image/gif image/webp image/x-icon image/bmp ' +
    'video/webm video/mp4 video/3gpp video/quicktime video/x-ms-wmv ' +
    'audio/basic audio/aiff audio/mpeg audio/midi audio/mp3 audio/wave audio/wav audio/x-wav audio/x-mpeg audio/x-m4a ' +
    'audio/aac application/pdf application/x-pdf'
  ).split(' '),
)

/** Where bytes mislead: browsers load these only under their own type. */
const typeByExtension: Readonly<Record<string, string>> = {
  '.svg': 'image/svg+xml',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.xlsx': 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  '.docx': 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  '.pptx': 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
}

const contentSecurityPolicy = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
/** 30 days; a name is never used for other content. */
const cacheControl = 'max-age=2592000, stale-while-revalidate=86400'
/** Parts of one answer; more ranges are answered with the whole file. */
const rangesMax = 32

export interface ServeOptions {
  /** What the client saves it as; also decides the type of some extensions. */
  readonly name: string
  /** `?download`, as it was sent. */
  readonly download: string
}

/** The answer to a GET or HEAD of `file`. */
export async function serveFile(request: Request, file: StoredFile, options: ServeOptions): Promise<Response> {
  const isDownload = ['1', 't', 'T', 'TRUE', 'true', 'True'].includes(options.download)
  const disposition = !isDownload && inlineTypes.has(file.contentType) ? 'inline' : 'attachment'
  const contentType = typeByExtension[extensionOf(options.name)] ?? file.contentType
  const etag = `"${file.modifiedAtMs.toString(36)}-${file.sizeBytes.toString(36)}"`
  const headers = new Headers({
    'content-disposition': `${disposition}; filename=${headerText(options.name)}`,
    'content-security-policy': contentSecurityPolicy,
    'cache-control': cacheControl,
    'content-type': contentType,
    'last-modified': new Date(file.modifiedAtMs).toUTCString(),
    etag,
    'x-content-type-options': 'nosniff',
    'x-xss-protection': '1; mode=block', // and no X-Frame-Options: files may be framed
  })
  return sendFile(request, file, headers)
}

/**
 * The answer to a GET or HEAD of `file` by the conditions and ranges that were asked for.
 *
 * @param headers of the whole file, `content-type` and `last-modified` among them, and `etag` where it has one.
 */
export async function sendFile(request: Request, file: StoredFile, headers: Headers): Promise<Response> {
  const etag = headers.get('etag')
  const contentType = headers.get('content-type') ?? file.contentType
  const condition = checkConditions(request, etag, file.modifiedAtMs)
  if (condition === 304) {
    for (const name of ['content-type', 'last-modified']) headers.delete(name)
    return new Response(null, { status: 304, headers })
  }
  if (condition === 412) return new Response(null, { status: 412, headers })
  headers.set('accept-ranges', 'bytes')
  const isHead = request.method === 'HEAD'
  const asked = isRangeWanted(request, etag, file.modifiedAtMs) ? request.headers.get('range') : null
  const ranges = asked === null ? [] : parseRanges(asked, file.sizeBytes)
  if (typeof ranges === 'string') return rangeRefused(headers, ranges, file.sizeBytes)
  if (ranges.length === 0) return send(headers, 200, file.sizeBytes, isHead ? null : await whole(request, file))
  if (ranges.length === 1) {
    const range = ranges[0]!
    headers.set('content-range', contentRange(range, file.sizeBytes))
    return send(headers, 206, range.to - range.from, isHead ? null : await file.body(range))
  }
  return sendParts(headers, file, ranges, { contentType, isHead })
}

/** No file where a range was asked for and not granted: Bun would cut it out by itself, or refuse it. */
async function whole(request: Request, file: StoredFile): Promise<Blob | ReadableStream<Uint8Array> | null> {
  if (file.sizeBytes === 0) return null
  const body = await file.body()
  return body instanceof Blob && request.headers.has('range') ? body.stream() : body
}

function send(
  headers: Headers,
  status: number,
  sizeBytes: number,
  body: Blob | ReadableStream<Uint8Array> | null,
): Response {
  headers.set('content-length', String(sizeBytes))
  return new Response(body, { status, headers })
}

function extensionOf(name: string): string {
  const dot = name.lastIndexOf('.')
  return dot < 0 ? '' : name.slice(dot)
}

/** Names in old directories may hold anything; a header must not end in the middle. */
function headerText(name: string): string {
  return /^[\x20-\x7e]*$/.test(name) && !/[;"\\]/.test(name)
    ? name
    : `"${name.replace(/[^\x20-\x7e]|["\\]/g, '_')}"; filename*=UTF-8''${encodeURIComponent(name)}`
}

function contentRange(range: ByteRange, sizeBytes: number): string {
  return `bytes ${range.from}-${range.to - 1}/${sizeBytes}`
}

/** Seconds, as HTTP dates have no finer unit. */
function isModifiedAfter(modifiedAtMs: number, date: string): boolean | null {
  const atMs = Date.parse(date)
  return Number.isNaN(atMs) ? null : Math.floor(modifiedAtMs / 1000) > Math.floor(atMs / 1000)
}

function matchesTag(header: string, etag: string | null): boolean {
  return header.split(',').some((each) => {
    const tag = each.trim()
    return tag === '*' || tag.replace(/^W\//, '') === etag
  })
}

function checkConditions(request: Request, etag: string | null, modifiedAtMs: number): 200 | 304 | 412 {
  const header = (name: string) => request.headers.get(name)
  const ifMatch = header('if-match')
  if (ifMatch !== null) {
    if (!ifMatch.split(',').some((each) => each.trim() === '*' || each.trim() === etag)) return 412
  } else if (isModifiedAfter(modifiedAtMs, header('if-unmodified-since') ?? '') === true) return 412
  const ifNoneMatch = header('if-none-match')
  if (ifNoneMatch !== null) return matchesTag(ifNoneMatch, etag) ? 304 : 200
  return isModifiedAfter(modifiedAtMs, header('if-modified-since') ?? '') === false ? 304 : 200
}

function isRangeWanted(request: Request, etag: string | null, modifiedAtMs: number): boolean {
  const ifRange = request.headers.get('if-range')
  if (ifRange === null || ifRange === '') return true
  if (ifRange.startsWith('"') || ifRange.startsWith('W/')) return ifRange === etag
  return Math.floor(Date.parse(ifRange) / 1000) === Math.floor(modifiedAtMs / 1000)
}

/**
 * The ranges of a Range header that a file has. Empty: send the whole file.
 * @returns what is wrong, in Go's words, when the answer is 416.
 */
export function parseRanges(header: string, sizeBytes: number): ByteRange[] | string {
  if (!header.startsWith('bytes=')) return 'invalid range'
  const ranges: ByteRange[] = []
  let hasOutside = false
  for (const raw of header.slice('bytes='.length).split(',')) {
    const text = raw.trim()
    if (text === '') continue
    const match = /^(\d*)\s*-\s*(\d*)$/.exec(text)
    if (match === null) return 'invalid range'
    const [, fromText = '', toText = ''] = match
    if (fromText === '' && toText === '') return 'invalid range'
    if (fromText === '') ranges.push({ from: Math.max(0, sizeBytes - Number(toText)), to: sizeBytes })
    else if (Number(fromText) >= sizeBytes) hasOutside = true
    else {
      const to = toText === '' ? sizeBytes : Math.min(Number(toText) + 1, sizeBytes)
      if (to <= Number(fromText)) return 'invalid range'
      ranges.push({ from: Number(fromText), to })
    }
  }
  if (ranges.length === 0) return hasOutside && sizeBytes > 0 ? 'invalid range: failed to overlap' : []
  const total = ranges.reduce((sum, range) => sum + range.to - range.from, 0)
  // More than the file itself is either a mistake or an attack; both get the file once.
  return total > sizeBytes || ranges.length > rangesMax ? [] : ranges
}

function rangeRefused(headers: Headers, problem: string, sizeBytes: number): Response {
  for (const name of ['cache-control', 'etag', 'last-modified', 'accept-ranges']) headers.delete(name)
  if (problem !== 'invalid range') headers.set('content-range', `bytes */${sizeBytes}`)
  headers.set('content-type', 'text/plain; charset=utf-8')
  return new Response(`${problem}\n`, { status: 416, headers })
}

/** Several ranges as multipart/byteranges. */
function sendParts(
  headers: Headers,
  file: StoredFile,
  ranges: readonly ByteRange[],
  facts: { readonly contentType: string; readonly isHead: boolean },
): Response {
  // No file can be known to hold it: it is made of what the client cannot choose, and 32 digits long.
  const boundary = new Bun.CryptoHasher('md5')
    .update(`${file.modifiedAtMs} ${file.sizeBytes} ${JSON.stringify(ranges)}`)
    .digest('hex')
  const heads = ranges.map(
    (range, i) =>
      `${i === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Range: ${contentRange(range, file.sizeBytes)}\r\n` +
      `Content-Type: ${facts.contentType}\r\n\r\n`,
  )
  const tail = `\r\n--${boundary}--\r\n`
  let sizeBytes = Buffer.byteLength(tail)
  for (const [i, range] of ranges.entries()) sizeBytes += Buffer.byteLength(heads[i]!) + range.to - range.from
  headers.set('content-type', `multipart/byteranges; boundary=${boundary}`)
  if (facts.isHead) return send(headers, 206, sizeBytes, null)
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const write = async () => {
    const encoder = new TextEncoder()
    for (const [i, range] of ranges.entries()) {
      const writer = writable.getWriter()
      await writer.write(encoder.encode(heads[i]!))
      writer.releaseLock()
      const body = await file.body(range)
      await (body instanceof Blob ? body.stream() : body).pipeTo(writable, { preventClose: true })
    }
    const writer = writable.getWriter()
    await writer.write(encoder.encode(tail))
    await writer.close()
  }
  // A client that went away ends the stream; there is nobody left to tell.
  write().catch((error: unknown) => writable.abort(error).catch(() => {}))
  return send(headers, 206, sizeBytes, readable)
}
