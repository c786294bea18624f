// text, editor, email, url: strings in a TEXT column. PocketBase: core/field_text.go, field_editor.go, field_email.go,
// field_url.go.

import type { ValidationError } from '../settings/checks.ts'
import { isEmail, isUrl } from '../settings/formats.ts'
import { toText } from './cast.ts'
import type { EditorField, EmailField, TextField, UrlField } from './field.ts'
import { type FieldKind, invalid, plainKind, type RecordValues, requiredError, type ValueContext } from './kind.ts'
import { hasForm } from './pattern.ts'

const column = "TEXT DEFAULT '' NOT NULL"
/** Characters; where the field says 0. */
const textLengthDefault = 5_000
/** Bytes; where the field says 0. */
const editorBytesDefault = 5 * 1024 * 1024

/** The pattern of ids that PocketBase makes itself: safe as file names, so further checks are left out. */
export const defaultIdPattern = '^[a-z0-9]+$'

const forbiddenIdCharacters = [
  '.',
  '/',
  '\\',
  '|',
  '"',
  "'",
  '`',
  '<',
  '>',
  ':',
  '?',
  '*',
  '%',
  '$',
  '\0',
  '\t',
  '\n',
  '\r',
  ' ',
]
/** Names that some file systems reserve, without regard to case. */
const reservedIds = /^(?:CON|PRN|AUX|NUL|COM[1-9]|LPT[1-9])$/i

/** The options against a plain value, without a look at other records. */
export function validatePlainText(field: TextField, value: string): ValidationError | null {
  if (value === '') return field.required || field.primaryKey ? requiredError : null
  const length = [...value].length
  if (field.min > 0 && length < field.min)
    return invalid('validation_min_text_constraint', `Must be at least ${field.min} character(s).`, { min: field.min })
  const max = field.max || textLengthDefault
  if (length > max)
    return invalid('validation_max_text_constraint', `Must be no more than ${max} character(s).`, { max })
  if (!hasForm(field.pattern, value)) return invalid('validation_invalid_format', 'Invalid value format.')
  if (!field.primaryKey || field.pattern === defaultIdPattern) return null
  const forbidden = forbiddenIdCharacters.find((each) => value.includes(each))
  if (forbidden !== undefined)
    return invalid('validation_forbidden_pk_character', `'${forbidden}' is not a valid primary key character.`, {
      ch: forbidden,
    })
  if (reservedIds.test(value))
    return invalid(
      'validation_reserved_pk',
      `The primary key '${value.toUpperCase()}' is reserved and cannot be used.`,
      {
        reserved: value.toUpperCase(),
      },
    )
  return null
}

function validatePrimaryKey(field: TextField, record: RecordValues, context: ValueContext, value: string) {
  if (!record.isNew) {
    if (record.original['id'] !== value)
      return invalid('validation_pk_change', 'The record primary key cannot be changed.')
    return 'unchanged' as const
  }
  if (field.pattern === defaultIdPattern) return null
  const sql = `SELECT 1 FROM \`${record.collection.name}\` WHERE id = ? COLLATE NOCASE LIMIT 1`
  if (context.all(sql, [value]).length === 0) return null
  return invalid('validation_pk_invalid', 'The record primary key is invalid or already exists.')
}

export const textKind: FieldKind<TextField> = {
  ...plainKind<TextField, string>(toText),
  columnType: (field) =>
    field.primaryKey ? "TEXT PRIMARY KEY DEFAULT ('r'||lower(hex(randomblob(7)))) NOT NULL" : column,
  modifier(field, key) {
    if (key !== `${field.name}:autogenerate`) return undefined
    return (record, raw) => {
      record.values[field.name] = toText(raw)
      pendingSuffix(record).add(field.name)
    }
  },
  validate(field, record, context) {
    const value = record.values[field.name] as string
    if (field.primaryKey) {
      const outcome = validatePrimaryKey(field, record, context, value)
      if (outcome === 'unchanged') return null
      if (outcome !== null) return outcome
    }
    return validatePlainText(field, value)
  },
  autogenerate(field, record, context) {
    const pending = suffixes.get(record)
    const isForced = pending?.delete(field.name) === true
    if (field.autogeneratePattern === '') return
    const value = record.values[field.name] as string
    if (isForced) record.values[field.name] = value + context.randomByPattern(field.autogeneratePattern)
    else if (record.isNew && value === '')
      record.values[field.name] = context.randomByPattern(field.autogeneratePattern)
  },
}

/** Fields whose `:autogenerate` modifier was set: the random part is added when the save begins. */
const suffixes = new WeakMap<object, Set<string>>()

function pendingSuffix(record: object): Set<string> {
  let pending = suffixes.get(record)
  if (pending === undefined) suffixes.set(record, (pending = new Set()))
  return pending
}

export const editorKind: FieldKind<EditorField> = {
  ...plainKind<EditorField, string>(toText),
  columnType: () => column,
  validate(field, record) {
    const value = record.values[field.name] as string
    if (value === '') return field.required ? requiredError : null
    const maxBytes = field.maxSize || editorBytesDefault
    if (Buffer.byteLength(value) <= maxBytes) return null
    return invalid('validation_content_size_limit', `The maximum allowed content size is ${maxBytes} bytes`, {
      maxSize: maxBytes,
    })
  },
}

export const emailKind: FieldKind<EmailField> = {
  ...plainKind<EmailField, string>(toText),
  columnType: () => column,
  validate(field, record) {
    const value = record.values[field.name] as string
    if (value === '') return field.required ? requiredError : null
    if (!isEmail(value)) return invalid('validation_is_email', 'Must be a valid email address.')
    return isDomainAllowed(field, value.slice(value.lastIndexOf('@') + 1))
      ? null
      : invalid('validation_email_domain_not_allowed', 'Email domain is not allowed')
  },
}

export const urlKind: FieldKind<UrlField> = {
  ...plainKind<UrlField, string>(toText),
  columnType: () => column,
  validate(field, record) {
    const value = record.values[field.name] as string
    if (value === '') return field.required ? requiredError : null
    if (!isUrl(value)) return invalid('validation_invalid_url', 'Must be a valid url')
    const host = URL.canParse(value) ? new URL(value).host : ''
    return isDomainAllowed(field, host)
      ? null
      : invalid('validation_url_domain_not_allowed', 'Url domain is not allowed')
  },
}

function isDomainAllowed(field: EmailField | UrlField, domain: string): boolean {
  if (field.onlyDomains?.length && !field.onlyDomains.includes(domain)) return false
  return !(field.exceptDomains?.length && field.exceptDomains.includes(domain))
}
