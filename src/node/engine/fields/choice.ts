// select and relation: one text, or a JSON list of them. PocketBase: core/field_select.go, field_relation.go.

import { quoteName } from '../db/sql.ts'
import { toTexts } from './cast.ts'
import { isMultiple, type RelationField, type SelectField } from './field.ts'
import { type FieldKind, invalid, requiredError } from './kind.ts'
import type { FieldValue } from './value.ts'

function normalize(field: SelectField | RelationField, raw: unknown): FieldValue {
  const texts = toTexts(raw)
  return isMultiple(field) ? texts : (texts.at(-1) ?? '')
}

/** Stored JSON keeps its order; a single value in a column of several, or the reverse, is read all the same. */
const shared = {
  columnType: (field: SelectField | RelationField) =>
    isMultiple(field) ? "JSON DEFAULT '[]' NOT NULL" : "TEXT DEFAULT '' NOT NULL",
  cast: normalize,
  fromDriver: normalize,
  toDriver: (field: SelectField | RelationField, value: FieldValue) => {
    const texts = toTexts(value)
    return isMultiple(field) ? JSON.stringify(texts) : (texts.at(-1) ?? '')
  },
  show: (_: SelectField | RelationField, value: FieldValue) => value,
  set: (record: { values: Record<string, FieldValue> }, field: SelectField | RelationField, raw: unknown) => {
    record.values[field.name] = normalize(field, raw)
  },
  modifier(field: SelectField | RelationField, key: string) {
    const { name } = field
    const combine =
      (merge: (now: string[], given: string[]) => string[]) =>
      (record: { values: Record<string, FieldValue> }, raw: unknown) => {
        record.values[name] = normalize(field, merge(toTexts(record.values[name]), toTexts(raw)))
      }
    if (key === `${name}+`) return combine((now, given) => [...now, ...given])
    if (key === `+${name}`) return combine((now, given) => [...given, ...now])
    if (key === `${name}-`) return combine((now, given) => now.filter((each) => !given.includes(each)))
    return undefined
  },
}

export const selectKind: FieldKind<SelectField> = {
  ...shared,
  validate(field, record) {
    const texts = toTexts(record.values[field.name])
    if (texts.length === 0) return field.required ? requiredError : null
    const max = Math.max(field.maxSelect, 1)
    if (texts.length > max)
      return invalid('validation_too_many_values', `Select no more than ${max}`, { maxSelect: max })
    const unknown = texts.find((each) => !field.values.includes(each))
    return unknown === undefined
      ? null
      : invalid('validation_invalid_value', `Invalid value ${unknown}`, { value: unknown })
  },
}

/** Parameters of one statement; SQLite takes 32,766. */
const idsPerQuery = 500

export const relationKind: FieldKind<RelationField> = {
  ...shared,
  validate(field, record, context) {
    const ids = toTexts(record.values[field.name])
    if (ids.length === 0) return field.required ? requiredError : null
    if (field.minSelect > 0 && ids.length < field.minSelect)
      return invalid('validation_not_enough_values', `Select at least ${field.minSelect}`, {
        minSelect: field.minSelect,
      })
    const max = Math.max(field.maxSelect, 1)
    if (ids.length > max) return invalid('validation_too_many_values', `Select no more than ${max}`, { maxSelect: max })
    const target = context.collection(field.collectionId)
    if (target === undefined)
      return invalid('validation_missing_rel_collection', 'Relation connection is missing or cannot be accessed')
    let found = 0
    for (let from = 0; from < ids.length; from += idsPerQuery) {
      const part = ids.slice(from, from + idsPerQuery)
      const sql = `SELECT count(*) AS n FROM ${quoteName(target.name)} WHERE id IN (${part.map(() => '?').join(',')})`
      found += Number(context.all(sql, part)[0]?.['n'] ?? 0)
    }
    if (found === ids.length) return null
    return invalid('validation_missing_rel_records', 'Failed to find all relation records with the provided ids')
  },
}
