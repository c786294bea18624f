// Records over HTTP: list, view, create, update, delete. PocketBase: apis/record_crud.go, apis/record_helpers.go.

import type { Collection, Rule } from '../engine/collections/collection.ts'
import { expandRecords } from '../engine/expand/expand.ts'
import { toNumber } from '../engine/fields/cast.ts'
import { fileBytesDefault } from '../engine/fields/file.ts'
import { FilterError, type RuleRequest } from '../engine/filter/resolver.ts'
import { triggerRecord } from '../engine/records/events.ts'
import { listRecords, perPageDefault, perPageMax } from '../engine/records/list.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { findByRule, matchesUnstored } from '../engine/rules/rules.ts'
import { showTo } from '../engine/rules/visibility.ts'
import type { ValidationError } from '../engine/settings/checks.ts'
import { checkCollectionLimit } from './auth-guards.ts'
import { ApiError, badRequest, forbidden, notFound, toApiError } from './error-map.ts'
import { bodyBytesDefault, type RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

const superusersOnly = 'Only superusers can perform this action.'

export function collectionOf(event: RequestEvent): Collection {
  const collection = event.engine.collections.find(event.param('collection'))
  if (collection === undefined) throw notFound('Missing collection context.')
  return collection
}

/** A query parameter as Go's strconv reads booleans; 400 for other words. */
function booleanParameter(event: RequestEvent, name: string): boolean {
  const text = event.query.get(name) ?? ''
  if (['', '0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true
  throw badRequest()
}

function integerParameter(event: RequestEvent, name: string): number {
  const text = event.query.get(name) ?? ''
  if (text === '') return 0
  if (!/^[+-]?\d{1,15}$/.test(text)) throw badRequest()
  return Number(text)
}

/** `@request.*` and `@collection.*` in a filter or sort of a client would probe what rules hide. */
function checkClientQuery(event: RequestEvent): void {
  if (event.isSuperuser) return
  for (const name of ['filter', 'sort'])
    if (/@collection\.|@request\./.test(event.query.get(name) ?? ''))
      throw forbidden('Only superusers can filter by @collection and @request fields.')
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
  if (query.filter !== '' && query.filter.trim() === '') throw badRequest()
  const request = event.info()
  const page = await answerFilterErrors(() => listRecords(event.engine, collection, query, request))
  await enrichRecords(event, page.items)
  const { items, ...envelope } = page
  return event.json(200, { items, ...envelope })
}

async function view(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'view')
  const { viewRule } = collection.data
  if (viewRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const record = await answerFilterErrors(() => findAllowed(event, collection, event.param('id'), viewRule))
  if (record === null) throw notFound()
  await enrichRecords(event, [record])
  return event.json(200, record)
}

async function create(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'create')
  return event.json(200, await createRecord(event, collection, await readData(event)))
}

async function update(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'update')
  return event.json(200, await updateRecord(event, collection, event.param('id'), await readData(event)))
}

async function remove(event: RequestEvent): Promise<Response> {
  const collection = collectionOf(event)
  checkCollectionLimit(event, collection, 'delete')
  await deleteRecord(event, collection, event.param('id'))
  return event.noContent()
}

/** Creates a record for the client of `event`; also a part of a batch. Throws ApiError. */
export async function createRecord(
  event: RequestEvent,
  collection: Collection,
  data: Readonly<Record<string, unknown>>,
): Promise<EngineRecord> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { createRule } = collection.data
  if (createRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const record = EngineRecord.blank(collection)
  setAll(event, record, data)
  const request = event.info(withoutModifiers(record, data))
  const isManager = event.isSuperuser || (await passesCreateRules(event, record, createRule, request))
  await checkAuthData(event, record, null, data, isManager)
  await saveRecord(event, record, 'Failed to create record')
  await enrichRecords(event, [record])
  return record
}

/** Refuses a create that the rule forbids. @returns whether the client may set what only managers may. */
async function passesCreateRules(
  event: RequestEvent,
  record: EngineRecord,
  rule: Rule,
  request: RuleRequest,
): Promise<boolean> {
  const probe = record.clone()
  if (probe.id === '') probe.setRaw('id', '__pf_id__')
  const { collection } = record
  const passes = (each: Rule) => matchesUnstored(event.engine, probe, each, request)
  const isAllowed = await answerFilterErrors(() => passes(rule))
  if (!isAllowed) throw badRequest('Failed to create record')
  const manageRule = collection.data.auth?.manageRule ?? null
  return manageRule !== null && (await answerFilterErrors(() => passes(manageRule)))
}

export async function updateRecord(
  event: RequestEvent,
  collection: Collection,
  id: string,
  data: Readonly<Record<string, unknown>>,
): Promise<EngineRecord> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { updateRule } = collection.data
  if (updateRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const stored = event.engine.records.findById(collection, id)
  if (stored === null) throw notFound()
  const record = stored.clone()
  setAll(event, record, data)
  const request = event.info(withoutModifiers(record, data))
  let isManager = event.isSuperuser
  if (!event.isSuperuser) {
    const allowed = await answerFilterErrors(() => findByRule(event.engine, collection, id, updateRule, request))
    if (allowed === null) throw notFound()
    const manageRule = collection.data.auth?.manageRule ?? null
    isManager = manageRule !== null && findByRule(event.engine, collection, id, manageRule, request) !== null
  }
  await checkAuthData(event, record, stored, data, isManager)
  await saveRecord(event, record, 'Failed to update record')
  await enrichRecords(event, [record])
  return record
}

export async function deleteRecord(event: RequestEvent, collection: Collection, id: string): Promise<void> {
  if (collection.isView) throw badRequest('Unsupported collection type.')
  const { deleteRule } = collection.data
  if (deleteRule === null && !event.isSuperuser) throw forbidden(superusersOnly)
  const record = await answerFilterErrors(() => findAllowed(event, collection, id, deleteRule))
  if (record === null) throw notFound()
  try {
    await event.engine.records.delete(record)
  } catch (error) {
    throw (
      toApiError(
        error,
        'Failed to delete record. Make sure that the record is not part of a required relation reference.',
      ) ?? error
    )
  }
}

function findAllowed(event: RequestEvent, collection: Collection, id: string, rule: Rule): EngineRecord | null {
  if (event.isSuperuser) return event.engine.records.findById(collection, id)
  return findByRule(event.engine, collection, id, rule, event.info())
}

/** A filter that a client got wrong is 400; so is a broken rule, in PocketBase's words for both. */
async function answerFilterErrors<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof FilterError) throw badRequest()
    throw error
  }
}

async function readData(event: RequestEvent): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await event.body()
  } catch (error) {
    throw toApiError(error) ?? badRequest('Failed to read the submitted data.')
  }
}

async function saveRecord(event: RequestEvent, record: EngineRecord, message: string): Promise<void> {
  try {
    await event.engine.records.save(record)
  } catch (error) {
    const answer = toApiError(error, message)
    throw answer ?? error
  }
}

/** Fields that a client sets by name or modifier, in PocketBase's order: plain keys before their modifiers. */
function setAll(event: RequestEvent, record: EngineRecord, data: Readonly<Record<string, unknown>>): void {
  for (const key of Object.keys(data).sort((a, b) => a.length - b.length || (a < b ? -1 : 1))) {
    const name = key.replace(/^[+]|[+-]$|:.*$/g, '')
    const field = record.collection.field(name) ?? record.collection.field(key)
    // Hidden fields belong to superusers; the password of an auth record is hidden, but its own.
    if (field?.hidden && !event.isSuperuser && !(record.collection.isAuth && field.name === 'password')) continue
    record.set(key, data[key])
  }
}

/** The body as rules see it: modifiers replaced by the values they lead to. */
function withoutModifiers(
  record: EngineRecord,
  data: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const plain: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(data)) {
    const name = key.replace(/^[+]|[+-]$|:.*$/g, '')
    const field = record.collection.field(name) ?? record.collection.field(key)
    if (field === undefined) plain[key] = value
    else plain[field.name] = field.type === 'password' ? value : record.get(field.name)
  }
  return plain
}

/** What an auth record may be given: only managers verify and change e-mails, and a new password needs the old one. */
async function checkAuthData(
  event: RequestEvent,
  record: EngineRecord,
  stored: EngineRecord | null,
  data: Readonly<Record<string, unknown>>,
  isManager: boolean,
): Promise<void> {
  if (!record.collection.isAuth) return
  const errors: Record<string, ValidationError> = {}
  if (!isManager && record.bool('verified') !== (stored?.bool('verified') ?? false)) errors['verified'] = mismatch
  if (!isManager && stored !== null && record.text('email') !== stored.text('email')) errors['email'] = mismatch
  const password = data['password'] ?? ''
  const passwordConfirm = data['passwordConfirm'] ?? ''
  const isSettingPassword = password !== '' || passwordConfirm !== ''
  if (isSettingPassword || stored === null) {
    if (passwordConfirm === '') errors['passwordConfirm'] = blank
    else if (password !== passwordConfirm) errors['passwordConfirm'] = mismatch
    if (password === '') errors['password'] = blank
  }
  if (isSettingPassword && stored !== null && !isManager) {
    const old = data['oldPassword']
    if (typeof old !== 'string' || old === '') errors['oldPassword'] = blank
    else if (!(await event.engine.auth.verifyPassword(stored, old))) errors['oldPassword'] = wrongOldPassword
  }
  if (Object.keys(errors).length === 0) return
  throw new ApiError(400, stored === null ? 'Failed to create record' : 'Failed to update record', errors)
}

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
  const show = (record: EngineRecord) => showTo(engine, record, event.info())
  const isPlain = onRecordEnrich.isEmpty && !event.rawQuery.includes('expand')
  const needsShow = event.isSuperuser || records.some((record) => record.collection.isAuth)
  if (isPlain && !needsShow) return
  for (const record of records) {
    show(record)
    if (!onRecordEnrich.isEmpty) await triggerRecord(onRecordEnrich, { record }, () => {})
  }
  const expand = event.query.get('expand') ?? ''
  if (expand !== '' && records.length > 0)
    expandRecords(engine, records, expand, { request: event.info(), onRecord: show })
}

/** As much as the files of a collection may weigh, beside the other fields. */
function bodyLimit(event: RequestEvent, next: (event: RequestEvent) => Promise<Response>): Promise<Response> {
  let bytes = bodyBytesDefault
  for (const field of event.engine.collections.find(event.param('collection'))?.fields ?? []) {
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
