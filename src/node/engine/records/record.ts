// One record in memory: values by field name, what they were when loaded, and what an answer may show of them.
// PocketBase: core/record_model.go.

import type { Collection } from '../collections/collection.ts'
import type { SqlValue } from '../db/sql.ts'
import { toBool } from '../fields/cast.ts'
import { kindOf } from '../fields/kinds.ts'
import type { FieldValue } from '../fields/value.ts'
import { writeJson } from '../json/json-text.ts'
import { writeRow } from './row-json.ts'

export type Values = Record<string, FieldValue>

export class EngineRecord {
  readonly collection: Collection
  /** As read; null once values were made of it, because it may then be outdated. */
  #row: Readonly<Record<string, SqlValue>> | null = null
  /** What {@link toJsonText} made of the row alone: one record can be expanded in many. */
  #rowText: { readonly showsEmail: boolean; readonly text: string } | null = null
  #values: Values | null
  #original: Readonly<Values> | null
  isNew: boolean
  /** Relations that were expanded, by field name; null when nothing was asked for. */
  expand: Record<string, EngineRecord | EngineRecord[]> | null = null
  /** Shows the e-mail whatever `emailVisibility` says: superusers, the owner, managers. */
  ignoreEmailVisibility = false
  /** Overrides `hidden` per key: true shows, false hides. */
  visibility: Record<string, boolean> | null = null
  /** Members beside the fields, for enrichment hooks. */
  extra: Record<string, unknown> | null = null

  private constructor(collection: Collection, values: Values | null, isNew: boolean) {
    this.collection = collection
    this.#values = values
    this.#original = isNew ? {} : values === null ? null : { ...values }
    this.isNew = isNew
  }

  /** Current values by field name. Change them with {@link set}; {@link setRaw} skips the casts. */
  get values(): Values {
    return this.#values ?? this.#load()
  }

  /** Values as loaded or last saved; empty for a new record. */
  get original(): Readonly<Values> {
    if (this.#original === null) this.#load()
    return this.#original!
  }

  set original(values: Readonly<Values>) {
    if (this.#values === null) this.#load()
    this.#original = values
  }

  /** Makes values of the row; most records are only shown, which needs none. */
  #load(): Values {
    const row = this.#row ?? {}
    const values: Values = {}
    for (const field of this.collection.fields)
      values[field.name] = kindOf(field).fromDriver(field, row[field.name] ?? null)
    this.#row = null
    this.#values = values
    this.#original = { ...values }
    return values
  }

  /** A new record with the zero value of every field. */
  static blank(collection: Collection): EngineRecord {
    const values: Values = {}
    for (const field of collection.fields) values[field.name] = kindOf(field).cast(field, null)
    return new EngineRecord(collection, values, true)
  }

  /** A stored record; columns that no field has are ignored. */
  static fromRow(collection: Collection, row: Readonly<Record<string, SqlValue>>): EngineRecord {
    const record = new EngineRecord(collection, null, false)
    record.#row = row
    return record
  }

  get id(): string {
    const stored = this.#row?.['id']
    return typeof stored === 'string' ? stored : (this.values['id'] as string)
  }

  get(name: string): FieldValue | undefined {
    return this.values[name]
  }

  /** One value, without making all the others of a row that may only be shown. */
  #peek(name: string): FieldValue | undefined {
    if (this.#row === null) return this.values[name]
    const field = this.collection.field(name)
    return field === undefined ? undefined : kindOf(field).fromDriver(field, this.#row[name] ?? null)
  }

  text(name: string): string {
    const value = this.#peek(name)
    return typeof value === 'string' ? value : ''
  }

  bool(name: string): boolean {
    return this.#peek(name) === true
  }

  /** The names or ids of a select, relation or file field, as a list whatever its number. */
  texts(name: string): string[] {
    const value = this.#peek(name)
    if (Array.isArray(value)) return value.filter((each): each is string => typeof each === 'string')
    return typeof value === 'string' && value !== '' ? [value] : []
  }

  /**
   * Sets a field by name, with its casts, or through a modifier: `name+`, `+name`, `name-`, `name:autogenerate`.
   * @returns false when no field and no modifier of a field has this key.
   */
  set(key: string, raw: unknown): boolean {
    const exact = this.collection.field(key)
    if (exact !== undefined) {
      kindOf(exact).set(this, exact, raw)
      return true
    }
    for (const field of this.collection.fields) {
      const modify = key.includes(field.name) ? kindOf(field).modifier?.(field, key) : undefined
      if (modify === undefined) continue
      modify(this, raw)
      return true
    }
    return false
  }

  setRaw(name: string, value: FieldValue): void {
    this.values[name] = value
  }

  /** The same record as loaded, without what was set since. */
  fresh(): EngineRecord {
    const copy = new EngineRecord(this.collection, { ...this.values, ...this.original }, this.isNew)
    copy.original = this.original
    return copy
  }

  /** A copy that can be changed apart, with the same state. */
  clone(): EngineRecord {
    const copy = new EngineRecord(this.collection, { ...this.values }, this.isNew)
    copy.original = this.original
    copy.expand = this.expand
    copy.ignoreEmailVisibility = this.ignoreEmailVisibility
    copy.visibility = this.visibility
    return copy
  }

  /** After a save: what is here is what is stored. */
  markSaved(): void {
    this.isNew = false
    this.original = { ...this.values }
  }

  /**
   * What an answer shows, keys in the order of their JSON.
   *
   * @param wants leaves out the keys for which it says false; null: none.
   */
  export(wants: ((key: string) => boolean) | null = null): Record<string, unknown> {
    const { collection, visibility } = this
    const exported: Record<string, unknown> = {}
    const keys =
      visibility === null && this.expand === null && this.extra === null ? collection.exportedKeys : this.#keys()
    const hidesEmail = collection.isAuth && !this.ignoreEmailVisibility && !this.bool('emailVisibility')
    for (const key of keys) {
      if (wants !== null && !wants(key)) continue
      if (collection.isAuth && (key === 'password' || key === 'tokenKey' || (hidesEmail && key === 'email'))) continue
      exported[key] = this.#show(key)
    }
    return exported
  }

  toJSON(): Record<string, unknown> {
    return this.export()
  }

  /**
   * The JSON of {@link export} as a part of an answer, see `writeJson`; straight from the row while nothing but the row
   * decides what is shown.
   */
  toJsonText(depth = 0): string {
    const row = this.#row
    if (row === null || this.visibility !== null || this.extra !== null) return writeJson(this.export(), depth + 1)
    const showsEmail = this.ignoreEmailVisibility || toBool(row['emailVisibility'])
    if (this.expand !== null) {
      const expand = writeJson(sortedExpand(this.expand), depth + 1)
      return writeRow(this.collection, row, { showsEmail, expand })
    }
    if (this.#rowText?.showsEmail !== showsEmail)
      this.#rowText = { showsEmail, text: writeRow(this.collection, row, { showsEmail, expand: null }) }
    return this.#rowText.text
  }

  /** Columns and driver values, for INSERT and UPDATE. */
  toRow(): Record<string, SqlValue> {
    const row: Record<string, SqlValue> = {}
    for (const field of this.collection.fields)
      row[field.name] = kindOf(field).toDriver(field, this.values[field.name]!)
    return row
  }

  #keys(): string[] {
    const keys = new Set<string>(this.collection.exportedKeys)
    if (this.extra !== null) for (const key of Object.keys(this.extra)) keys.add(key)
    if (this.expand !== null) keys.add('expand')
    for (const [key, visible] of Object.entries(this.visibility ?? {})) {
      if (visible && this.collection.field(key) !== undefined) keys.add(key)
      if (!visible) keys.delete(key)
    }
    return [...keys].sort()
  }

  #show(key: string): unknown {
    if (key === 'collectionId') return this.collection.id
    if (key === 'collectionName') return this.collection.name
    const field = this.collection.field(key)
    if (field !== undefined) return kindOf(field).show(field, this.#peek(key)!)
    if (key !== 'expand') return this.extra?.[key]
    return sortedExpand(this.expand ?? {})
  }
}

type Expand = Readonly<Record<string, EngineRecord | EngineRecord[]>>

function sortedExpand(expand: Expand): Expand {
  return Object.fromEntries(Object.entries(expand).sort(([a], [b]) => (a < b ? -1 : 1)))
}
