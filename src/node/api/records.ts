// Records over HTTP: list, view, create, update, delete. PocketBase: apis/record_crud.go, apis/record_helpers.go.

import { sleep } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { BodyError } from '../engine/body/body-error.ts'
import type { Collection, Rule } from '../engine/collections/collection.ts'
import { LastSuperuserError } from '../engine/errors.ts'
import { expandRecords } from '../engine/expand/expand.ts'
import { toNumber, toText } from '../engine/fields/cast.ts'
import type { Field } from '../engine/fields/field.ts'
import { fileBytesDefault } from '../engine/fields/file.ts'
import { kindOf } from '../engine/fields/kinds.ts'
import { PasswordValue } from '../engine/fields/value.ts'
import { UploadedFile } from '../engine/files/uploaded-file.ts'
import { toJson } from '../engine/json/json-text.ts'
import { statementKey } from '../engine/records/content-version.ts'
import { triggerRecord } from '../engine/records/events.ts'
import {
  type PagePlan,
  perPageDefault,
  perPageMax,
  planPage,
  type RecordPage,
  readPage,
} from '../engine/records/list.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { shownText, shownTextLater } from '../engine/records/shown-texts.ts'
import { findByRule, isFilterFailure, matchesUnstored } from '../engine/rules/rules.ts'
import { showAllTo } from '../engine/rules/visibility.ts'
import type { ValidationError } from '../engine/settings/checks.ts'
import { checkCollectionLimit } from './auth-guards.ts'
import { ApiError, badRequest, forbidden, notFound, toApiError } from './error-map.ts'
import { hooked, hookedWork } from './hooked.ts'
import { booleanParameter, integerParameter } from './query-parameters.ts'
import { bodyBytesDefault, type RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Empty answers to filters per client and collection, before answers get slower. */
const probingLimit = { maxRequests: 3, duration: 3 }
const probingDelayMsMax = 500

const superusersOnly = 'Only superusers can perform this action.'

export function collectionOf(event: RequestEvent): Collection {
  const collection = event.engine.collections.find(event.param('collection'))
  if (collection === undefined) throw notFound('Missing collection context.')
  return collection
}

/** `@request.*` and `@collection.*` in a filter or sort of a client would probe what rules hide. */
function checkClientQuery(event: RequestEvent): void {
  if (event.isSuperuser) return
  for (const name of ['filter', 'sort'])
    for (const prefix of ['@collection.', '@request.'])
      if (event.query.get(name)?.includes(prefix)) throw forbidden(`Only superusers can filter by ${prefix}`)
}

async function list(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'list')
  if (collection.data.listRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  checkClientQuery(event)
  const perPage = integerParameter(event, 'perPage')
  const query = {
    page: Math.max(1, integerParameter(event, 'page')),
    perPage: perPage <= 0 ? perPageDefault : Math.min(perPage, perPageMax),
    skipTotal: booleanParameter(event, 'skipTotal'),
    filter: event.query.get('filter') ?? '',
    sort: event.query.get('sort') ?? '',
  }
  const { engine } = event
  const plan = await answerFilterErrors(() => planPage(engine, collection, query, event.info()))
  let reading: Promise<RecordPage> | null = null
  const read = () => (reading ??= answerFilterErrors(() => readPage(engine, plan)))
  const key = isShownAlike(event, collection, engine.chains.onRecordsListRequest) ? keyOfPage(event, plan) : null
  if (key !== null) {
    const text = await shownTextLater(engine, key, async () => {
      const found = await read()
      return found.items.length === 0 ? null : event.toText(found)
    })
    if (text !== null) return event.jsonText(200, text)
  }
  const page = await read()
  const facts = { requestEvent: event, collection, records: page.items, result: page }
  return hooked(engine.chains.onRecordsListRequest, facts, async ({ records, result }) => {
    await enrichRecords(event, records)
    await slowDownProbing(event, collection, result)
    const { items, ...envelope } = result
    return event.json(200, { items, ...envelope })
  })
}

/** What to keep the text of a page under; null where more than its rows decides it. */
function keyOfPage(event: RequestEvent, { rowsSql, rowsParams, countSql }: PagePlan): string | null {
  return statementKey(event.engine, rowsSql, [...rowsParams, countSql === null ? 0 : 1, event.fields])
}

/** Whoever gets these records is shown the same of them: nothing of the request decides it, and nobody but the engine. */
function isShownAlike(
  { engine, isSuperuser, rawQuery }: RequestEvent,
  collection: Collection,
  { isEmpty }: { readonly isEmpty: boolean },
): boolean {
  if (collection.type !== 'base' || isSuperuser || rawQuery.includes('expand')) return false
  return isEmpty && engine.chains.onRecordEnrich.isEmpty
}

/** Filters of clients that find nothing may be probing what a rule hides, by the time an answer takes: some noise. */
async function slowDownProbing(event: RequestEvent, collection: Collection, page: RecordPage): Promise<void> {
  const { listRule } = collection.data
  if (event.isSuperuser || page.items.length > 0 || listRule === null || listRule === '') return
  if (!event.query.get('filter')) return
  const { auth, clock, rng } = event.engine
  if (auth.rateLimiter.isAllowed(`@pb_list_timing_check_${collection.id}`, event.realIp, probingLimit)) return
  await sleep(clock, rng.below(probingDelayMsMax), event.request.signal)
}

/** A filter or sort that a client got wrong is 400, and so is what SQLite makes of it. */
async function answerFilterErrors<T>(work: () => MaybePromise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isFilterFailure(error)) throw badRequest()
    throw error
  }
}

function view(event: RequestEvent): MaybePromise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'view')
  const { viewRule } = collection.data
  if (viewRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const isForAll = viewRule === '' && event.rawQuery === ''
  return isForAll && isShownAlike(event, collection, event.engine.chains.onRecordViewRequest)
    ? viewAsAll(event, collection)
    : viewAsCaller(event, collection)
}

function viewAsAll(event: RequestEvent, collection: Collection): MaybePromise<Response> {
  const id = event.param('id')
  const text = shownText(event.engine, `${collection.id}/${id}`, () => {
    const record = event.engine.records.findById(collection, id)
    return record === null ? null : toJson(record)
  })
  if (text === null) throw notFound()
  return event.jsonText(200, text)
}

async function viewAsCaller(event: RequestEvent, collection: Collection): Promise<Response> {
  const record = await findAllowed(event, collection, event.param('id'), collection.data.viewRule)
  if (record === null) throw notFound()
  const facts = { requestEvent: event, collection, record }
  return hooked(event.engine.chains.onRecordViewRequest, facts, async (e) => {
    await enrichRecords(event, [e.record])
    return event.json(200, e.record)
  })
}

async function create(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'create')
  return answerRecord(event, await createRecord(event, collection, await readData(event)))
}

async function update(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'update')
  return answerRecord(event, await updateRecord(event, collection, event.param('id'), await readData(event)))
}

function answerRecord(event: RequestEvent, record: EngineRecord | Response): MaybePromise<Response> {
  return record instanceof Response ? record : event.json(200, record)
}

async function remove(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'delete')
  return (await deleteRecord(event, collection, event.param('id'))) ?? event.noContent()
}

/**
 * Creates a record for the client of `event`; also a part of a batch. Throws ApiError.
 * @param freshId its id where the client gives none; default: made when it is saved.
 * @returns a Response when a handler answered instead.
 */
export async function createRecord(
  event: RequestEvent,
  collection: Collection,
  body: Readonly<Record<string, unknown>>,
  freshId = '',
): Promise<EngineRecord | Response> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { createRule } = collection.data
  if (createRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const record = EngineRecord.blank(collection)
  const data = loadBody(event, record, body)
  let isManager = event.isSuperuser
  if (!event.isSuperuser) {
    // Rules are tested with hashes, and such a password has none: nobody is told more.
    if (Object.values(record.values).some((value) => value instanceof PasswordValue && value.isTooLong))
      throw badRequest(createFailed)
    const passes = rulesOfCreate(event, record, data)
    if (!(await passes(createRule))) throw badRequest(createFailed)
    isManager = await isManagerBy(event, collection, passes)
  }
  if (record.id === '' && freshId !== '') record.set('id', freshId)
  const facts = { requestEvent: event, collection, record }
  return hookedWork(event.engine.chains.onRecordCreateRequest, facts, async (e) => {
    await checkAuthData(event, e.record, null, body, isManager)
    await saveRecord(event, e.record, createFailed)
    await enrichRecords(event, [e.record])
    return e.record
  })
}

/** Tests rules with a record that is not stored yet. @param data as {@link loadBody} returns it. */
function rulesOfCreate(event: RequestEvent, record: EngineRecord, data: Readonly<Record<string, unknown>>) {
  const request = event.info(data)
  const probe = record.clone()
  if (probe.id === '') probe.setRaw('id', '__pf_id__')
  // A manage rule must not be satisfied by what only managers may set.
  if (record.collection.isAuth) probe.setRaw('verified', false)
  return (rule: Rule) => passesQuietly(event, () => matchesUnstored(event.engine, probe, rule, request))
}

/** Tests rules with a record as it is stored. @param stored before the body was loaded over it, which may name another id. */
function rulesOfUpdate(event: RequestEvent, stored: EngineRecord, data: Readonly<Record<string, unknown>>) {
  const { id, collection } = stored
  const request = event.info(data)
  return (rule: Rule) =>
    passesQuietly(event, async () => (await findByRule(event.engine, collection, id, rule, request)) !== null)
}

/**
 * Whether the rules would let the client of `event` create, or with an id update, as things stand: for who wants to
 * prepare something dear for it. Decides nothing.
 */
export async function mayWrite(
  event: RequestEvent,
  collection: Collection,
  id: string,
  body: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  const { createRule, updateRule } = collection.data
  const rule = id === '' ? createRule : updateRule
  if (event.isSuperuser) return true
  if (collection.isView || rule === null) return false
  const stored = id === '' ? EngineRecord.blank(collection) : event.engine.records.findById(collection, id)
  if (stored === null) return false
  if (rule === '') return true
  const record = stored.clone()
  const data = loadBody(event, record, body)
  return id === '' ? rulesOfCreate(event, record, data)(rule) : rulesOfUpdate(event, stored, data)(rule)
}

/** Updates a record for the client of `event`, as {@link createRecord} creates one. */
export async function updateRecord(
  event: RequestEvent,
  collection: Collection,
  id: string,
  body: Readonly<Record<string, unknown>>,
): Promise<EngineRecord | Response> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { updateRule } = collection.data
  if (updateRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const stored = event.engine.records.findById(collection, id)
  if (stored === null) throw notFound()
  const record = stored.clone()
  const data = loadBody(event, record, body)
  let isManager = event.isSuperuser
  if (!event.isSuperuser) {
    const passes = rulesOfUpdate(event, stored, data)
    if (!(await passes(updateRule))) throw notFound()
    isManager = await isManagerBy(event, collection, passes)
  }
  const facts = { requestEvent: event, collection, record }
  return hookedWork(event.engine.chains.onRecordUpdateRequest, facts, async (e) => {
    await checkAuthData(event, e.record, stored, body, isManager)
    await saveRecord(event, e.record, updateFailed)
    await enrichRecords(event, [e.record])
    return e.record
  })
}

/** Deletes a record for the client of `event`; also a part of a batch. Throws ApiError. @returns as {@link createRecord}. */
export async function deleteRecord(
  event: RequestEvent,
  collection: Collection,
  id: string,
): Promise<Response | undefined> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { deleteRule } = collection.data
  if (deleteRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const record = await findAllowed(event, collection, id, deleteRule)
  if (record === null) throw notFound()
  const facts = { requestEvent: event, collection, record }
  return hookedWork(event.engine.chains.onRecordDeleteRequest, facts, async (e) => {
    try {
      await event.engine.records.delete(e.record)
      return undefined
    } catch (error) {
      if (error instanceof LastSuperuserError) throw badRequest(error.message)
      throw toApiError(error, deleteFailed) ?? unforeseen(event, error, deleteFailed)
    }
  })
}

/** The record if the caller passes the rule. A rule that is broken, or fails in SQLite, lets nobody pass. */
async function findAllowed(
  event: RequestEvent,
  collection: Collection,
  id: string,
  rule: Rule,
): Promise<EngineRecord | null> {
  if (event.isSuperuser || rule === '') return await event.engine.records.find(collection, id)
  let found: EngineRecord | null = null
  await passesQuietly(event, async () => {
    found = await findByRule(event.engine, collection, id, rule, event.info())
    return found !== null
  })
  return found
}

async function passesQuietly(event: RequestEvent, test: () => Promise<boolean>): Promise<boolean> {
  try {
    return await test()
  } catch (error) {
    if (!isFilterFailure(error)) throw error
    event.engine.log.warn('rule is broken', { method: event.method, error })
    return false
  }
}

/** Managers of an auth collection are signed in, and its rule is never empty. */
async function isManagerBy(
  event: RequestEvent,
  collection: Collection,
  passes: (rule: Rule) => Promise<boolean>,
): Promise<boolean> {
  const rule = collection.data.auth?.manageRule ?? null
  return rule !== null && rule !== '' && event.auth !== null && (await passes(rule))
}

async function readData(event: RequestEvent): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await event.body()
  } catch (error) {
    if (error instanceof BodyError) throw error // answered in one place, for every endpoint
    throw toApiError(error) ?? badRequest()
  }
}

async function saveRecord(event: RequestEvent, record: EngineRecord, message: string): Promise<void> {
  try {
    await event.engine.records.save(record)
  } catch (error) {
    throw toApiError(error, message) ?? unforeseen(event, error, message)
  }
}

/** PocketBase answers 400 to whatever stops a write; what nobody foresaw must be seen in the log. */
function unforeseen(event: RequestEvent, error: unknown, message: string): ApiError {
  event.engine.log.error('write failed', { method: event.method, error: errorMessage(error) })
  return badRequest(message)
}

/**
 * Sets what the client sent, plain keys before their modifiers.
 * @returns the body as rules see it: modifiers replaced by the values they lead to, hidden fields of others left out.
 */
function loadBody(
  event: RequestEvent,
  record: EngineRecord,
  body: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const { collection } = record
  const data: Record<string, unknown> = { ...body }
  for (const key of Object.keys(body).sort((a, b) => a.length - b.length)) {
    const field = fieldOfKey(collection, key)
    if (field === undefined) continue
    delete data[key]
    // Hidden fields belong to superusers; the password of an auth record is hidden, but its own.
    if (field.hidden && !event.isSuperuser && !(collection.isAuth && field.name === 'password')) continue
    const value = key === field.name ? body[key] : modifierValue(body, field, key)
    if (value !== undefined) record.set(key, value)
    data[field.name] = field.type === 'password' ? body[key] : record.get(field.name)
  }
  return data
}

/**
 * What a modifier is given. Uploads are set last in PocketBase: those under the plain name replace whatever modifiers
 * made of the field, but for what these upload themselves.
 */
function modifierValue(body: Readonly<Record<string, unknown>>, field: Field, key: string): unknown {
  const isUpload = (each: unknown) => each instanceof UploadedFile
  if (field.type !== 'file' || ![body[field.name]].flat().some(isUpload)) return body[key]
  const uploads = [body[key]].flat().filter(isUpload)
  return uploads.length > 0 ? uploads : undefined
}

function fieldOfKey(collection: Collection, key: string): Field | undefined {
  const exact = collection.field(key)
  if (exact !== undefined) return exact
  return collection.fields.find(
    (field) => key.includes(field.name) && kindOf(field).modifier?.(field, key) !== undefined,
  )
}

/** What an auth record may be given: only managers verify and change e-mails, and a new password needs the old one. */
async function checkAuthData(
  event: RequestEvent,
  record: EngineRecord,
  stored: EngineRecord | null,
  body: Readonly<Record<string, unknown>>,
  isManager: boolean,
): Promise<void> {
  if (!record.collection.isAuth) return
  const errors: Record<string, ValidationError> = {}
  const [password, confirm, old] = ['password', 'passwordConfirm', 'oldPassword'].map((key) => toText(body[key] ?? ''))
  const isNew = stored === null
  if (!isManager && !isNew && record.text('email') !== stored.text('email')) errors['email'] = mismatch
  if (!isManager && record.bool('verified') !== (stored?.bool('verified') ?? false)) errors['verified'] = mismatch
  if (password === '' && (isNew || confirm !== '' || old !== '')) errors['password'] = blank
  if (confirm === '' && (isNew || password !== '' || old !== '')) errors['passwordConfirm'] = blank
  else if (confirm !== password) errors['passwordConfirm'] = mismatch
  if (!isNew && !isManager && (password !== '' || confirm !== '')) {
    if (old === '') errors['oldPassword'] = blank
    else if (!(await event.engine.auth.verifyPassword(stored, old!))) errors['oldPassword'] = wrongOldPassword
  }
  if (Object.keys(errors).length > 0) throw new ApiError(400, isNew ? createFailed : updateFailed, errors)
}

const createFailed = 'Failed to create record'
const updateFailed = 'Failed to update record.'
const deleteFailed = 'Failed to delete record. Make sure that the record is not part of a required relation reference.'

const blank: ValidationError = { code: 'validation_required', message: 'Cannot be blank.' }
const mismatch: ValidationError = { code: 'validation_values_mismatch', message: "Values don't match." }
const wrongOldPassword: ValidationError = {
  code: 'validation_invalid_old_password',
  message: 'Missing or invalid old password.',
}

/** Shows records as the client may see them: hidden fields, e-mails, expands. */
export async function enrichRecords(event: RequestEvent, records: readonly EngineRecord[]): Promise<void> {
  const { engine } = event
  const { onRecordEnrich } = engine.chains
  const show = (all: readonly EngineRecord[]) => showAllTo(engine, all, event.info())
  const isUnchanged = onRecordEnrich.isEmpty && !event.rawQuery.includes('expand')
  const needsShow = event.isSuperuser || records.some((record) => record.collection.isAuth)
  if (isUnchanged && !needsShow) return
  const shown = show(records)
  if (shown !== undefined) await shown
  if (!onRecordEnrich.isEmpty)
    for (const record of records) await triggerRecord(onRecordEnrich, { record, requestInfo: event.info() }, () => {})
  const expand = event.query.get('expand') ?? ''
  if (expand !== '' && records.length > 0)
    await expandRecords(engine, records, expand, { request: event.info(), onRecords: show })
}

/** As much as the files of a collection may weigh, beside the other fields. */
function bodyLimit(event: RequestEvent, next: (event: RequestEvent) => Promise<Response>): Promise<Response> {
  const collection = event.engine.collections.find(event.param('collection'))
  if (collection === undefined) throw notFound('Missing or invalid collection context.')
  let bytes = bodyBytesDefault
  for (const field of collection.fields) {
    if (field.type === 'file') bytes += (field.maxSize || fileBytesDefault) * Math.max(1, field.maxSelect)
    else if (field.type === 'json' || field.type === 'editor') bytes += toNumber(field.maxSize)
  }
  event.bodyBytesMax = bytes
  return next(event)
}

const path = '/api/collections/:collection/records'

export const recordRoutes: readonly Route[] = [
  { method: 'GET', path, limit: 'own', handle: list },
  { method: 'GET', path: `${path}/:id`, limit: 'own', handle: view },
  { method: 'POST', path, limit: 'own', handle: (event) => bodyLimit(event, create) },
  { method: 'PATCH', path: `${path}/:id`, limit: 'own', handle: (event) => bodyLimit(event, update) },
  { method: 'DELETE', path: `${path}/:id`, limit: 'own', handle: remove },
]
