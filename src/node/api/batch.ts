// Several changes of records as one transaction: all of them or none. PocketBase: apis/batch.go.

import { errorMessage } from '../../lib/errors.ts'
import { type PlainPassword, withHashes } from '../engine/auth/password.ts'
import { actionOf, type BatchAction, type BatchPart, readParts } from '../engine/batch/batch-request.ts'
import { BodyError } from '../engine/body/body-error.ts'
import type { Collection } from '../engine/collections/collection.ts'
import { toText } from '../engine/fields/cast.ts'
import type { FileField } from '../engine/fields/field.ts'
import { fileBytesDefault } from '../engine/fields/file.ts'
import { randomByPattern } from '../engine/fields/random-pattern.ts'
import { type EarlyUpload, withEarlyUploads } from '../engine/files/early-uploads.ts'
import { UploadedFile } from '../engine/files/uploaded-file.ts'
import { JsonText, toJson } from '../engine/json/json-text.ts'
import { pickFields } from '../engine/picker/picker.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import {
  checkFields,
  lengthBetween,
  oneOf,
  required,
  tooLong,
  type ValidationError,
  type ValidationErrors,
} from '../engine/settings/checks.ts'
import { check } from './auth-forms.ts'
import { allowanceOf, checkCollectionLimit } from './auth-guards.ts'
import { ApiError, badRequest, forbidden, toApiError } from './error-map.ts'
import { hooked } from './hooked.ts'
import { collectionOf, createRecord, deleteRecord, mayWrite, updateRecord } from './records.ts'
import { jsonResponse, RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Where the settings set none. */
const timeoutSecondsDefault = 3
const bodyBytesDefault = 128 * 1024 * 1024

const partMethods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
const partUrlBytesMax = 2_000

interface PartResult {
  readonly body: JsonText
  readonly status: number
}

/** The part at `index` failed, and with it the batch. */
class PartFailure extends Error {
  readonly index: number
  readonly answer: ApiError
  constructor(index: number, answer: ApiError) {
    super('a part of the batch failed')
    this.index = index
    this.answer = answer
  }
}

async function runBatch(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const { enabled, maxRequests, timeout, maxBodySize } = engine.settings.batch
  if (!enabled || maxRequests <= 0) throw forbidden('Batch requests are not allowed.')
  event.bodyBytesMax = maxBodySize > 0 ? maxBodySize : bodyBytesDefault
  const parts = await readBatch(event)
  checkParts(parts, maxRequests)
  const deadlineMs = engine.clock.monotonic() + (timeout > 0 ? timeout : timeoutSecondsDefault) * 1_000
  return hooked(engine.chains.onBatchRequest, { requestEvent: event, batch: parts }, (e) =>
    runParts(event, e.batch, deadlineMs),
  )
}

async function runParts(event: RequestEvent, parts: readonly BatchPart[], deadlineMs: number): Promise<Response> {
  const { engine } = event
  const freshIds = new Map<BatchPart, string>()
  try {
    const isOver = () => event.request.signal.aborted || engine.clock.monotonic() > deadlineMs
    const run = (keepFiles: () => void) =>
      engine.transaction(async () => {
        // Not when all of it has ended well: something may fail that follows the commit.
        await engine.data.afterCommit(keepFiles)
        const done: PartResult[] = []
        for (const [index, part] of parts.entries()) {
          if (isOver()) throw badRequest('Batch transaction failed.')
          done.push(await runPart(event, part, { index, freshId: freshIds.get(part) ?? '' }))
        }
        // Too late is too late, also for the last part.
        if (engine.clock.monotonic() > deadlineMs) throw badRequest('Batch transaction failed.')
        return done
      })
    const uploads = uploadsOf(event, parts, freshIds)
    const results = await withHashes(
      engine.passwords,
      await passwordsOf(event, parts, isOver),
      () => withEarlyUploads(engine, uploads, run),
      isOver,
    )
    return await event.json(200, results)
  } catch (error) {
    if (error instanceof PartFailure) return failureResponse(error)
    throw error
  }
}

async function readBatch(event: RequestEvent): Promise<BatchPart[]> {
  const message = 'Failed to read the submitted batch data.'
  try {
    return readParts(await event.body(), event.engine.rng) ?? refuse(message)
  } catch (error) {
    if (error instanceof BodyError && error.code === 'bad_body') throw badRequest(message)
    throw error
  }
}

function refuse(message: string): never {
  throw badRequest(message)
}

/** All parts are looked at before the first one runs. */
function checkParts(parts: readonly BatchPart[], max: number): void {
  check({ requests: parts.length === 0 ? required(parts) : listErrors(parts, max) }, 'Invalid batch request data.')
}

function listErrors(parts: readonly BatchPart[], max: number): ValidationError | ValidationErrors | null {
  if (parts.length > max) return tooLong(max)
  const errors: Record<string, ValidationErrors> = {}
  for (const [index, { method, url }] of parts.entries()) {
    const found = checkFields({
      method: [method, required, oneOf(partMethods)],
      url: [url, required, lengthBetween(0, partUrlBytesMax)],
    })
    if (found !== null) errors[String(index)] = found
  }
  return Object.keys(errors).length === 0 ? null : errors
}

interface PartPlace {
  readonly index: number
  /** For a record that is made without one; else empty. */
  readonly freshId: string
}

/** Where a part's record goes, unless the rules refuse it outright. */
function targetOf(event: RequestEvent, part: BatchPart) {
  const action = actionOf(part)
  const collection = action === null ? undefined : event.engine.collections.find(action.collection)
  if (action === null || collection === undefined || action.kind === 'delete') return null
  const { createRule, updateRule } = collection.data
  if (!event.isSuperuser && (action.kind === 'update' ? updateRule : createRule) === null) return null
  return { action, collection }
}

/**
 * The files of all parts with the keys that their records will have. Those of records whose id cannot be told
 * beforehand are left to their save.
 * @param freshIds gets the ids of records whose part gives none.
 */
function uploadsOf(event: RequestEvent, parts: readonly BatchPart[], freshIds: Map<BatchPart, string>): EarlyUpload[] {
  const uploads: EarlyUpload[] = []
  for (const part of parts) {
    const hasFiles = Object.values(part.body).some((value) => [value].flat().some(isUpload))
    const target = hasFiles ? targetOf(event, part) : null
    if (target === null) continue
    const { action, collection } = target
    const files = collection.fields.flatMap((field) => (field.type === 'file' ? storableFiles(field, part.body) : []))
    let id = action.kind === 'update' ? action.id : toText(part.body['id'] ?? '')
    const idField = collection.field('id')
    if (id === '' && idField?.type === 'text' && idField.autogeneratePattern !== '') {
      id = randomByPattern(idField.autogeneratePattern, event.engine.rng)
      freshIds.set(part, id)
    }
    if (/^\w{1,255}$/.test(id))
      for (const file of files) uploads.push({ key: `${collection.id}/${id}/${file.name}`, file })
  }
  return uploads
}

const isUpload = (value: unknown) => value instanceof UploadedFile

/** What a field is given and would take; the rest is refused when its record is looked at. */
function storableFiles(field: FileField, body: BatchPart['body']): UploadedFile[] {
  const bytesMax = field.maxSize > 0 ? field.maxSize : fileBytesDefault
  return [field.name, `${field.name}+`, `+${field.name}`]
    .flatMap((key) => [body[key]].flat())
    .filter(isUpload)
    .filter(({ sizeBytes }) => sizeBytes <= bytesMax)
    .slice(-Math.max(1, field.maxSelect))
}

/**
 * The passwords that the parts set, as far as the parts will come: hashing is dear, and nobody may have it done for what
 * limits or rules refuse. What is missed here, such as where a rule looks at what an earlier part writes, is hashed when
 * its part runs.
 */
async function passwordsOf(
  event: RequestEvent,
  parts: readonly BatchPart[],
  isOver: () => boolean,
): Promise<PlainPassword[]> {
  const passwords: PlainPassword[] = []
  const counts = new Map<string, number>()
  const looked = parts.map((part) => {
    const action = actionOf(part)
    const collection = action === null ? undefined : event.engine.collections.find(action.collection)
    const plain = collection === undefined || action?.kind === 'delete' ? [] : confirmedPasswords(collection, part)
    return { part, action, collection, plain }
  })
  if (looked.every(({ plain }) => plain.length === 0)) return []
  for (const { part, action, collection, plain } of looked) {
    if (action === null || collection === undefined || isOver()) break // the batch ends here
    const place = await placeOf(event, part, action)
    const own = ownEvent(event, part, action, place)
    if (own === null) break
    const counted = `${collection.id}\n${place.kind}`
    const count = (counts.get(counted) ?? 0) + 1
    counts.set(counted, count)
    if (count > allowanceOf(own, collection, place.kind)) break
    if (plain.length > 0 && (await mayWrite(own, collection, place.id, part.body))) passwords.push(...plain)
  }
  return passwords
}

/** Those that are not confirmed are refused unhashed. */
function confirmedPasswords(collection: Collection, { body }: BatchPart): PlainPassword[] {
  return collection.fields.flatMap((field) => {
    const plain = body[field.name]
    if (field.type !== 'password' || typeof plain !== 'string' || plain === '') return []
    const isConfirmed = field.name !== 'password' || body['passwordConfirm'] === plain
    return isConfirmed ? [{ plain, cost: field.cost }] : []
  })
}

async function runPart(event: RequestEvent, part: BatchPart, place: PartPlace): Promise<PartResult> {
  const { index } = place
  try {
    return await changeRecord(event, part, place)
  } catch (error) {
    const answer = toApiError(error)
    if (answer === null) event.engine.log.error('batch part failed', { index, error: errorMessage(error) })
    throw new PartFailure(index, answer ?? badRequest())
  }
}

async function changeRecord(event: RequestEvent, part: BatchPart, { index, freshId }: PartPlace): Promise<PartResult> {
  const action = actionOf(part)
  // In PocketBase it is the part before that fails then, and says so.
  if (action === null) throw index === 0 ? badRequest() : new ApiError(500)
  const { kind, id } = await placeOf(event, part, action)
  const own = ownEvent(event, part, action, { kind, id })
  if (own === null) throw badRequest() // a header that is none
  const collection = collectionOf(own)
  checkCollectionLimit(own, collection, kind)
  switch (kind) {
    case 'create':
      return shown(own, await createRecord(own, collection, part.body, freshId))
    case 'update':
      return shown(own, await updateRecord(own, collection, id, part.body))
    default:
      return (await stopped(await deleteRecord(own, collection, id))) ?? { body: JsonText.null, status: 204 }
  }
}

interface Place {
  readonly kind: 'create' | 'update' | 'delete'
  /** Of the record; where one is created, empty. */
  readonly id: string
}

/** What a part comes down to, as things stand. */
async function placeOf({ engine }: RequestEvent, part: BatchPart, action: BatchAction): Promise<Place> {
  if (action.kind !== 'upsert') return { kind: action.kind, id: action.id }
  const id = toText(part.body['id'] ?? '')
  const collection = engine.collections.find(action.collection)
  const exists = id !== '' && collection !== undefined && (await engine.records.find(collection, id)) !== null
  return exists ? { kind: 'update', id } : { kind: 'create', id: '' }
}

const methodOf = { create: 'POST', update: 'PATCH', delete: 'DELETE' } as const

/** What a handler answered instead: its JSON, or its text as a JSON text. */
async function stopped(answer: Response | undefined): Promise<PartResult | null> {
  if (answer === undefined) return null
  const text = await answer.text()
  if (text === '') return { body: JsonText.null, status: answer.status }
  const isJson = answer.headers.get('content-type')?.startsWith('application/json') ?? false
  return { body: new JsonText(toJson(isJson ? JSON.parse(text) : text)), status: answer.status }
}

async function shown(event: RequestEvent, record: EngineRecord | Response): Promise<PartResult> {
  if (record instanceof Response) return (await stopped(record))!
  const fields = event.query.get('fields') ?? ''
  const text = fields === '' ? toJson(record) : pickFields(record, fields)
  return { body: text === '' ? JsonText.null : new JsonText(text), status: 200 }
}

/**
 * The same caller asking for one part. A part cannot speak for somebody else: its `Authorization` is ignored.
 * @returns null when a header of the part is none.
 */
function ownEvent(event: RequestEvent, part: BatchPart, action: BatchAction, place: Place): RequestEvent | null {
  const path = `/api/collections/${action.collection}/records${place.kind === 'create' ? '' : `/${place.id}`}`
  const headers = new Headers(event.request.headers)
  for (const [name, value] of Object.entries(part.headers)) {
    if (name.toLowerCase() === 'authorization') continue
    try {
      headers.set(name, value)
    } catch {
      return null
    }
  }
  headers.set('content-type', 'multipart/form-data')
  const request = new Request(`http://localhost${path}`, { method: methodOf[place.kind], headers })
  const { lease, connections, realIp } = event
  const own = new RequestEvent({ request, lease, connections, realIp, path, rawQuery: action.rawQuery })
  own.params = { collection: action.collection, id: place.id }
  own.auth = event.auth
  own.context = 'batch'
  return own
}

function failureResponse({ index, answer }: PartFailure): Response {
  const error = {
    code: 'batch_request_failed',
    message: 'Batch request failed.',
    response: new JsonText(answer.toText()),
  }
  const data = { requests: { [String(index)]: error } }
  return jsonResponse(400, toJson({ data, message: 'Batch transaction failed.', status: 400 }))
}

export const batchRoutes: readonly Route[] = [{ method: 'POST', path: '/api/batch', limit: 'path', handle: runBatch }]
