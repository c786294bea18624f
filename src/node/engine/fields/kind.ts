// What a field type must be able to do. One object per type; all of them are stateless.

import type { MaybePromise } from '../../../lib/result.ts'
import type { Collection } from '../collections/collection.ts'
import type { Row, SqlParams, SqlValue } from '../db/sql.ts'
import type { UploadedFile } from '../files/uploaded-file.ts'
import type { ValidationError } from '../settings/checks.ts'
import type { Field } from './field.ts'
import type { FieldValue } from './value.ts'

/** The record as a kind sees it; avoids that fields and records import one another. */
export interface RecordValues {
  readonly collection: Collection
  readonly values: Record<string, FieldValue>
  readonly original: Readonly<Record<string, FieldValue>>
  readonly isNew: boolean
}

/** What value checks may ask for. */
export interface ValueContext {
  all(sql: string, params?: SqlParams): Row[]
  collection(nameOrId: string): Collection | undefined
  /** Random text that matches a pattern of letters, digits, classes and counts. */
  randomByPattern(pattern: string): string
}

export interface FieldKind<F extends Field> {
  /** Column definition without its name. */
  columnType(field: F): string
  /** Any input, `null` for the zero value, as the field holds it. PocketBase: PrepareValue. */
  cast(field: F, raw: unknown): FieldValue
  fromDriver(field: F, value: SqlValue): FieldValue
  toDriver(field: F, value: FieldValue): SqlValue
  /** What JSON shows. */
  show(field: F, value: FieldValue): unknown
  /** Sets the plain key. */
  set(record: RecordValues, field: F, raw: unknown): void
  /** The setter of another key of this field, such as `name+`; undefined when the key is none of it. */
  modifier?(field: F, key: string): ((record: RecordValues, raw: unknown) => void) | undefined
  /** Null when the value may be stored. */
  validate(field: F, record: RecordValues, context: ValueContext): MaybePromise<ValidationError | null>
  /** Called before a new record is validated and inserted, to fill what is missing. */
  autogenerate?(field: F, record: RecordValues, context: ValueContext): void
  /** New uploads in a value. */
  uploads?(value: FieldValue): readonly UploadedFile[]
}

export const requiredError: ValidationError = { code: 'validation_required', message: 'Cannot be blank.' }

export function invalid(code: string, message: string, params?: ValidationError['params']): ValidationError {
  return params === undefined ? { code, message } : { code, message, params }
}

/** The parts that most kinds share: a value that is stored, shown and set as it was cast. */
export function plainKind<F extends Field, V extends FieldValue & SqlValue>(
  cast: (raw: unknown) => V,
): Pick<FieldKind<F>, 'cast' | 'fromDriver' | 'toDriver' | 'show' | 'set'> {
  return {
    cast: (_, raw) => cast(raw),
    fromDriver: (_, value) => cast(value),
    toDriver: (_, value) => value as V,
    show: (_, value) => value,
    set: (record, field, raw) => {
      record.values[field.name] = cast(raw)
    },
  }
}
