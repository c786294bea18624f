// What superusers do to collections: create, change, delete, truncate, import, try out a view.
// PocketBase: apis/collection.go, core/collection_import.go.

import { SQLiteError } from 'bun:sqlite'
import { errorMessage } from '../../../lib/errors.ts'
import { randomText } from '../../../lib/id.ts'
import { findOAuth2Provider } from '../auth/oauth2/catalog.ts'
import { deleteRecordsOfCollection } from '../auth/system-records.ts'
import { driverMessage, viewQueryMessage } from '../db/driver-words.ts'
import { quoteName, type Row } from '../db/sql.ts'
import type { Engine } from '../engine.ts'
import { RefusedError, ValidationFailed } from '../errors.ts'
import { toText } from '../fields/cast.ts'
import { type Field, fieldToJson, isMultiple } from '../fields/field.ts'
import { createDeletedFilesTable } from '../files/deleted-files.ts'
import { FilterCompiler, ruleExpressionsMax } from '../filter/compile.ts'
import { Parameters } from '../filter/operand.ts'
import { FilterError } from '../filter/resolver.ts'
import { toSortedJson } from '../json/json-text.ts'
import { EngineRecord } from '../records/record.ts'
import { blankCollection } from '../schema/fresh.ts'
import type { ValidationError, ValidationErrors } from '../settings/checks.ts'
import { Collection, type CollectionData, type CollectionType } from './collection.ts'
import { mergeCollection, zeroAuthOptions } from './collection-json.ts'
import { hasCollectionShape } from './collection-shape.ts'
import { collectionsMax } from './collection-store.ts'
import { defaultCollectionId } from './default-fields.ts'
import { changeCollection, createChains, deleteChains, triggerCollection, updateChains } from './events.ts'
import { validateFieldSettings } from './field-settings.ts'
import { buildIndex, parseIndex } from './index-sql.ts'
import { type CollectionChecks, validateCollection } from './validate.ts'
import { normalizeViewQuery, withTextId } from './view-query.ts'

type Json = Readonly<Record<string, unknown>>

/** The JSON is no collection. */
export class CollectionFormatError extends RefusedError {}

const nobody = { context: 'default', method: '', query: {}, headers: {}, auth: null, body: {} } as const

/** What is wrong with a collection. @param original what is stored under its id, or null. */
async function problemsOf(
  engine: Engine,
  next: CollectionData,
  original: CollectionData | null,
): Promise<ValidationErrors | null> {
  const query = next.view?.viewQuery ?? ''
  const viewProblem = next.type === 'view' && query !== '' ? await viewProblemOf(engine, query) : null
  return validateCollection(next, original, checksOf(engine, viewProblem))
}

async function viewProblemOf(engine: Engine, query: string): Promise<string | null> {
  try {
    await dryRunView(engine, query)
    return null
  } catch (error) {
    return viewQueryMessage(error)
  }
}

function checksOf(engine: Engine, viewProblem: string | null): CollectionChecks {
  return {
    store: engine.collections,
    db: engine.data,
    rng: engine.rng,
    isOAuth2Provider: (name) => findOAuth2Provider(name) !== undefined,
    ruleProblem: (rule, data) => ruleProblem(engine, rule, data),
    viewProblem,
  }
}

function ruleProblem(engine: Engine, rule: string, data: CollectionData): string | null {
  const base = new Collection(data)
  const compiler = new FilterCompiler({
    base,
    request: nobody,
    findCollection: (nameOrId) =>
      nameOrId === data.id || nameOrId === data.name ? base : engine.collections.find(nameOrId),
    params: new Parameters(),
    allowHidden: true,
    nowMs: engine.clock.now(),
  })
  try {
    compiler.condition(rule, ruleExpressionsMax)
    return null
  } catch (error) {
    if (error instanceof FilterError) return error.message
    throw error
  }
}

function merge(current: CollectionData, json: Json): CollectionData {
  const type = typeof json['type'] === 'string' ? json['type'] : current.type
  if (!hasCollectionShape(json, type === 'auth' ? zeroAuthOptions : null))
    throw new CollectionFormatError('a member has another type than a collection has there')
  const merged = mergeCollection(current, json)
  if (!merged.ok)
    throw new CollectionFormatError(
      `missing or unknown field type in ${toSortedJson(fieldAt(json, merged.error.field))}`,
    )
  return merged.value
}

function fieldAt(json: Json, index: number): unknown {
  const { fields } = json
  return Array.isArray(fields) ? fields[index] : null
}

function typeOf(json: Json): CollectionType {
  const type = toText(json['type'])
  return type === 'auth' || type === 'view' ? type : 'base'
}

/** The id made of type and name, or the next free one; index texts that carry the old id follow. */
function withFreeId(engine: Engine, data: CollectionData): CollectionData {
  const base = defaultCollectionId(data.type, data.name)
  let id = base
  for (let suffix = 2; engine.collections.all().some((each) => each.id === id); suffix++) id = base + suffix
  if (id === data.id) return data
  const indexes = data.indexes.map((text) => {
    const index = parseIndex(text)
    const indexName = data.id === '' ? index.indexName : index.indexName.replaceAll(data.id, id)
    return indexName === index.indexName ? text : buildIndex({ ...index, indexName })
  })
  return { ...data, id, indexes }
}

/** With the fields of its query, if it is a view; none when the query is unusable, which validation then names. */
function withViewFields(engine: Engine, data: CollectionData): CollectionData {
  if (data.view === null) return data
  let fields: readonly Field[] = []
  try {
    fields = engine.collections.viewFieldsLoosely(data.view.viewQuery)
  } catch {
    // Reported as `viewQuery` by the validation, with SQLite's words.
  }
  return { ...data, fields }
}

function assertValid(errors: ValidationErrors | null): void {
  if (errors !== null) throw new ValidationFailed(errors)
}

/** What a client's JSON makes a new collection; not validated yet. Throws CollectionFormatError or RefusedError. */
export function newCollection(engine: Engine, json: Json): Collection {
  const { collections } = engine
  if (collections.all().length >= collectionsMax)
    throw new RefusedError(`there are ${collectionsMax} collections already`)
  const type = typeOf(json)
  const merged = merge(blankCollection(type, toText(json['name']), engine.rng), json)
  const typed = merged.type === ('' as CollectionType) ? { ...merged, type } : merged
  const hasOwnId = toText(json['id']) !== ''
  const normalized = collections.normalize(hasOwnId ? typed : withFreeId(engine, typed))
  return new Collection(withViewFields(engine, normalized))
}

/** Validates and stores a new collection. Throws ValidationFailed, RefusedError, or SQLite's error. */
export function saveNewCollection(engine: Engine, next: Collection): Promise<Collection> {
  return changeCollection(engine, createChains, next, async (given) => {
    await validate(engine, given, null)
    return (changed) => engine.collections.save(changed.data)
  })
}

/** Both at once: what a client's JSON makes, validated and stored. */
export async function createCollection(engine: Engine, json: Json): Promise<Collection> {
  return saveNewCollection(engine, newCollection(engine, json))
}

/** What a client's JSON makes of a collection. Throws CollectionFormatError. */
export function changedCollection(engine: Engine, collection: Collection, json: Json): Collection {
  return new Collection(withViewFields(engine, engine.collections.normalize(merge(collection.data, json))))
}

/** Validates and stores what `collection` becomes. Throws as {@link saveNewCollection}. */
export function saveChangedCollection(engine: Engine, collection: Collection, next: Collection): Promise<Collection> {
  return changeCollection(engine, updateChains, next, async (given) => {
    // In PocketBase, too, this comes before the validation.
    if (engine.collections.find(given.id) === undefined)
      throw new RefusedError('failed to retrieve old cached collection: sql: no rows in result set')
    await validate(engine, given, collection.data)
    return (changed) =>
      engine.transaction(async () => {
        const stored = await engine.collections.save(changed.data)
        if (stored.name !== collection.name) await engine.auth.collectionRenamed(collection.name, stored.name)
        return stored
      })
  })
}

/** Both at once, for a collection that exists. */
export async function updateCollection(engine: Engine, collection: Collection, json: Json): Promise<Collection> {
  return saveChangedCollection(engine, collection, changedCollection(engine, collection, json))
}

/** Deletes the collection, its records and, once that is committed, their files. */
export async function deleteCollection(engine: Engine, collection: Collection): Promise<void> {
  await changeCollection(engine, deleteChains, collection, async () => async () => {
    await engine.transaction(async () => {
      noteFiles(engine, collection)
      await engine.collections.delete(collection)
      await deleteRecordsOfCollection(engine, collection)
    })
    await deleteFiles(engine, collection)
    return collection
  })
}

async function validate(engine: Engine, next: Collection, original: CollectionData | null): Promise<void> {
  await triggerCollection(engine, 'onCollectionValidate', { collection: next }, async () =>
    assertValid(await problemsOf(engine, next.data, original)),
  )
}

/** In a fleet the files stay until retention has passed: their keys are noted with the change itself. */
function noteFiles({ files, data, clock }: Engine, collection: Collection): void {
  const fields = collection.fields.filter((field) => field.type === 'file')
  if (collection.isView || !files.keepsDeleted || fields.length === 0) return
  createDeletedFilesTable(data)
  const table = quoteName(collection.name)
  for (const field of fields) {
    const column = `${table}.${quoteName(field.name)}`
    const [source, name] = isMultiple(field)
      ? [`${table}, json_each(CASE WHEN json_valid(${column}) THEN ${column} ELSE '[]' END) AS item`, 'item.value']
      : [table, column]
    data.run(
      `INSERT OR REPLACE INTO \`_pfDeletedFiles\` (key, deletedAtMs)
         SELECT ? || '/' || ${table}.id || '/' || ${name}, ? FROM ${source} WHERE ${name} != ''`,
      [collection.id, clock.now()],
    )
  }
}

async function deleteFiles({ files, data, log }: Engine, collection: Collection): Promise<void> {
  if (collection.isView || files.keepsDeleted) return
  await data.afterCommit(async () => {
    try {
      await files.deletePrefix(`${collection.id}/`)
    } catch (error) {
      log.warn('files not deleted', { collection: collection.name, error: errorMessage(error) })
    }
  })
}

/** Records deleted between two looks at the table. */
const truncateBatch = 500

/** Deletes all records, with their cascades and hooks, in one transaction. Throws RefusedError. */
export async function truncateCollection(engine: Engine, collection: Collection): Promise<void> {
  const sql = `SELECT * FROM ${quoteName(collection.name)} LIMIT ${truncateBatch}`
  await engine.transaction(async () => {
    for (;;) {
      const rows = engine.data.all<Row>(sql)
      if (rows.length === 0) return
      for (const row of rows) {
        // A cascade of an earlier one may have taken it.
        const record = engine.records.findById(collection, toText(row['id']))
        if (record !== null) await engine.records.delete(record)
      }
    }
  })
}

export interface DryRun {
  readonly fields: readonly Record<string, unknown>[]
  readonly sample: readonly EngineRecord[]
}

const sampleSize = 10

/** Fields and first records of a view that is not stored. Throws RefusedError, or as Database.read does. */
export async function dryRunView(engine: Engine, viewQuery: string): Promise<DryRun> {
  const query = normalizeViewQuery(viewQuery)
  const fields = engine.collections.viewFields(query)
  const name = `temp_view_${randomText(engine.rng, 5)}`
  const data: CollectionData = { ...blankCollection('view', name, engine.rng), fields, view: { viewQuery: query } }
  const context = {
    next: data,
    original: null,
    findCollection: (nameOrId: string) => engine.collections.find(nameOrId),
    rng: engine.rng,
  }
  for (const [i, field] of fields.entries()) {
    const errors = validateFieldSettings(field, context)
    if (errors !== null) throw new RefusedError(`invalid field "${field.name}" (${i}): ${inOneLine(errors)}`)
  }
  const collection = new Collection(data)
  const table = `(SELECT * FROM (${withTextId(engine.data, query)}))`
  const rows = await engine.data.read<Row>(`SELECT * FROM ${table} AS ${quoteName(name)} LIMIT ${sampleSize}`)
  const sample = rows.map((row) => EngineRecord.fromRow(collection, row))
  if (sample.some((record) => record.id === ''))
    throw new RefusedError('the query could return records with empty or invalid ids')
  if (new Set(sample.map((record) => record.id)).size < sample.length)
    throw new RefusedError('the query could return records with non-unique ids')
  return { fields: fields.map(fieldToJson), sample }
}

/** The three kinds of collections as they start, without names. */
export function scaffolds(engine: Engine): Record<CollectionType, CollectionData> {
  const id = randomText(engine.rng, 10, 'abcdefghijklmnopqrstuvwxyz0123456789')
  const make = (type: CollectionType) => ({
    ...engine.collections.normalize(blankCollection(type, '', engine.rng, id)),
    id: '',
  })
  return { auth: make('auth'), base: make('base'), view: make('view') }
}

/**
 * Creates and changes many collections in one transaction; all of it or nothing.
 * @param deleteMissing deletes what is not in the list: collections with their records, and fields.
 */
export async function importCollections(engine: Engine, list: readonly Json[], deleteMissing: boolean): Promise<void> {
  const { collections } = engine
  const imported = list.map((json) => importedCollection(engine, json, deleteMissing)).sort(importOrder)
  const before = new Map(collections.all().map((each) => [each.id, each.data]))
  if (before.size + imported.filter((each) => !before.has(each.id)).length > collectionsMax)
    throw new RefusedError(`more than ${collectionsMax} collections`)
  await engine.transaction(async () => {
    if (deleteMissing) {
      for (const existing of collections.all()) {
        if (existing.data.system || imported.some((each) => each.id === existing.id)) continue
        await changeCollection(engine, deleteChains, existing, async () => async () => {
          noteFiles(engine, existing)
          await collections.delete(existing, true)
          await deleteRecordsOfCollection(engine, existing)
          await deleteFiles(engine, existing)
          return existing
        })
      }
    }
    for (const data of imported) {
      const chains = before.has(data.id) ? updateChains : createChains
      const save = async () => (changed: Collection) => collections.save(changed.data)
      try {
        // A list may name a new collection twice; the second one is no change of the first.
        if (!before.has(data.id) && collections.find(data.id)?.id === data.id)
          throw new RefusedError(`constraint failed: UNIQUE constraint failed: _collections.${doubled(data)}`)
        await changeCollection(engine, chains, new Collection(data), save)
      } catch (error) {
        if (!(error instanceof RefusedError || error instanceof SQLiteError)) throw error
        throw new RefusedError(`failed to save collection ${JSON.stringify(data.name)}: ${driverMessage(error)}`, {
          cause: error,
        })
      }
      const oldName = before.get(data.id)?.name ?? data.name
      if (oldName !== data.name) await engine.auth.collectionRenamed(oldName, data.name)
    }
    for (const { id } of imported) {
      const stored = collections.require(id).data
      const errors = await problemsOf(engine, stored, before.get(id) ?? stored)
      if (errors === null) continue
      const message = `Data validations failed for collection "${stored.name}" (${id}):\n${JSON.stringify(messages(errors), null, 2)}`
      throw ValidationFailed.of('collections', { code: 'validation_collections_import_failure', message })
    }
  })
}

/** What two new collections of a list have in common: where the id was made of the name, a free one is found for both. */
function doubled({ id, type, name }: CollectionData): string {
  return id === defaultCollectionId(type, name) ? 'name (2067)' : 'id (1555)'
}

/** Errors with their words only, as they are shown inside a message. */
function messages(errors: ValidationErrors): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(errors)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, error]) => [
        name,
        typeof error['message'] === 'string'
          ? plainWords(error as ValidationError)
          : messages(error as ValidationErrors),
      ]),
  )
}

/** Errors of a field's settings as Go joins them. */
function inOneLine(errors: ValidationErrors): string {
  const words = Object.entries(messages(errors)).map(([name, text]) => `${name}: ${String(text)}`)
  return `${words.join('; ')}.`
}

/** The messages of general checks are no sentences there. */
function plainWords({ code, message }: ValidationError): string {
  const isGeneral =
    /^validation_(?:required|empty|nil|in_invalid|not_in_invalid|match_invalid|length_|min_g|max_l)/.test(code)
  return isGeneral ? message[0]!.toLowerCase() + message.slice(1).replace(/\.$/, '') : message
}

/** Views last, for they may read what is imported with them. */
function importOrder(a: CollectionData, b: CollectionData): number {
  const rank = (each: CollectionData) => (each.type === 'view' ? 1 : 0)
  const byText = (x: string, y: string) => (x < y ? -1 : x > y ? 1 : 0)
  return rank(a) - rank(b) || byText(a.created, b.created) || byText(a.updated, b.updated)
}

function importedCollection(engine: Engine, json: Json, deleteMissing: boolean): CollectionData {
  const existing = engine.collections.find(toText(json['id']) || toText(json['name']))
  if (existing === undefined) {
    const id = toText(json['id'])
    const type = typeOf(json)
    const made = merge(blankCollection(type, toText(json['name']), engine.rng, id || undefined), json)
    const typed = toText(json['type']) === '' ? { ...made, type } : made
    return engine.collections.normalize(id === '' ? withFreeId(engine, typed) : typed)
  }
  const clears = (json['fields'] === undefined || json['fields'] === null) && deleteMissing
  const merged = merge(existing.data, clears ? { ...json, fields: [] } : json)
  return { ...merged, fields: withExistingFields(merged.fields, existing.fields, deleteMissing) }
}

/** System fields stay in any case, all others unless missing ones are to go. */
function withExistingFields(
  imported: readonly Field[],
  existing: readonly Field[],
  deleteMissing: boolean,
): readonly Field[] {
  const fields = [...imported]
  for (const field of existing) {
    if ((!field.system && deleteMissing) || fields.some((each) => each.id === field.id)) continue
    // A field of the same name and type is the same one under another id: its column must not be dropped.
    const at = fields.findIndex((each) => each.name === field.name && each.type === field.type)
    if (at >= 0) fields[at] = field
    else fields.push(field)
  }
  return fields
}
