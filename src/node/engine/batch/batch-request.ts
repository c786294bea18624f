// What a batch may hold: creates, updates, deletes and upserts of records, by the addresses they have alone.
// PocketBase: apis/batch.go.

import type { Rng } from '../../../lib/rng.ts'
import { storedName, UploadedFile } from '../files/uploaded-file.ts'

export interface BatchPart {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
}

export interface BatchAction {
  /** `upsert` updates the record whose id the body names, and creates where there is none. */
  readonly kind: 'create' | 'update' | 'delete' | 'upsert'
  /** Id or name, as written. */
  readonly collection: string
  /** Of updates and deletes; else empty. */
  readonly id: string
  readonly rawQuery: string
}

const actions: readonly (readonly [kind: BatchAction['kind'], pattern: RegExp])[] = [
  ['upsert', /^PUT \/api\/collections\/([^/?]+)\/records(?:\?(.*))?$/],
  ['create', /^POST \/api\/collections\/([^/?]+)\/records(?:\?(.*))?$/],
  ['update', /^PATCH \/api\/collections\/([^/?]+)\/records\/([^/?]+)(?:\?(.*))?$/],
  ['delete', /^DELETE \/api\/collections\/([^/?]+)\/records\/([^/?]+)(?:\?(.*))?$/],
]

/** Null for what a batch does not do. */
export function actionOf(part: BatchPart): BatchAction | null {
  const text = `${part.method} ${part.url}`
  for (const [kind, pattern] of actions) {
    const match = pattern.exec(text)
    if (match === null) continue
    const hasId = kind === 'update' || kind === 'delete'
    return { kind, collection: match[1]!, id: hasId ? match[2]! : '', rawQuery: match[hasId ? 3 : 2] ?? '' }
  }
  return null
}

/**
 * The parts of a batch body. Uploads stand beside `requests`, as `requests.0.field` or `requests[0].field`.
 * @returns null when the body is none of a batch.
 */
export function readParts(body: Readonly<Record<string, unknown>>, rng: Rng): BatchPart[] | null {
  const requests = body['requests'] ?? []
  if (!Array.isArray(requests)) return null
  const parts: { method: string; url: string; headers: Record<string, string>; body: Record<string, unknown> }[] = []
  for (const request of requests as unknown[]) {
    if (!isObject(request)) return null
    const { method = '', url = '', headers = {}, body: data = {} } = request
    if (typeof method !== 'string' || typeof url !== 'string') return null
    if ((headers !== null && !isTexts(headers)) || (data !== null && !isObject(data))) return null
    parts.push({ method, url, headers: { ...headers }, body: { ...data } })
  }
  for (const [name, value] of Object.entries(body)) {
    const match = /^requests(?:\.(\d+)\.|\[(\d+)\]\.)(.+)$/s.exec(name)
    const part = match === null ? undefined : parts[Number(match[1] ?? match[2])]
    if (part === undefined) continue
    const files = (Array.isArray(value) ? value : [value]).filter((each) => each instanceof UploadedFile)
    // Each part is a request of its own in PocketBase, which names its uploads once more.
    if (files.length > 0) part.body[match![3]!] = files.map((file) => renamed(file, rng))
  }
  return parts
}

function renamed(file: UploadedFile, rng: Rng): UploadedFile {
  const { sizeBytes, contentType, content } = file
  return new UploadedFile({
    originalName: file.name,
    name: storedName(file.name, rng),
    sizeBytes,
    contentType,
    content,
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every((each) => typeof each === 'string')
}
