// The collections of one tenant: all of them in memory, read from `_collections` at open and after each change.

import type { Clock } from '../../../lib/clock.ts'
import { errorMessage } from '../../../lib/errors.ts'
import { randomText } from '../../../lib/id.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { RefusedError } from '../errors.ts'
import { formatDateTime } from '../fields/datetime.ts'
import { type Field, fieldToJson, type RelationField } from '../fields/field.ts'
import { type AuthOptions, Collection, type CollectionData, superusersName } from './collection.ts'
import { collectionFromRow, collectionToRow } from './collection-json.ts'
import { withDefaultFields } from './default-fields.ts'
import { buildIndex, isValidIndex, parseIndex } from './index-sql.ts'
import { syncTable } from './table-sync.ts'
import { assertViewId, normalizeViewQuery, queryColumns, viewFields, withTextId } from './view-query.ts'

/** Collections of one tenant; each costs memory in every worker that opens it. */
export const collectionsMax = 5_000

export interface CollectionReference {
  readonly collection: Collection
  readonly field: RelationField
}

export class CollectionStore {
  readonly #db: Database
  readonly #clock: Clock
  readonly #rng: Rng
  readonly #log: Logger | null
  #byId = new Map<string, Collection>()
  #byName = new Map<string, Collection>()
  #views: readonly Collection[] = []
  #version = 0

  constructor(deps: { readonly db: Database; readonly clock: Clock; readonly rng: Rng; readonly log?: Logger }) {
    this.#db = deps.db
    this.#clock = deps.clock
    this.#rng = deps.rng
    this.#log = deps.log ?? null
    this.reload()
  }

  /** Rises with every change: plans and statements made of collections are valid for one version. */
  get version(): number {
    return this.#version
  }

  all(): readonly Collection[] {
    return [...this.#byId.values()]
  }

  /** Those that are views. */
  views(): readonly Collection[] {
    return this.#views
  }

  /** By id, or by name without regard to case. */
  find(nameOrId: string): Collection | undefined {
    return this.#byName.get(nameOrId) ?? this.#byId.get(nameOrId) ?? this.#byName.get(nameOrId.toLowerCase())
  }

  /** For collections that every tenant has; a missing one is a damaged database. */
  require(nameOrId: string): Collection {
    const found = this.find(nameOrId)
    if (found === undefined) throw new RefusedError(`the collection ${nameOrId} is missing`)
    return found
  }

  /** Relation fields that point to a collection, by the name of their own collection; views are included. */
  references(target: Collection): CollectionReference[] {
    const found: CollectionReference[] = []
    for (const collection of this.#byId.values())
      for (const field of collection.fields)
        if (field.type === 'relation' && field.collectionId === target.id) found.push({ collection, field })
    return found.sort((a, b) => (a.collection.name < b.collection.name ? -1 : 1))
  }

  reload(): void {
    const byId = new Map<string, Collection>()
    const byName = new Map<string, Collection>()
    for (const row of this.#db.all<Row>('SELECT * FROM `_collections` ORDER BY rowid')) {
      const collection = new Collection(collectionFromRow(row))
      byId.set(collection.id, collection)
      byName.set(collection.name, collection)
      const lower = collection.name.toLowerCase()
      if (!byName.has(lower)) byName.set(lower, collection)
    }
    this.#byId = byId
    this.#byName = byName
    this.#views = [...byId.values()].filter((each) => each.isView)
    this.#version++
  }

  /**
   * Stores a new or changed collection and its table or view, in one transaction; views over it follow. The caller has
   * validated it. Throws ValidationFailed for indexes that SQLite refuses, RefusedError for an unusable view query.
   * @returns what was stored, with defaults and times.
   */
  async save(given: CollectionData): Promise<Collection> {
    const old = this.#byId.get(given.id) ?? null
    await this.#change(() => {
      const next = this.#prepare(given, old)
      if (next.view !== null) this.#saveView(next, next.view.viewQuery, old)
      const row = collectionToRow(next)
      const names = Object.keys(row)
      if (old === null) {
        const sql = `INSERT INTO \`_collections\` (${names.map(quoteName).join(', ')}) VALUES (${names.map(() => '?').join(', ')})`
        this.#db.run(sql, Object.values(row))
      } else {
        const sql = `UPDATE \`_collections\` SET ${names.map((name) => `${quoteName(name)} = ?`).join(', ')} WHERE id = ?`
        this.#db.run(sql, [...Object.values(row), old.id])
      }
      syncTable(this.#db, next, old?.data ?? null, () => randomText(this.#rng, 5))
    })
    await this.#resaveViews(given.id)
    return this.#byId.get(given.id)! // by id alone: another one may be called so
  }

  /** The collection as it will be stored: system fields and indexes present, index texts on its own table. */
  normalize(given: CollectionData): CollectionData {
    const named = withDefaultFields(given)
    const indexes = named.indexes.map((text) => {
      const index = parseIndex(text)
      return index.tableName === named.name || !isValidIndex({ ...index, tableName: named.name })
        ? text
        : buildIndex({ ...index, tableName: named.name })
    })
    return { ...named, indexes, auth: named.auth && withKnownMappedFields(named.auth, named) }
  }

  /** The fields a view over `query` has. Throws RefusedError or SQLite's error for an unusable query. */
  viewFields(query: string): Field[] {
    const fields = this.viewFieldsLoosely(query)
    assertViewId(fields)
    return fields
  }

  /** The same, also where the required id is missing. */
  viewFieldsLoosely(query: string): Field[] {
    return viewFields(this.#db, query, (name) => this.#byName.get(name), this.#rng)
  }

  #prepare(given: CollectionData, old: Collection | null): CollectionData {
    const now = formatDateTime(this.#clock.now())
    const created = old === null ? now : given.created
    const next = withSuperuserLimits(this.normalize({ ...given, created, updated: now }))
    if (next.view !== null) return { ...next, fields: this.viewFields(next.view.viewQuery) }
    const oldAuth = old?.data.auth ?? null
    if (next.auth === null || oldAuth === null || (oldAuth.authRule ?? '') === (next.auth.authRule ?? '')) return next
    // Tokens given out under another rule end with it.
    return { ...next, auth: { ...next.auth, authToken: { ...next.auth.authToken, secret: randomText(this.#rng, 50) } } }
  }

  #saveView(next: CollectionData, query: string, old: Collection | null): void {
    if (old !== null) this.#db.exec(`DROP VIEW IF EXISTS ${quoteName(old.name)}`)
    this.#db.exec(`DROP VIEW IF EXISTS ${quoteName(next.name)}`)
    this.#db.run(`CREATE VIEW ${quoteName(next.name)} AS SELECT * FROM (${withTextId(this.#db, query)})`)
    this.#db.all(`SELECT 1 FROM ${quoteName(next.name)} LIMIT 0`)
  }

  /**
   * Views whose fields change with the collection that was saved. As in PocketBase all of them follow or none: while one
   * is broken, which is logged, the others keep their fields too.
   */
  async #resaveViews(savedId: string): Promise<void> {
    const views = this.#views.filter((view) => view.id !== savedId)
    if (views.filter((view) => this.#isBroken(view)).length > 0) return
    for (const view of views) if (!this.#hasSameFields(view)) await this.save(view.data)
  }

  #isBroken(view: Collection): boolean {
    try {
      this.viewFields(view.data.view!.viewQuery)
      return false
    } catch (error) {
      this.#log?.warn('view needs an update', { collection: view.name, error: errorMessage(error) })
      return true
    }
  }

  #hasSameFields(view: Collection): boolean {
    const shape = (fields: readonly Field[]) => JSON.stringify(fields.map((field) => fieldToJson({ ...field, id: '' })))
    return shape(this.viewFields(view.data.view!.viewQuery)) === shape(view.fields)
  }

  /**
   * Removes a collection and its table. Throws RefusedError for system collections and, unless `isForced`, while
   * relations or views depend on it.
   */
  async delete(collection: Collection, isForced = false): Promise<void> {
    if (collection.data.system) throw new RefusedError(`${collection.name} is a system collection`)
    const references = isForced
      ? []
      : this.references(collection).filter((each) => each.collection.id !== collection.id)
    if (references.length > 0) {
      const names = [...new Set(references.map((each) => each.collection.name))].join(', ')
      throw new RefusedError(`${collection.name} is referenced by ${names}`)
    }
    await this.#change(() => {
      this.#db.exec(`DROP ${collection.isView ? 'VIEW' : 'TABLE'} IF EXISTS ${quoteName(collection.name)}`)
      this.#db.run('DELETE FROM `_collections` WHERE id = ?', [collection.id])
      if (isForced) return
      for (const view of this.all())
        if (view.data.view !== null && view.id !== collection.id) this.#checkView(view, view.data.view.viewQuery)
    })
  }

  #checkView(view: Collection, query: string): void {
    try {
      queryColumns(this.#db, normalizeViewQuery(query))
    } catch (error) {
      throw new RefusedError(`the view ${view.name} depends on it`, { cause: error })
    }
  }

  /** Runs `body` in a transaction; the cache follows its outcome, also inside an outer transaction. */
  async #change(body: () => void): Promise<void> {
    await this.#db.transaction(() => {
      this.#db.afterRollback(() => this.reload())
      body()
      this.reload()
    })
    if (!this.#db.inTransaction) this.reload()
  }
}

/** Sign-up by OAuth2 fills fields by name; names of fields that are gone are dropped. */
function withKnownMappedFields(auth: AuthOptions, { fields }: CollectionData): AuthOptions {
  const known = (name: string) => (fields.some((field) => field.name === name) ? name : '')
  const { id, name, username, avatarURL } = auth.oauth2.mappedFields
  const mappedFields = { id: known(id), name: known(name), username: known(username), avatarURL: known(avatarURL) }
  return { ...auth, oauth2: { ...auth.oauth2, mappedFields } }
}

/** Nobody may become a superuser, or lock all of them out, by an option: no OAuth2, always passwords, OTP only with MFA. */
function withSuperuserLimits(data: CollectionData): CollectionData {
  if (data.name !== superusersName || data.auth === null) return data
  const { oauth2, passwordAuth, mfa, otp } = data.auth
  const auth: AuthOptions = {
    ...data.auth,
    oauth2: { ...oauth2, providers: [], enabled: false },
    passwordAuth: { ...passwordAuth, enabled: true },
    mfa: { ...mfa, enabled: mfa.enabled || otp.enabled },
  }
  return { ...data, auth }
}
