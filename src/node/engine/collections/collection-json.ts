// A collection between its forms: the row of `_collections`, JSON from a client, JSON to a client.

import { err, ok, type Result } from '../../../lib/result.ts'
import type { Row, SqlValue } from '../db/sql.ts'
import { toBool, toNumber, toText } from '../fields/cast.ts'
import { toDateTime } from '../fields/datetime.ts'
import { type Field, fieldDefaults, fieldToJson, isFieldType } from '../fields/field.ts'
import { toJson } from '../json/json-text.ts'
import type { AuthOptions, CollectionData, CollectionType, Rule } from './collection.ts'
import { addField, defaultFieldId } from './default-fields.ts'

type Json = Readonly<Record<string, unknown>>

function parse(text: SqlValue | undefined): unknown {
  const source = text instanceof Uint8Array ? new TextDecoder().decode(text) : text
  if (typeof source !== 'string' || source === '') return null
  try {
    return JSON.parse(source)
  } catch {
    return null // a row that somebody edited by hand; the caller falls back to defaults and validation reports the rest
  }
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** One option in the form of its default; what has another type becomes the zero value, or null where it may be. */
function castOption(given: unknown, zero: unknown): unknown {
  if (given === undefined) return zero
  if (typeof zero === 'boolean') return toBool(given)
  if (typeof zero === 'number') return toNumber(given)
  if (typeof zero === 'string') return toText(given)
  if (Array.isArray(zero)) return Array.isArray(given) ? given.map(toText) : []
  if (given === null) return null
  return Array.isArray(given) ? given.map(toText) : typeof given === 'string' && given !== '' ? toNumber(given) : given
}

/**
 * A field from its JSON, missing options filled with their zero values, a missing id made of type and name.
 * @returns null for an unknown type.
 */
export function readField(json: unknown, collectionOf?: (field: Field) => Field): Field | null {
  if (!isObject(json) || !isFieldType(json['type'])) return null
  const { type } = json
  const defaults = fieldDefaults[type] as Json
  const options: Record<string, unknown> = {}
  for (const [key, zero] of Object.entries(defaults)) options[key] = castOption(json[key], zero)
  if (type === 'date') for (const key of ['min', 'max']) options[key] = toDateTime(json[key])
  const name = toText(json['name'])
  const id = toText(json['id']) || defaultFieldId(type, name)
  const field = { id, name, type, ...options } as unknown as Field
  return collectionOf ? collectionOf(field) : field
}

/** Fields of a stored or sent list; the index of the first unknown type is the error. */
export function readFields(json: unknown): Result<readonly Field[], number> {
  const list = typeof json === 'string' ? parse(json) : json
  if (!Array.isArray(list)) return ok([])
  const fields: Field[] = []
  for (const [index, each] of list.entries()) {
    const field = readField(each)
    if (field === null) return err(index)
    addField(fields, field, toText((each as Json)['id']) !== '')
  }
  return ok(fields)
}

function readRule(value: unknown): Rule {
  return value === null || value === undefined ? null : toText(value)
}

/** Loads given options over others, member by member, as Go's decoder does; unknown members are ignored. */
function mergeOptions<T>(current: T, given: unknown): T {
  if (given === undefined) return current
  if (Array.isArray(current)) return (Array.isArray(given) ? given : []) as T
  if (isObject(current) && current !== null) {
    if (!isObject(given)) return current
    const merged: Record<string, unknown> = {}
    for (const [key, value] of Object.entries(current))
      merged[key] = key === 'rule' ? toText(given[key] ?? value) : mergeOptions(value, given[key])
    return merged as T
  }
  if (typeof current === 'boolean') return (given === null ? current : toBool(given)) as T
  if (typeof current === 'number') return (given === null ? current : toNumber(given)) as T
  if (typeof current === 'string') return (given === null ? current : toText(given)) as T
  return given as T
}

const emptyProvider = {
  pkce: null,
  name: '',
  clientId: '',
  clientSecret: '',
  authURL: '',
  tokenURL: '',
  userInfoURL: '',
  displayName: '',
  extra: null,
}

type Providers = AuthOptions['oauth2']['providers']

/** Null is none, anything else but a list changes nothing; a provider without its secret keeps the one it has. */
function mergeProviders(current: Providers, given: unknown): Providers {
  if (given === null) return []
  if (!Array.isArray(given)) return current
  return given.filter(isObject).map((each) => {
    const provider = mergeOptions(emptyProvider, each) as unknown as Providers[number]
    const extra = isObject(each['extra']) ? each['extra'] : null
    const pkce = typeof each['pkce'] === 'boolean' ? each['pkce'] : null
    const known = current.find(({ name }) => name === provider.name)
    return { ...provider, pkce, extra, clientSecret: provider.clientSecret || (known?.clientSecret ?? '') }
  })
}

/** Auth options from JSON over `current`: rules may be null, token secrets and client secrets stay unless given. */
export function mergeAuthOptions(current: AuthOptions, given: Json): AuthOptions {
  const { authRule, manageRule, oauth2, ...rest } = current
  const merged = mergeOptions(rest, given) as Omit<AuthOptions, 'authRule' | 'manageRule' | 'oauth2'>
  const givenOAuth2 = isObject(given['oauth2']) ? given['oauth2'] : {}
  const { providers, ...oauth2Rest } = oauth2
  const mergedOAuth2 = mergeOptions(oauth2Rest, givenOAuth2)
  return {
    authRule: 'authRule' in given ? readRule(given['authRule']) : authRule,
    manageRule: 'manageRule' in given ? readRule(given['manageRule']) : manageRule,
    authAlert: merged.authAlert,
    oauth2: { providers: mergeProviders(providers, givenOAuth2['providers']), ...mergedOAuth2 },
    ...pick(merged, authOptionOrder),
  } as AuthOptions
}

const authOptionOrder = [
  'passwordAuth',
  'mfa',
  'otp',
  'authToken',
  'passwordResetToken',
  'emailChangeToken',
  'verificationToken',
  'fileToken',
  'verificationTemplate',
  'resetPasswordTemplate',
  'confirmEmailChangeTemplate',
] as const

function pick<T extends object>(from: T, keys: readonly string[]): Partial<T> {
  return Object.fromEntries(keys.map((key) => [key, (from as Record<string, unknown>)[key]])) as Partial<T>
}

/** A stored collection. Missing keys of old rows get their zero values. */
export function collectionFromRow(row: Row): CollectionData {
  const type = toText(row['type']) as CollectionType
  const options = parse(row['options'])
  const given = isObject(options) ? options : {}
  const fields = readFields(toText(row['fields']))
  const indexes = parse(row['indexes'])
  return {
    id: toText(row['id']),
    name: toText(row['name']),
    type,
    system: toBool(row['system']),
    fields: fields.ok ? fields.value : [],
    indexes: Array.isArray(indexes) ? indexes.map(toText) : [],
    listRule: readRule(row['listRule']),
    viewRule: readRule(row['viewRule']),
    createRule: readRule(row['createRule']),
    updateRule: readRule(row['updateRule']),
    deleteRule: readRule(row['deleteRule']),
    auth: type === 'auth' ? mergeAuthOptions(zeroAuthOptions, given) : null,
    view: type === 'view' ? { viewQuery: toText(given['viewQuery']) } : null,
    created: toText(row['created']),
    updated: toText(row['updated']),
  }
}

const zeroTemplate = { subject: '', body: '' }
const zeroToken = { secret: '', duration: 0 }

/** Every auth option with its zero value: what a missing key in a stored row means. */
export const zeroAuthOptions: AuthOptions = {
  authRule: null,
  manageRule: null,
  authAlert: { enabled: false, emailTemplate: zeroTemplate },
  oauth2: { providers: [], mappedFields: { id: '', name: '', username: '', avatarURL: '' }, enabled: false },
  passwordAuth: { enabled: false, identityFields: [] },
  mfa: { enabled: false, duration: 0, rule: '' },
  otp: { enabled: false, duration: 0, length: 0, emailTemplate: zeroTemplate },
  authToken: zeroToken,
  passwordResetToken: zeroToken,
  emailChangeToken: zeroToken,
  verificationToken: zeroToken,
  fileToken: zeroToken,
  verificationTemplate: zeroTemplate,
  resetPasswordTemplate: zeroTemplate,
  confirmEmailChangeTemplate: zeroTemplate,
}

function authToStored(auth: AuthOptions): Readonly<Record<string, unknown>> {
  const token = ({ secret, duration }: { secret: string; duration: number }) => ({
    secret: secret || undefined,
    duration,
  })
  const providers = auth.oauth2.providers.map((each) => ({ ...each, clientSecret: each.clientSecret || undefined }))
  return {
    ...auth,
    oauth2: { ...auth.oauth2, providers: providers.length > 0 ? providers : null }, // a list that Go never filled
    authToken: token(auth.authToken),
    passwordResetToken: token(auth.passwordResetToken),
    emailChangeToken: token(auth.emailChangeToken),
    verificationToken: token(auth.verificationToken),
    fileToken: token(auth.fileToken),
  }
}

function authToPublic(auth: AuthOptions): Record<string, unknown> {
  const providers = auth.oauth2.providers.map((each) => ({ ...each, clientSecret: undefined }))
  const hidden = { ...authToStored(auth), oauth2: { ...auth.oauth2, providers } } as Record<string, unknown>
  for (const key of ['authToken', 'passwordResetToken', 'emailChangeToken', 'verificationToken', 'fileToken'])
    hidden[key] = { duration: (hidden[key] as { duration: number }).duration }
  return hidden
}

/** Column values in the order of the table. */
export function collectionToRow(data: CollectionData): Record<string, SqlValue> {
  return {
    id: data.id,
    system: data.system ? 1 : 0,
    type: data.type,
    name: data.name,
    fields: toJson(data.fields.map(fieldToJson)),
    indexes: toJson(data.indexes),
    listRule: data.listRule,
    viewRule: data.viewRule,
    createRule: data.createRule,
    updateRule: data.updateRule,
    deleteRule: data.deleteRule,
    options: data.auth ? toJson(authToStored(data.auth)) : data.view ? toJson(data.view) : '{}',
    created: data.created,
    updated: data.updated,
  }
}

/** What a superuser sees, members in PocketBase's order. Secrets are left out. */
export function collectionToJson(data: CollectionData): Record<string, unknown> {
  return {
    id: data.id,
    listRule: data.listRule,
    viewRule: data.viewRule,
    createRule: data.createRule,
    updateRule: data.updateRule,
    deleteRule: data.deleteRule,
    name: data.name,
    type: data.type,
    fields: data.fields.map(fieldToJson),
    indexes: data.indexes,
    created: data.created,
    updated: data.updated,
    system: data.system,
    ...(data.auth && authToPublic(data.auth)),
    ...(data.view && { viewQuery: data.view.viewQuery }),
  }
}

/** JSON from a client over a collection; unknown members are ignored. */
export function mergeCollection(current: CollectionData, json: Json): Result<CollectionData, { field: number }> {
  const fields = 'fields' in json ? readFields(json['fields']) : ok(current.fields)
  if (!fields.ok) return err({ field: fields.error })
  const text = (key: 'id' | 'name' | 'type') =>
    json[key] === undefined || json[key] === null ? current[key] : toText(json[key])
  const rule = (key: 'listRule' | 'viewRule' | 'createRule' | 'updateRule' | 'deleteRule') =>
    key in json ? readRule(json[key]) : current[key]
  const type = text('type') as CollectionType
  return ok({
    ...current,
    id: text('id'),
    name: text('name'),
    type,
    system: json['system'] === undefined || json['system'] === null ? current.system : toBool(json['system']),
    fields: fields.value,
    created: 'created' in json ? toDateTime(json['created']) : current.created, // what is new is made now, whatever it says
    indexes: Array.isArray(json['indexes']) ? json['indexes'].map(toText) : 'indexes' in json ? [] : current.indexes,
    listRule: rule('listRule'),
    viewRule: rule('viewRule'),
    createRule: rule('createRule'),
    updateRule: rule('updateRule'),
    deleteRule: rule('deleteRule'),
    auth: type === 'auth' ? mergeAuthOptions(current.auth ?? zeroAuthOptions, json) : null,
    view:
      type === 'view'
        ? { viewQuery: 'viewQuery' in json ? toText(json['viewQuery']) : (current.view?.viewQuery ?? '') }
        : null,
  })
}
