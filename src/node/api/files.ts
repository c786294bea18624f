// Stored files and their thumbs, and the tokens for protected ones. PocketBase: apis/file.go.

import { OverloadedError } from '../../lib/errors.ts'
import { newFileToken } from '../engine/auth/tokens.ts'
import { viewSources } from '../engine/collections/view-query.ts'
import { quoteName } from '../engine/db/sql.ts'
import type { FileField } from '../engine/fields/field.ts'
import { serveFile } from '../engine/files/serve.ts'
import { thumbOf } from '../engine/files/thumb-maker.ts'
import { parseThumbSize, ThumbError, thumbSizeDefault, thumbTypes } from '../engine/files/thumbs.ts'
import { FilterError } from '../engine/filter/resolver.ts'
import { isSuperuserIpAllowed } from '../engine/rate-limit/check.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { passesRule } from '../engine/rules/rules.ts'
import { checkCollectionLimit } from './auth-guards.ts'
import { notFound, unauthorized } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Views of views that are followed to the file; PocketBase's bound. */
const viewLevelsMax = 5

export function createFileToken(event: RequestEvent): Response | Promise<Response> {
  if (event.auth === null) throw unauthorized('The request requires valid record authorization token.')
  const { engine, auth } = event
  const facts = { requestEvent: event, record: auth, token: newFileToken(auth, engine.clock.now()) }
  return hooked(engine.chains.onFileTokenRequest, facts, (e) => event.json(200, { token: e.token }))
}

export async function downloadFile(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = engine.collections.find(event.param('collection'))
  if (!collection) throw notFound('Missing or invalid collection context.')
  checkCollectionLimit(event, collection, 'file')
  const record = await engine.records.find(collection, event.param('id'))
  if (record === null) throw notFound()
  const filename = event.param('filename')
  const field = fileFieldOf(record, filename)
  if (field === null) throw notFound()
  if (field.protected && !(await mayView(event, record))) throw notFound()
  const key = `${await ownerOfFile(event, record, field, filename)}/${filename}`
  const original = await engine.files.open(key)
  if (original === null) throw notFound()

  let served = { name: filename, key, file: original }
  let thumbError: unknown = null
  const size = event.query.get('thumb') ?? ''
  if ((size === thumbSizeDefault || field.thumbs?.includes(size)) && thumbTypes.has(original.contentType)) {
    try {
      if (parseThumbSize(size) !== null) served = await thumbOf(engine.files, engine.dir, { key, original, size })
      else thumbError = new ThumbError(`${size} is no size of a thumb`)
    } catch (error) {
      if (!(error instanceof ThumbError) && !(error instanceof OverloadedError)) throw error
      thumbError = error
      engine.log.warn('thumb not made, original served', { collection: collection.name, size, error })
    }
  }
  const passed = engine.gate.pass()
  if (passed !== undefined) await passed
  const facts = {
    requestEvent: event,
    collection,
    record,
    fileField: field,
    servedPath: served.key,
    servedName: served.name,
    thumbError,
  }
  return hooked(engine.chains.onFileDownloadRequest, facts, async (e) => {
    const file = e.servedPath === served.key ? served.file : await engine.files.open(e.servedPath)
    if (file === null) throw notFound()
    return serveFile(event.request, file, { name: e.servedName, download: event.query.get('download') ?? '' })
  })
}

function fileFieldOf(record: EngineRecord, filename: string): FileField | null {
  for (const field of record.collection.fields)
    if (field.type === 'file' && record.texts(field.name).includes(filename)) return field
  return null
}

/** Asks the view rule in the name of the `?token=`; the Authorization header does not count here. */
async function mayView(event: RequestEvent, record: EngineRecord): Promise<boolean> {
  const { engine } = event
  let auth = engine.auth.findByToken(event.query.get('token') ?? '', ['file'])
  if (auth?.collection.isSuperusers && !isSuperuserIpAllowed(engine.settings, event.realIp)) auth = null
  if (auth?.collection.isSuperusers) return true
  const rule = record.collection.data.viewRule
  if (rule === null) return false
  if (rule === '') return true
  try {
    return await passesRule(engine, record, rule, { ...event.info(), auth, context: 'protectedFile' })
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    engine.log.warn('view rule is broken', { collection: record.collection.name, error })
    return false
  }
}

/** `{collectionId}/{recordId}` that a file is stored under. Views show files of the collections they select from. */
async function ownerOfFile(
  event: RequestEvent,
  record: EngineRecord,
  field: FileField,
  filename: string,
): Promise<string> {
  if (!record.collection.isView) return `${record.collection.id}/${record.id}`
  const { engine } = event
  let [collection, name] = [record.collection, field.name]
  for (let level = 0; collection.isView && level < viewLevelsMax; level++) {
    const find = (nameOrId: string) => engine.collections.find(nameOrId)
    const source = viewSources(collection.data.view?.viewQuery ?? '', find, engine.rng).get(name)
    if (!source?.collection || !source.field) throw notFound()
    collection = source.collection
    name = source.field.name
  }
  if (collection.isView) throw notFound()
  const column = quoteName(name)
  const [row] = await engine.data.read<{ id: string }>(
    `SELECT id FROM ${quoteName(collection.name)} WHERE ${column} = ?
     OR (json_valid(${column}) AND json_type(${column}) = 'array'
     AND EXISTS (SELECT 1 FROM json_each(${column}) WHERE value = ?)) LIMIT 1`,
    [filename, filename],
  )
  if (row === undefined) throw notFound()
  return `${collection.id}/${row.id}`
}

export const fileRoutes: readonly Route[] = [
  { method: 'POST', path: '/api/files/token', limit: 'path', handle: createFileToken },
  { method: 'GET', path: '/api/files/:collection/:id/:filename', limit: 'own', handle: downloadFile },
]
