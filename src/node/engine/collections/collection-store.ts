// The collections of one tenant: all of them in memory, read from `_collections` at open and after each change.

import type { Clock } from '../../../lib/clock.ts'
import { randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { RefusedError } from '../errors.ts'
import { formatDateTime } from '../fields/datetime.ts'
import type { RelationField } from '../fields/field.ts'
import { Collection, type CollectionData } from './collection.ts'
import { collectionFromRow, collectionToRow } from './collection-json.ts'
import { withDefaultFields } from './default-fields.ts'
import { buildIndex, isValidIndex, parseIndex } from './index-sql.ts'
import { syncTable } from './table-sync.ts'

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
  #byId = new Map<string, Collection>()
  #byName = new Map<string, Collection>()
  #version = 0

  constructor(deps: { readonly db: Database; readonly clock: Clock; readonly rng: Rng }) {
    this.#db = deps.db
    this.#clock = deps.clock
    this.#rng = deps.rng
    this.reload()
  }

  /** Rises with every change: plans and statements made of collections are valid for one version. */
  get version(): number {
    return this.#version
  }

  all(): readonly Collection[] {
    return [...this.#byId.values()]
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
    this.#version++
  }

  /**
   * Stores a new or changed collection and its table, in one transaction. The caller has validated it.
   * @returns what was stored, with defaults and times.
   */
  async save(given: CollectionData): Promise<Collection> {
    const old = this.#byId.get(given.id) ?? null
    const now = formatDateTime(this.#clock.now())
    const named = withDefaultFields({
      ...given,
      created: old === null && given.created === '' ? now : given.created,
      updated: now,
    })
    const indexes = named.indexes.map((text) => {
      const index = parseIndex(text)
      return index.tableName === named.name || !isValidIndex({ ...index, tableName: named.name })
        ? text
        : buildIndex({ ...index, tableName: named.name })
    })
    const next: CollectionData = { ...named, indexes }
    await this.#change(() => {
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
    return this.require(next.id)
  }

  /** Removes a collection and its table. Throws RefusedError while others refer to it, and for system collections. */
  async delete(collection: Collection): Promise<void> {
    if (collection.data.system) throw new RefusedError(`${collection.name} is a system collection`)
    const references = this.references(collection).filter((each) => each.collection.id !== collection.id)
    if (references.length > 0) {
      const names = [...new Set(references.map((each) => each.collection.name))].join(', ')
      throw new RefusedError(`${collection.name} is referenced by ${names}`)
    }
    await this.#change(() => {
      this.#db.exec(`DROP ${collection.isView ? 'VIEW' : 'TABLE'} IF EXISTS ${quoteName(collection.name)}`)
      this.#db.run('DELETE FROM `_collections` WHERE id = ?', [collection.id])
    })
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
