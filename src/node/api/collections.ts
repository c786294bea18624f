// Collections, for superusers. PocketBase: apis/collection.go, apis/collection_import.go.

import { oauth2Providers } from '../engine/auth/oauth2/catalog.ts'
import { logoOf } from '../engine/auth/oauth2/provider.ts'
import { Collection } from '../engine/collections/collection.ts'
import { collectionFromRow, collectionToJson, zeroAuthOptions } from '../engine/collections/collection-json.ts'
import { withCollectionNames } from '../engine/collections/collection-shape.ts'
import {
  CollectionFormatError,
  changedCollection,
  deleteCollection,
  dryRunView,
  importCollections,
  newCollection,
  saveChangedCollection,
  saveNewCollection,
  scaffolds,
  truncateCollection,
} from '../engine/collections/manage.ts'
import { driverMessage, viewQueryMessage } from '../engine/db/driver-words.ts'
import { quoteName, type Row } from '../engine/db/sql.ts'
import { RefusedError, ValidationFailed } from '../engine/errors.ts'
import { clientExpressionsMax, clientFilterBytesMax, compileFilter } from '../engine/filter/compile.ts'
import { Parameters } from '../engine/filter/operand.ts'
import { FilterError } from '../engine/filter/resolver.ts'
import { simpleResolver } from '../engine/filter/simple-resolver.ts'
import { memberOf } from '../engine/json/member.ts'
import { lengthBetween, required } from '../engine/settings/checks.ts'
import { check, readBody, readTexts } from './auth-forms.ts'
import { requireSuperuser } from './auth-guards.ts'
import { ApiError, badRequest, notFound, toApiError } from './error-map.ts'
import { hooked } from './hooked.ts'
import { booleanParameter, integerParameter } from './query-parameters.ts'
import type { RequestEvent } from './request-event.ts'
import type { Handler, Route } from './router.ts'

const listed = ['id', 'created', 'updated', 'name', 'system', 'type']
const perPageDefault = 30
const perPageMax = 1_000
const sortKeysMax = 8
/** Characters of a query that is tried out. */
const dryRunQueryMax = 5_000

function pathCollection(event: RequestEvent): Collection {
  const collection = event.engine.collections.find(event.param('collection'))
  if (collection === undefined) throw notFound()
  return collection
}

export function listCollections(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  const { engine, query } = event
  const skipTotal = booleanParameter(event, 'skipTotal')
  const params = new Parameters()
  let where = ''
  let order = ''
  try {
    where = condition(query.get('filter') ?? '', params, engine.clock.now())
    order = sortOrder(query.get('sort') ?? '')
  } catch (error) {
    if (error instanceof FilterError) throw badRequest()
    throw error
  }
  const from = `\`_collections\`${where}`
  const page = Math.max(integerParameter(event, 'page'), 1)
  const asked = integerParameter(event, 'perPage')
  const perPage = asked <= 0 ? perPageDefault : Math.min(asked, perPageMax)
  let totalItems = -1
  let totalPages = -1
  if (!skipTotal) {
    totalItems = engine.data.get<{ n: number }>(`SELECT count(*) AS n FROM ${from}`, params.values)?.n ?? 0
    totalPages = Math.ceil(totalItems / perPage)
  }
  const limit = ` LIMIT ${perPage} OFFSET ${perPage * (page - 1)}`
  const rows = engine.data.all<Row>(`SELECT * FROM ${from}${order}${limit}`, params.values)
  const items = rows.map((row) => new Collection(collectionFromRow(row)))
  const facts = {
    requestEvent: event,
    collections: items,
    result: { items, page, perPage, totalItems, totalPages },
  }
  return hooked(engine.chains.onCollectionsListRequest, facts, ({ result }) =>
    event.json(200, { ...result, items: result.items.map((each) => collectionToJson(each.data)) }),
  )
}

function condition(filter: string, params: Parameters, nowMs: number): string {
  if (filter === '') return ''
  if (Buffer.byteLength(filter) > clientFilterBytesMax) throw new FilterError('the filter is too long')
  let aliases = 0
  const sql = compileFilter(filter, {
    resolver: simpleResolver(listed),
    params,
    nowMs,
    expressionsMax: clientExpressionsMax,
    nextAlias: () => `__sm${aliases++}`,
  })
  return ` WHERE ${sql}`
}

function sortOrder(sort: string): string {
  if (sort === '') return ''
  const keys = sort.split(',').map((key) => key.trim())
  if (keys.length > sortKeysMax) throw new FilterError('too many sort keys')
  const columns = keys.map((key) => {
    const isDescending = key.startsWith('-')
    const name = key.replace(/^[+-]/, '')
    if (name === '@random') return 'RANDOM()'
    if (name !== '@rowid' && !listed.includes(name)) throw new FilterError(`${name} cannot be sorted by`)
    return `${quoteName(name === '@rowid' ? '_rowid_' : name)} ${isDescending ? 'DESC' : 'ASC'}`
  })
  return ` ORDER BY ${columns.join(', ')}`
}

function viewCollection(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  const facts = { requestEvent: event, collection: pathCollection(event) }
  return hooked(event.engine.chains.onCollectionViewRequest, facts, (e) =>
    event.json(200, collectionToJson(e.collection.data)),
  )
}

/** Runs a change and answers with what was stored, or with why it was not. */
async function answerChange(
  event: RequestEvent,
  failure: string,
  change: () => Promise<Collection>,
): Promise<Response> {
  let stored: Collection
  try {
    stored = await change()
  } catch (error) {
    throw changeError(error, failure)
  }
  return event.json(200, collectionToJson(stored.data))
}

function changeError(error: unknown, failure: string): ApiError {
  if (error instanceof CollectionFormatError) return badRequest(unformatted)
  if (error instanceof ApiError || error instanceof ValidationFailed) return toApiError(error, failure)!
  const known = error instanceof RefusedError ? null : toApiError(error)
  return known ?? badRequest(`${failure} Raw error: \n${driverMessage(error)}`)
}

async function create(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const failure = 'Failed to create collection.'
  const typeFailure = 'Failed to load the collection type data due to invalid formatting.'
  const given = await readBody(event, typeFailure)
  for (const name of ['type', 'name'])
    if (!['string', 'undefined'].includes(typeof (memberOf(given, name) ?? undefined))) throw badRequest(typeFailure)
  const next = prepared(failure, given, (body) => newCollection(engine, body))
  const facts = { requestEvent: event, collection: next }
  return hooked(engine.chains.onCollectionCreateRequest, facts, (e) =>
    answerChange(event, failure, () => saveNewCollection(engine, e.collection)),
  )
}

const unformatted = 'Failed to load the submitted data due to invalid formatting.'

/** What the body makes of a collection, or why it is none. */
function prepared(failure: string, body: Json, prepare: (body: Json) => Collection): Collection {
  try {
    return prepare(withCollectionNames(body, zeroAuthOptions))
  } catch (error) {
    throw changeError(error, failure)
  }
}

async function update(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const collection = pathCollection(event)
  const { engine } = event
  const failure = 'Failed to update collection.'
  const next = prepared(failure, await readBody(event, unformatted), (body) =>
    changedCollection(engine, collection, body),
  )
  const facts = { requestEvent: event, collection: next }
  return hooked(engine.chains.onCollectionUpdateRequest, facts, (e) =>
    answerChange(event, failure, () => saveChangedCollection(engine, collection, e.collection)),
  )
}

async function remove(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const facts = { requestEvent: event, collection: pathCollection(event) }
  return hooked(event.engine.chains.onCollectionDeleteRequest, facts, (e) => removeCollection(event, e.collection))
}

async function removeCollection(event: RequestEvent, collection: Collection): Promise<Response> {
  const { engine } = event
  try {
    await deleteCollection(engine, collection)
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error
    const references = engine.collections.references(collection).filter((each) => each.collection.id !== collection.id)
    const names = [...new Set(references.map((each) => each.collection.name))].join(', ')
    throw badRequest(
      `Failed to delete collection${names === '' ? '' : ` probably due to existing reference in ${names}`}`,
    )
  }
  return event.noContent()
}

async function truncate(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const collection = pathCollection(event)
  if (collection.isView)
    throw badRequest("View collections cannot be truncated since they don't store their own records.")
  try {
    await truncateCollection(event.engine, collection)
  } catch (error) {
    if (!(error instanceof RefusedError) && !(error instanceof ValidationFailed)) throw error
    throw badRequest('Failed to truncate collection (most likely due to required cascade delete record references).')
  }
  return event.noContent()
}

type Json = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function importAll(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const body = await readBody(event)
  const [collections, deleteMissing] = [memberOf(body, 'collections') ?? null, memberOf(body, 'deleteMissing') ?? false]
  if ((collections !== null && !Array.isArray(collections)) || typeof deleteMissing !== 'boolean')
    throw badRequest('An error occurred while loading the submitted data.')
  // A null among them is a collection without anything.
  const list: unknown[] = (collections ?? []).map((each: unknown) => each ?? {})
  if (!list.every(isObject)) throw badRequest('An error occurred while loading the submitted data.')
  check({ collections: [list, required] })
  const collectionsData = list.map((each) => withCollectionNames(each, zeroAuthOptions))
  const facts = { requestEvent: event, collectionsData, deleteMissing }
  return hooked(event.engine.chains.onCollectionsImportRequest, facts, (e) =>
    importList(event, e.collectionsData, e.deleteMissing),
  )
}

async function importList(event: RequestEvent, list: readonly Json[], deleteMissing: boolean): Promise<Response> {
  const failure = 'Failed to import collections.'
  try {
    await importCollections(event.engine, list, deleteMissing)
  } catch (error) {
    if (error instanceof ValidationFailed) throw badRequest(failure, error.errors)
    const known = error instanceof RefusedError ? null : toApiError(error)
    if (known !== null) throw known
    const message = `Failed to import the collections configuration. Raw error:\n${driverMessage(error)}`
    throw badRequest(failure, { collections: { code: 'validation_collections_import_failure', message } })
  }
  return event.noContent()
}

function listScaffolds(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  const { auth, base, view } = scaffolds(event.engine)
  return event.json(200, { auth: collectionToJson(auth), base: collectionToJson(base), view: collectionToJson(view) })
}

function listOAuth2Providers(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  return event.json(
    200,
    oauth2Providers.map((each) => ({ name: each.name, displayName: each.displayName, logo: logoOf(each) })),
  )
}

async function dryRun(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { query } = readTexts(await readBody(event), 'query')
  check({ query: [query, required, lengthBetween(0, dryRunQueryMax)] })
  let result: Awaited<ReturnType<typeof dryRunView>>
  try {
    result = await dryRunView(event.engine, query)
  } catch (error) {
    throw badRequest(`Invalid view query. Raw error: \n${viewQueryMessage(error)}`)
  }
  return event.json(200, result)
}

const route = (method: string, path: string, handle: Handler): Route => ({
  method,
  path: `/api/collections${path}`,
  limit: 'path',
  handle,
})

export const collectionRoutes: readonly Route[] = [
  route('GET', '', listCollections),
  route('POST', '', create),
  route('GET', '/:collection', viewCollection),
  route('PATCH', '/:collection', update),
  route('DELETE', '/:collection', remove),
  route('DELETE', '/:collection/truncate', truncate),
  route('PUT', '/import', importAll),
  route('GET', '/meta/scaffolds', listScaffolds),
  route('GET', '/meta/oauth2-providers', listOAuth2Providers),
  route('POST', '/meta/dry-run-view', dryRun),
]
