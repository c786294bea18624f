// password: a bcrypt hash, made off the event loop before the record is validated. PocketBase: core/field_password.go.

import { toText } from './cast.ts'
import type { PasswordField } from './field.ts'
import { type FieldKind, invalid, requiredError } from './kind.ts'
import { hasForm } from './pattern.ts'
import { PasswordValue } from './value.ts'

/** Characters; where the field says 0. */
const lengthDefault = 71

export const passwordKind: FieldKind<PasswordField> = {
  columnType: () => "TEXT DEFAULT '' NOT NULL",
  cast: (_, raw) => (raw instanceof PasswordValue ? raw : new PasswordValue(toText(raw))),
  fromDriver: (_, value) => new PasswordValue(toText(value)),
  toDriver: (_, value) => (value as PasswordValue).hash,
  show: () => '',
  set(record, field, raw) {
    record.values[field.name] = new PasswordValue('', toText(raw))
  },
  validate(field, record) {
    const value = record.values[field.name] as PasswordValue
    const { hash, plain } = value
    if (plain === '') return field.required && hash === '' ? requiredError : null
    if (value.isTooLong) return invalid('validation_invalid_value', 'Invalid value.')
    const length = [...plain].length
    if (length < field.min)
      return invalid('validation_min_text_constraint', `Must be at least ${field.min} character(s)`)
    const max = field.max || lengthDefault
    if (length > max) return invalid('validation_max_text_constraint', `Must be less than ${max} character(s)`)
    if (!hasForm(field.pattern, plain)) return invalid('validation_invalid_format', 'Invalid value format')
    return null
  },
}
