// Whether JSON from a client has the types of a collection. PocketBase decodes it into structs, which refuse a text where
// a number belongs; casting it here would store what nobody meant.

import { fieldDefaults, isFieldType } from '../fields/field.ts'
import { withProperNames } from '../json/member.ts'
import type { AuthOptions } from './collection.ts'

type Json = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

const common = {
  id: '',
  name: '',
  type: '',
  system: false,
  indexes: [],
  listRule: '',
  viewRule: '',
  createRule: '',
  updateRule: '',
  deleteRule: '',
  viewQuery: '',
  created: '',
  updated: '',
} as const

const providerShape = {
  name: '',
  clientId: '',
  clientSecret: '',
  authURL: '',
  tokenURL: '',
  userInfoURL: '',
  displayName: '',
  pkce: false,
} as const

/** The JSON with its members under their proper names, those of its fields as well. */
export function withCollectionNames(json: Json, auth: AuthOptions): Json {
  const proper = withProperNames(json, [...Object.keys(common), ...Object.keys(auth), 'fields'])
  const { fields } = proper
  if (!Array.isArray(fields)) return proper
  const named = fields.map((field: unknown) => {
    if (!isObject(field)) return field
    const typed = withProperNames(field, ['type'])
    return isFieldType(typed['type'])
      ? withProperNames(typed, ['id', 'name', ...Object.keys(fieldDefaults[typed['type']])])
      : typed
  })
  return { ...proper, fields: named }
}

/** @param auth zero values of every auth option; null for other types. */
export function hasCollectionShape(json: Json, auth: AuthOptions | null): boolean {
  if (!fits(json, common)) return false
  const { fields } = json
  if (fields !== undefined && fields !== null && !(Array.isArray(fields) && fields.every(isField))) return false
  if (auth === null) return true
  const { oauth2, authRule: _rule, manageRule: _manage, ...rest } = auth
  const { providers: _providers, ...oauth2Rest } = oauth2
  const shape = { ...rest, oauth2: oauth2Rest, authRule: '', manageRule: '' }
  if (!fits(json, shape)) return false
  const providers = (json['oauth2'] as Json | null | undefined)?.['providers']
  if (providers === undefined || providers === null) return true
  return Array.isArray(providers) && providers.every((each) => isObject(each) && fits(each, providerShape))
}

/** Unknown types are refused elsewhere, by name. */
function isField(json: unknown): boolean {
  if (!isObject(json)) return false
  if (!isFieldType(json['type'])) return true
  const shape: Record<string, unknown> = { id: '', name: '', ...fieldDefaults[json['type']] }
  // Null is both "no bound" and "no list" among the defaults.
  for (const [key, zero] of Object.entries(shape)) if (zero === null) shape[key] = json['type'] === 'number' ? 0.5 : []
  return fits(json, shape)
}

/** Whether every member that is given has the type of its zero value; null always fits. A fraction allows fractions. */
function fits(given: unknown, shape: unknown): boolean {
  if (given === undefined || given === null) return true
  if (Array.isArray(shape))
    return Array.isArray(given) && given.every((each) => each === null || typeof each === 'string')
  if (isObject(shape)) return isObject(given) && Object.entries(shape).every(([key, zero]) => fits(given[key], zero))
  if (typeof shape === 'number')
    return typeof given === 'number' && (!Number.isInteger(shape) || Number.isInteger(given))
  return typeof given === typeof shape
}
