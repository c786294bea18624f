// Field paths of filters, rules and sorts, resolved to columns and joins. Only names of known collections and fields
// ever become SQL text; everything a client sent becomes a parameter. PocketBase: core/record_field_resolver*.go.

import type { Collection } from '../collections/collection.ts'
import { findSingleColumnUniqueIndex } from '../collections/index-sql.ts'
import { quoteName, type SqlValue } from '../db/sql.ts'
import { formatFloat, toText, toTexts } from '../fields/cast.ts'
import { type Field, isMultiple, type RelationField } from '../fields/field.ts'
import { UploadedFile } from '../files/uploaded-file.ts'
import { JsonText, toJson } from '../json/json-text.ts'
import type { EngineRecord } from '../records/record.ts'
import {
  column,
  type Join,
  jsonEach,
  jsonExtract,
  jsonLength,
  type MultiMatch,
  nullOperand,
  type Parameters,
  type SqlOperand,
} from './operand.ts'

/** Relations that one path may follow. */
const relationsMax = 6
/** Joins of one statement; SQLite takes 64 tables. */
const joinsMax = 55

/** What rules may look at of a request. */
export interface RuleRequest {
  readonly context: string
  readonly method: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly auth: EngineRecord | null
  readonly body: Readonly<Record<string, unknown>>
}

/** The filter names what there is not, or what its author may not see. The words are PocketBase's. */
export class FilterError extends Error {}

export interface ResolverOptions {
  readonly base: Collection
  /** Alias of the base table; default: its name. */
  readonly baseAlias?: string
  /** What the base rows come from in sub-queries, for records that are not stored; default: the table. */
  readonly baseSource?: string
  readonly request: RuleRequest | null
  readonly findCollection: (nameOrId: string) => Collection | undefined
  readonly params: Parameters
  /** Rules see hidden fields, filters of clients do not. */
  readonly allowHidden: boolean
  /** Kept apart from the aliases of other resolvers over the same statement. */
  readonly suffix?: string
}

interface Step {
  collection: Collection
  alias: string
  multiAlias: string
  readonly multiJoins: Join[]
  isMulti: boolean
  /** In `@request.auth`, a missing field is NULL and no error. */
  readonly isLenient: boolean
}

export class Resolver {
  readonly #options: ResolverOptions
  readonly #joins: Join[] = []
  /** Joined collections whose list rule must let the client see what it filters by. */
  readonly #ruled = new Map<string, Collection>()
  #allowHidden: boolean

  constructor(options: ResolverOptions) {
    this.#options = options
    this.#allowHidden = options.allowHidden
  }

  get joins(): readonly Join[] {
    return this.#joins
  }

  /** List rules to add, by alias of the joined table. */
  get ruledJoins(): ReadonlyMap<string, Collection> {
    return this.#ruled
  }

  get baseAlias(): string {
    return this.#options.baseAlias ?? this.#options.base.name
  }

  /** From now on for what a client wrote (false) or a rule says (true). */
  set allowHidden(allow: boolean) {
    this.#allowHidden = allow
  }

  /** @param replace resolves a whole sub-filter, for `:changed`. Throws FilterError. */
  resolve(path: string, replace: (filter: string) => string): SqlOperand {
    if (!/^(?:@request\.|@collection\.\w+(?::\w+)?\.|)\w+[\w.:]*$/.test(path))
      throw new FilterError(`failed to resolve field ${quote(path)}`)
    const parts = path.split('.')
    if (parts[0] === '@collection') return this.#collectionField(parts)
    if (parts[0] === '@request') return this.#requestField(parts, replace)
    return this.#follow(this.#start(), parts)
  }

  #start(isLenient = false): Step {
    const { base } = this.#options
    const alias = this.baseAlias
    return { collection: base, alias, multiAlias: `__mm_${alias}`, multiJoins: [], isMulti: false, isLenient }
  }

  #alias(text: string): string {
    return text + (this.#options.suffix ?? '')
  }

  #join(join: Join, collection: Collection | null): void {
    if (collection !== null && !this.#allowHidden) {
      if (collection.data.listRule === null)
        throw new FilterError(
          `${quote(collection.name)} fields can be accessed only when allowHiddenFields is enabled or by superusers`,
        )
      this.#ruled.set(join.alias, collection)
    }
    if (this.#joins.some((each) => each.alias === join.alias)) return
    if (this.#joins.length >= joinsMax) throw new FilterError(`more than ${joinsMax} joins`)
    this.#joins.push(join)
  }

  #multi(step: Step, value: string): MultiMatch | null {
    if (!step.isMulti) return null
    const { base, baseSource } = this.#options
    const alias = this.baseAlias
    return {
      from: `${baseSource ?? quoteName(base.name)} \`__mm_${alias}\``,
      joins: step.multiJoins,
      value,
      where: `${column(`__mm_${alias}`, 'id')} = ${column(alias, 'id')}`,
    }
  }

  #collectionField(parts: readonly string[]): SqlOperand {
    const [name, given] = parts[1]!.split(':', 2)
    const collection = this.#options.findCollection(name!)
    if (parts.length < 3) throw new FilterError(`invalid @collection field path in ${quote(parts.join('.'))}`)
    if (collection === undefined)
      throw new FilterError(`failed to load collection ${quote(parts[1]!)} from field path ${quote(parts.join('.'))}`)
    const alias = this.#alias(given ? `__collection_alias_${given}` : `__collection_${collection.name}`)
    const source = (as: string) => `${quoteName(collection.name)} \`${as}\``
    this.#join({ source: source(alias), alias, on: null }, collection)
    const step = this.#start()
    step.multiAlias = `__mm_${alias}`
    step.multiJoins.push({ source: source(step.multiAlias), alias: step.multiAlias, on: null })
    return this.#follow({ ...step, collection, alias, isMulti: true }, parts.slice(2))
  }

  #requestField(parts: readonly string[], replace: (filter: string) => string): SqlOperand {
    const { request, base } = this.#options
    if (request === null) return nullOperand
    const [, area, name = ''] = parts
    if (area === 'auth') return this.#authField(parts, request)
    if (area === 'body' && parts.length > 2) {
      const [fieldName, modifier] = splitModifier(name)
      const field = base.field(fieldName)
      if (field?.type === 'relation' && parts.length > 3) return this.#bodyRelation(field, parts, request)
      if (field !== undefined && parts.length === 3 && modifier !== '' && modifier !== 'isset')
        return this.#bodyModifier(field, modifier, request, replace)
    }
    return this.#staticField(parts.slice(1), request)
  }

  #authField(parts: readonly string[], request: RuleRequest): SqlOperand {
    const { auth } = request
    if (auth === null) return nullOperand
    const [name] = splitModifier(parts[2] ?? '')
    const isPlain =
      parts.length === 3 &&
      (name === 'collectionId' ||
        name === 'collectionName' ||
        ['id', 'email', 'emailVisibility', 'verified'].includes(name))
    if (isPlain) return this.#staticField(parts.slice(1), request)
    const { collection } = auth
    const alias = this.#alias(`__auth_${collection.name}`)
    const source = (as: string) => `${quoteName(collection.name)} \`${as}\``
    const on = (as: string) => `${column(as, 'id')} = ${this.#options.params.add(auth.id)}`
    this.#join({ source: source(alias), alias, on: on(alias) }, null)
    const step = this.#start(true)
    step.multiAlias = `__mm_${alias}`
    step.multiJoins.push({ source: source(step.multiAlias), alias: step.multiAlias, on: on(step.multiAlias) })
    return this.#follow({ ...step, collection, alias }, parts.slice(2))
  }

  #bodyRelation(field: RelationField, parts: readonly string[], request: RuleRequest): SqlOperand {
    const target = this.#options.findCollection(field.collectionId)
    const ids = toTexts(request.body[field.name])
    if (target === undefined || ids.length === 0) return nullOperand
    const alias = this.#alias(`__data_${target.name}_${field.name}`)
    const source = (as: string) => `${quoteName(target.name)} \`${as}\``
    const list = ids.map((id) => this.#options.params.add(id)).join(', ')
    const on = (as: string) => `${column(as, 'id')} IN (${list})`
    this.#join({ source: source(alias), alias, on: on(alias) }, target)
    const step = this.#start(true)
    step.multiAlias = `__mm_${alias}`
    step.multiJoins.push({ source: source(step.multiAlias), alias: step.multiAlias, on: on(step.multiAlias) })
    return this.#follow({ ...step, collection: target, alias, isMulti: isMultiple(field) }, parts.slice(3))
  }

  #bodyModifier(field: Field, modifier: string, request: RuleRequest, replace: (filter: string) => string): SqlOperand {
    const { params } = this.#options
    const value = request.body[field.name]
    const list = value === null || value === undefined ? [] : Array.isArray(value) ? value : [value]
    const hasSeveral = field.type === 'select' || field.type === 'relation' || field.type === 'file'
    switch (modifier) {
      case 'lower':
        return { sql: `LOWER(${params.add(toText(value))})`, literal: toText(value), nulls: 'auto', multi: null }
      case 'changed': {
        const changed = replace(
          `@request.body.${field.name}:isset = true && @request.body.${field.name} != ${field.name}`,
        )
        // `x:changed = true` holds when it changed, `= false` when it did not.
        return { sql: `(${changed})`, nulls: 'disabled', multi: null }
      }
      case 'length':
        if (!hasSeveral) break
        return { sql: String(list.length), literal: list.length, nulls: 'auto', multi: null }
      case 'each': {
        if (!hasSeveral) break
        const json = params.add(toJson(list))
        const alias = this.#alias(`__dataEach_je_${field.name}`)
        const source = (as: string) => `json_each(${json}) \`${as}\``
        this.#join({ source: source(alias), alias, on: null }, null)
        const step = this.#start()
        const multiAlias = `__mm_${alias}`
        step.multiJoins.push({ source: source(multiAlias), alias: multiAlias, on: null })
        step.isMulti = isMultiple(field)
        return { sql: column(alias, 'value'), nulls: 'auto', multi: this.#multi(step, column(multiAlias, 'value')) }
      }
    }
    throw new FilterError(`field ${quote(field.name)} doesn't support multivalue operations`)
  }

  /** A plain value of the request: query, headers, body, auth members. */
  #staticField(path: readonly string[], request: RuleRequest): SqlOperand {
    const { params, base } = this.#options
    const [last, modifier] = splitModifier(path.at(-1)!)
    const keys = [...path.slice(0, -1), last]
    const { auth } = request
    const data: Readonly<Record<string, unknown>> = {
      context: request.context,
      method: request.method,
      query: request.query,
      headers: request.headers,
      body: request.body,
      auth:
        auth === null
          ? null
          : { ...auth.values, collectionId: auth.collection.id, collectionName: auth.collection.name },
    }
    let value: unknown = data
    let isSet = true
    for (const key of keys) {
      if (value instanceof JsonText) value = value.parse()
      const isObject = typeof value === 'object' && value !== null && !(value instanceof UploadedFile)
      isSet = isObject && Object.hasOwn(value as object, key)
      value = isSet ? (value as Record<string, unknown>)[key] : undefined
      if (!isSet) break
    }
    // The words, for SQLite reads `x IS NOT TRUE` in another way than `x IS NOT 1`.
    if (modifier === 'isset')
      return { sql: isSet ? 'TRUE' : 'FALSE', literal: isSet ? 1 : 0, nulls: 'auto', multi: null }
    if (modifier !== '' && modifier !== 'lower') throw new FilterError(`invalid modifier sequence ${last}:${modifier}`)
    const literal = toSqlValue(value, base.field(last)?.type === 'number')
    if (literal === null) return nullOperand
    if (modifier === 'lower') return { sql: `LOWER(${params.add(literal)})`, literal, nulls: 'auto', multi: null }
    const plain: SqlOperand = { sql: params.add(literal), literal, nulls: 'auto', multi: null }
    // The words are what a truth value matches, not the number that it is stored as.
    return typeof value === 'boolean' ? { ...plain, likeSql: (pattern) => pattern(String(value)) } : plain
  }

  #follow(step: Step, parts: readonly string[]): SqlOperand {
    for (const [index, part] of parts.entries()) {
      if (index === parts.length - 1) return this.#last(step, part)
      const field = step.collection.field(part)
      if (field?.hidden && !this.#allowHidden) throw new FilterError(`non-filterable field ${quote(part)}`)
      if (field?.type === 'json' || field?.type === 'geoPoint') return this.#json(step, field, parts.slice(index + 1))
      if (index >= relationsMax) throw new FilterError(`max nested relations reached for field ${quote(part)}`)
      if (field === undefined) {
        if (!this.#backRelation(step, part)) return nullOperand
        continue
      }
      if (field.type !== 'relation') throw new FilterError(`field ${quote(part)} is not a valid relation`)
      // The id of a single relation is the column itself.
      if (!isMultiple(field) && index === parts.length - 2 && parts[index + 1] === 'id') return this.#last(step, part)
      this.#relation(step, field)
    }
    throw new FilterError(`failed to resolve field ${quote(parts.join('.'))}`)
  }

  #json(step: Step, field: Field, rest: readonly string[]): SqlOperand {
    let path = ''
    for (const part of rest) {
      const clean = part.replace(/[^\w]/g, '')
      path += /^\d+$/.test(clean) ? `[${clean}]` : path === '' ? clean : `.${clean}`
    }
    const at = (alias: string) => jsonExtract(column(alias, field.name), path)
    return { sql: at(step.alias), nulls: 'disabled', multi: this.#multi(step, at(step.multiAlias)) }
  }

  #relation(step: Step, field: RelationField): void {
    const target = this.#options.findCollection(field.collectionId)
    if (target === undefined) throw new FilterError(`failed to load field ${quote(field.name)} collection`)
    const alias = this.#alias(`${step.alias}_${field.name}`)
    const multiAlias = `${step.multiAlias}_${field.name}`
    const add = (from: string, as: string, list: string, push: (join: Join, collection: Collection | null) => void) => {
      if (!isMultiple(field)) {
        const on = `${column(as, 'id')} = ${column(from, field.name)}`
        push({ source: `${quoteName(target.name)} \`${as}\``, alias: as, on }, target)
        return
      }
      push({ source: `${jsonEach(column(from, field.name))} \`${list}\``, alias: list, on: null }, null)
      const on = `${column(as, 'id')} = ${column(list, 'value')}`
      push({ source: `${quoteName(target.name)} \`${as}\``, alias: as, on }, target)
    }
    add(step.alias, alias, `__je_${alias}`, (join, collection) => this.#join(join, collection))
    add(step.multiAlias, multiAlias, `${multiAlias}_je`, (join) => step.multiJoins.push(join))
    step.collection = target
    step.alias = alias
    step.multiAlias = multiAlias
    step.isMulti ||= isMultiple(field)
  }

  /** `posts_via_author`: records of another collection that refer to this one. False when it may be missing. */
  #backRelation(step: Step, part: string): boolean {
    const match = /^(\w+)_via_(\w+)$/.exec(part)
    const other = match === null ? undefined : this.#options.findCollection(match[1]!)
    const name = match?.[2] ?? ''
    const field = other?.field(name)
    // Nothing can refer to a record that is not stored: PocketBase refuses rules of creates that ask for it.
    const isUnstored = this.#options.baseSource !== undefined && step.alias === this.baseAlias
    if (other === undefined || field?.type !== 'relation' || field.collectionId !== step.collection.id || isUnstored) {
      if (step.isLenient) return false
      if (match === null) throw new FilterError(`failed to resolve field ${quote(part)}`)
      if (other === undefined) throw new FilterError(`failed to load back relation field ${quote(part)} collection`)
      if (field === undefined) throw new FilterError(`missing back relation field ${quote(name)}`)
      if (field.type !== 'relation') throw new FilterError(`invalid back relation field ${quote(name)}`)
      throw new FilterError(`invalid collection reference of a back relation field ${quote(name)}`)
    }
    if (field.hidden && !this.#allowHidden) throw new FilterError(`non-filterable back relation field ${quote(name)}`)
    const on = (as: string, from: string) =>
      isMultiple(field)
        ? `${column(from, 'id')} IN (SELECT value FROM ${jsonEach(column(as, field.name))})`
        : `${column(as, field.name)} = ${column(from, 'id')}`
    const alias = this.#alias(`${step.alias}_${part}`)
    const multiAlias = this.#alias(`${step.multiAlias}_${part}`)
    this.#join({ source: `${quoteName(other.name)} \`${alias}\``, alias, on: on(alias, step.alias) }, other)
    step.multiJoins.push({
      source: `${quoteName(other.name)} \`${multiAlias}\``,
      alias: multiAlias,
      on: on(multiAlias, step.multiAlias),
    })
    step.isMulti ||= isMultiple(field) || findSingleColumnUniqueIndex(other.data.indexes, field.name) === null
    step.collection = other
    step.alias = alias
    step.multiAlias = multiAlias
    return true
  }

  #last(step: Step, part: string): SqlOperand {
    const [name, modifier] = splitModifier(part)
    const field = step.collection.field(name)
    if (field === undefined) {
      if (step.isLenient) return nullOperand
      throw new FilterError(`unknown field ${quote(name)}`)
    }
    if (field.hidden && !this.#allowHidden) throw new FilterError(`non-filterable field ${quote(name)}`)
    const own = column(step.alias, field.name)
    const again = column(step.multiAlias, field.name)
    const hasSeveral = field.type === 'select' || field.type === 'relation' || field.type === 'file'
    if (modifier === 'length' && hasSeveral)
      return { sql: jsonLength(own), nulls: 'auto', multi: this.#multi(step, jsonLength(again)) }
    if (modifier === 'each' && hasSeveral) {
      const alias = this.#alias(`__je_${step.alias}_${field.name}`)
      const multiAlias = this.#alias(`__je_${step.multiAlias}_${field.name}`)
      this.#join({ source: `${jsonEach(own)} \`${alias}\``, alias, on: null }, null)
      const multiJoins = [
        ...step.multiJoins,
        { source: `${jsonEach(again)} \`${multiAlias}\``, alias: multiAlias, on: null },
      ]
      const multi = this.#multi(
        { ...step, multiJoins, isMulti: step.isMulti || isMultiple(field) },
        column(multiAlias, 'value'),
      )
      return { sql: column(alias, 'value'), nulls: 'auto', multi }
    }
    const shape = (text: string) => {
      const base = field.type === 'json' ? jsonExtract(text, '') : text
      return modifier === 'lower' ? `LOWER(${base})` : base
    }
    const operand: SqlOperand = {
      sql: shape(own),
      nulls: field.type === 'json' ? 'disabled' : 'auto',
      multi: this.#multi(step, shape(again)),
    }
    const hidesEmail = field.name === 'email' && !this.#allowHidden && step.collection.isAuth
    if (!hidesEmail) return operand
    return { ...operand, wrap: (sql) => `(${sql} AND ${column(step.alias, 'emailVisibility')} = TRUE)` }
  }
}

const quote = (text: string) => JSON.stringify(text)

const modifiers = new Set(['isset', 'length', 'each', 'lower', 'changed'])

function splitModifier(part: string): [name: string, modifier: string] {
  const pieces = part.split(':')
  if (pieces.length !== 2) return [part, '']
  const [name, modifier] = pieces as [string, string]
  if (!modifiers.has(modifier)) throw new FilterError(`unknown modifier in ${quote(part)}`)
  return [name, modifier]
}

/** A request value as SQLite compares it: lists and objects as JSON text, uploads by what they are. */
function toSqlValue(value: unknown, isNumberField: boolean): SqlValue {
  if (value === null || value === undefined) return null
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'number') return value
  if (typeof value === 'string') {
    const number = isNumberField && value.trim() !== '' ? Number(value) : Number.NaN
    return Number.isNaN(number) ? value : number
  }
  if (value instanceof JsonText) return value.text
  if (typeof value === 'bigint') return formatFloat(Number(value))
  return toJson(value)
}
