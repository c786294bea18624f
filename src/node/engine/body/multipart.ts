// multipart/form-data (RFC 7578) as a stream: fields in memory, files in memory while small and on disk beyond.

import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { concat, empty, fromUtf8 } from '../../../lib/bytes.ts'
import { sniffBytes, sniffContentType } from '../files/content-type.ts'
import { storedName, UploadedFile } from '../files/uploaded-file.ts'
import { BodyError, type BodyLimits } from './body-error.ts'
import { newUploadFolder } from './upload-folder.ts'

/** A file stays in memory up to this size, bytes. */
const memoryBytesMax = 256 * 1024
/** Bytes of all plain fields together. */
const fieldBytesMax = 20 * 1024 * 1024
const headerBytesMax = 8 * 1024
const partsMax = 1_000
/** A mark at the beginning is part of a value. */
const fieldDecoder = new TextDecoder('utf-8', { ignoreBOM: true })

export interface MultipartForm {
  readonly fields: ReadonlyMap<string, readonly string[]>
  readonly files: ReadonlyMap<string, readonly UploadedFile[]>
  dispose(): Promise<void>
}

interface PartHeader {
  /** Empty: the part counts for nothing. */
  readonly name: string
  /** Empty for a plain field, and for the empty file input of a browser, which is a field without a value. */
  readonly filename: string
}

function boundaryOf(contentType: string): string {
  const match = /boundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))/i.exec(contentType)
  if (match === null) throw new BodyError('bad_body', 'the multipart body has no boundary')
  return match[1] ?? match[2]!
}

/** A parameter of Content-Disposition. PocketBase leaves the `%22` of browsers as it is. */
function parameter(header: string, name: string): string | null {
  const match =
    new RegExp(`;\\s*${name}="((?:[^"\\\\]|\\\\.)*)"`, 'i').exec(header) ??
    new RegExp(`;\\s*${name}=([^;\\s"]+)`, 'i').exec(header)
  return match === null ? null : match[1]!.replace(/\\(.)/g, '$1')
}

function parseHeader(text: string): PartHeader {
  if (text.includes('\0')) throw new BodyError('bad_body', 'a header of the multipart body has a zero byte')
  const disposition = text.split('\r\n').find((line) => /^content-disposition:/i.test(line)) ?? ''
  const filename = parameter(disposition, 'filename') ?? ''
  // Only the last part of what may be a path.
  return { name: parameter(disposition, 'name') ?? '', filename: filename.split(/[/\\]/).pop() ?? '' }
}

/** Reads pieces of a stream up to a delimiter, holding no more than it must. */
class PartReader {
  readonly #reader: {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>
    cancel(): Promise<void>
  }
  readonly #bytesMax: number
  #buffer: Uint8Array = empty
  #total = 0
  #ended = false

  constructor(stream: ReadableStream<Uint8Array>, bytesMax: number) {
    this.#reader = stream.getReader()
    this.#bytesMax = bytesMax
  }

  /**
   * Passes everything before `delimiter` to `take`, and consumes the delimiter. Throws BodyError when the stream ends
   * first, or takes more than allowed.
   */
  async until(delimiter: Buffer, take: (chunk: Uint8Array) => void | Promise<void>): Promise<void> {
    for (;;) {
      const at = Buffer.from(this.#buffer.buffer, this.#buffer.byteOffset, this.#buffer.length).indexOf(delimiter)
      if (at >= 0) {
        if (at > 0) await take(this.#buffer.subarray(0, at))
        this.#buffer = this.#buffer.subarray(at + delimiter.length)
        return
      }
      const safe = this.#buffer.length - delimiter.length + 1
      if (safe > 0) {
        await take(this.#buffer.subarray(0, safe))
        this.#buffer = this.#buffer.subarray(safe)
      }
      if (!(await this.#fill())) throw new BodyError('bad_body', 'the multipart body is cut off')
    }
  }

  /** Tells the sender that nobody reads on. */
  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => {}) // it is gone already
  }

  async take(length: number): Promise<Uint8Array> {
    while (this.#buffer.length < length)
      if (!(await this.#fill())) throw new BodyError('bad_body', 'the multipart body is cut off')
    const taken = this.#buffer.subarray(0, length)
    this.#buffer = this.#buffer.subarray(length)
    return taken
  }

  async #fill(): Promise<boolean> {
    if (this.#ended) return false
    const { done, value } = await this.#reader.read()
    if (done || value === undefined) {
      this.#ended = true
      return false
    }
    this.#total += value.length
    if (this.#total > this.#bytesMax) throw new BodyError('body_too_large', 'the request body is too large')
    this.#buffer = this.#buffer.length === 0 ? value : concat([this.#buffer, value])
    return true
  }
}

export async function parseMultipart(
  stream: ReadableStream<Uint8Array>,
  contentType: string,
  limits: BodyLimits,
): Promise<MultipartForm> {
  const delimiter = Buffer.from(`\r\n--${boundaryOf(contentType)}`)
  const reader = new PartReader(stream, limits.bytesMax)
  const fields = new Map<string, string[]>()
  const files = new Map<string, UploadedFile[]>()
  let folder: string | null = null
  const dispose = async () => {
    if (folder !== null) await rm(folder, { recursive: true, force: true })
  }
  try {
    // What stands before the first boundary means nothing; the first one has no line break before it.
    await reader.until(delimiter.subarray(2), () => {})
    let fieldBytes = 0
    for (let parts = 0; ; parts++) {
      const next = fromUtf8(await reader.take(2))
      if (next === '--') break
      if (next !== '\r\n' || parts >= partsMax) throw new BodyError('bad_body', 'malformed or endless multipart body')
      const header = parseHeader(await readAll(reader, Buffer.from('\r\n\r\n'), headerBytesMax))
      if (header.filename === '' || header.name === '') {
        const value = await readAll(reader, delimiter, fieldBytesMax - fieldBytes)
        fieldBytes += value.length
        if (header.name !== '') fields.set(header.name, [...(fields.get(header.name) ?? []), value])
        continue
      }
      const file = await readFile(reader, delimiter, header.filename, limits, async () => {
        folder ??= await newUploadFolder()
        return join(folder, String(parts))
      })
      files.set(header.name, [...(files.get(header.name) ?? []), file])
    }
    return { fields, files, dispose }
  } catch (error) {
    await reader.cancel()
    await dispose()
    throw error
  }
}

async function readAll(reader: PartReader, delimiter: Buffer, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  await reader.until(delimiter, (chunk) => {
    bytes += chunk.length
    if (bytes > bytesMax) throw new BodyError('body_too_large', 'a part of the multipart body is too large')
    chunks.push(chunk.slice())
  })
  return fieldDecoder.decode(concat(chunks))
}

async function readFile(
  reader: PartReader,
  delimiter: Buffer,
  originalName: string,
  limits: BodyLimits,
  newPath: () => Promise<string>,
): Promise<UploadedFile> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  let head: Uint8Array = empty
  let spill: { readonly path: string; readonly handle: Awaited<ReturnType<typeof open>> } | null = null
  try {
    await reader.until(delimiter, async (chunk) => {
      sizeBytes += chunk.length
      if (head.length < sniffBytes) head = concat([head, chunk.subarray(0, sniffBytes - head.length)])
      if (spill === null && sizeBytes <= memoryBytesMax) {
        chunks.push(chunk.slice())
        return
      }
      if (spill === null) {
        const path = await newPath()
        spill = { path, handle: await open(path, 'wx', 0o600) }
        for (const each of chunks) await spill.handle.write(each)
        chunks.length = 0
      }
      await spill.handle.write(chunk)
    })
  } finally {
    await (spill as { handle: { close(): Promise<void> } } | null)?.handle.close()
  }
  const spilled = spill as { readonly path: string } | null
  const contentType = sniffContentType(head, originalName)
  return new UploadedFile({
    originalName,
    name: storedName(originalName, limits.rng, contentType),
    sizeBytes,
    contentType,
    content: spilled === null ? { bytes: concat(chunks) } : { path: spilled.path },
  })
}
