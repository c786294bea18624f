// Whether a field's options make sense, for themselves and beside what the collection was before.
// PocketBase: ValidateSettings in core/field_*.go.

import type { Rng } from '../../../lib/rng.ts'
import type { Field, RelationField, TextField } from '../fields/field.ts'
import { compilePattern } from '../fields/pattern.ts'
import { RandomPatternError, randomByPattern } from '../fields/random-pattern.ts'
import { validatePlainText } from '../fields/text.ts'
import {
  type Check,
  checkFields,
  checkItems,
  type FieldChecks,
  format,
  lengthBetween,
  noneOf,
  required,
  type ValidationError,
  type ValidationErrors,
} from '../settings/checks.ts'
import type { Collection, CollectionData } from './collection.ts'

export interface FieldSettingsContext {
  readonly next: CollectionData
  /** What is stored now; null for a new collection. */
  readonly original: CollectionData | null
  readonly findCollection: (nameOrId: string) => Collection | undefined
  readonly rng: Rng
}

const safeIntegerMax = Number.MAX_SAFE_INTEGER
const reservedNames = ['null', 'true', 'false', '_rowid_', 'collectionId', 'collectionName', 'expand']
/** bcrypt looks at 72 bytes, one of them the end. */
const passwordLengthMax = 71
const costMin = 4
const costMax = 31

export const noVia: Check = (value) =>
  typeof value === 'string' && value.toLowerCase().includes('_via_')
    ? { code: 'validation_found_via', message: 'The value cannot contain "_via_".' }
    : null

/** An error with a fixed text where `isBad`; unlike other checks it sees empty values too. */
function failIf(
  isBad: boolean,
  code: string,
  message: string,
  params?: ValidationError['params'],
): ValidationError | null {
  return isBad ? { code, message, ...(params && { params }) } : null
}

/** Like `atLeast`, but what is 0 counts as missing only where PocketBase says so. */
function range(value: number, min: number, max: number): ValidationError | null {
  if (value !== 0 && value < min)
    return {
      code: 'validation_min_greater_equal_than_required',
      message: `Must be no less than ${min}.`,
      params: { threshold: min },
    }
  return failIf(value > max, 'validation_max_less_equal_than_required', `Must be no greater than ${max}.`, {
    threshold: max,
  })
}

function first(...errors: readonly (ValidationError | null)[]): ValidationError | null {
  return errors.find((error) => error !== null) ?? null
}

const blank = { code: 'validation_empty', message: 'Must be blank.' }
const cannotBeBlank = { code: 'validation_required', message: 'Cannot be blank.' }

function checkPattern(pattern: string): ValidationError | null {
  if (pattern === '') return null
  const problem = compilePattern(pattern)
  return typeof problem === 'string' ? { code: 'validation_invalid_regex', message: problem } : null
}

const domainPattern =
  /^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.[a-zA-Z]{2,63}$/
const domain: Check = (value) =>
  typeof value === 'string' && value !== '' && (value.length > 253 || !domainPattern.test(value))
    ? { code: 'validation_is_domain', message: 'Must be a valid domain.' }
    : null

function checkDomains(list: readonly string[] | null, other: readonly string[] | null): FieldChecks {
  if (list === null || list.length === 0) return null
  return other !== null && other.length > 0 ? blank : checkItems(list, [domain])
}

/** How often an autogenerate pattern is tried against the field's own limits. */
const autogenerateTrials = 10

function checkAutogenerate(field: TextField, rng: Rng): ValidationError | null {
  if (field.autogeneratePattern === '') return null
  const bad = checkPattern(field.autogeneratePattern)
  if (bad !== null) return bad
  for (let trial = 0; trial < autogenerateTrials; trial++) {
    let made: string
    try {
      made = randomByPattern(field.autogeneratePattern, rng)
    } catch (error) {
      if (!(error instanceof RandomPatternError)) throw error
      return { code: 'validation_invalid_autogenerate_pattern', message: error.message }
    }
    if (validatePlainText(field, made) !== null)
      return {
        code: 'validation_invalid_autogenerate_pattern_value',
        message: `The provided autogenerate pattern could produce invalid field values, ex.: "${made}"`,
      }
  }
  return null
}

function checkRelation(field: RelationField, context: FieldSettingsContext): ValidationError | null {
  const { next, original, findCollection } = context
  if (field.collectionId === '') return cannotBeBlank
  const before = original?.fields.find((each) => each.id === field.id)
  if (before?.type === 'relation' && before.collectionId !== field.collectionId)
    return { code: 'validation_field_relation_change', message: 'The relation collection cannot be changed.' }
  const target = findCollection(field.collectionId)
  // A collection may refer to itself before it is stored.
  const isItself = next.id === field.collectionId
  if (!isItself && target?.id !== field.collectionId)
    return { code: 'validation_field_relation_missing_collection', message: "The relation collection doesn't exist." }
  return failIf(
    next.type !== 'view' && target?.isView === true,
    'validation_relation_field_non_view_base_collection',
    'Only view collections are allowed to have relations to other views.',
  )
}

/** Errors by option, or null. */
export function validateFieldSettings(field: Field, context: FieldSettingsContext): ValidationErrors | null {
  const name: Check[] = [required, lengthBetween(1, 100), format(/^\w+$/), noneOf(reservedNames), noVia]
  const help: FieldChecks = field.type === 'autodate' ? null : [field.help, lengthBetween(1, 300)]
  return checkFields({
    id: [field.id, required, lengthBetween(1, 100)],
    name: [field.name, ...name, ...(field.type === 'text' && field.primaryKey ? [primaryKeyName] : [])],
    help,
    ...optionChecks(field, context),
  })
}

const primaryKeyName: Check = (value) =>
  value === 'id' ? null : { code: 'validation_in_invalid', message: 'The primary key must be named "id".' }

function optionChecks(field: Field, context: FieldSettingsContext): Record<string, FieldChecks> {
  switch (field.type) {
    case 'text': {
      const keys = context.next.fields.filter((each) => each.type === 'text' && each.primaryKey)
      return {
        primaryKey: failIf(
          field.primaryKey && keys.length > 1,
          'validation_unsupported_composite_pk',
          'Composite PKs are not supported and the collection must have only 1 PK.',
        ),
        min: range(field.min, 0, safeIntegerMax),
        max: range(field.max, field.min, safeIntegerMax),
        pattern: field.primaryKey && field.pattern === '' ? cannotBeBlank : checkPattern(field.pattern),
        hidden: field.primaryKey && field.hidden ? blank : null,
        required: field.primaryKey && !field.required ? cannotBeBlank : null,
        autogeneratePattern: checkAutogenerate(field, context.rng),
      }
    }
    case 'number': {
      const onlyInt = (value: number | null) =>
        failIf(
          field.onlyInt && value !== null && !Number.isInteger(value),
          'validation_only_int_constraint',
          'Decimal numbers are not allowed.',
        )
      const isReversed = field.min !== null && field.max !== null && field.max < field.min
      return {
        min: onlyInt(field.min),
        max: first(
          onlyInt(field.max),
          failIf(isReversed, 'validation_min_number_constraint', `Must be greater or equal than ${field.min}.`, {
            min: field.min,
          }),
        ),
      }
    }
    case 'email':
    case 'url':
      return {
        exceptDomains: checkDomains(field.exceptDomains, field.onlyDomains),
        onlyDomains: checkDomains(field.onlyDomains, field.exceptDomains),
      }
    case 'editor':
    case 'json':
      return { maxSize: range(field.maxSize, 0, safeIntegerMax) }
    case 'autodate':
      return autodateChecks(field, context)
    case 'select':
      return {
        values: [field.values, required],
        maxSelect: range(field.maxSelect, 0, Math.max(field.values.length, 1)),
      }
    case 'file':
      return {
        maxSelect: range(field.maxSelect, 0, safeIntegerMax),
        maxSize: range(field.maxSize, 0, safeIntegerMax),
        thumbs: checkItems(field.thumbs ?? [], [noneOf(['0x0', '0x0t', '0x0b', '0x0f']), format(/^\d+x\d+[tbf]?$/)]),
      }
    case 'relation':
      return {
        collectionId: checkRelation(field, context),
        minSelect: range(field.minSelect, 0, safeIntegerMax),
        maxSelect:
          field.minSelect > 0 && field.maxSelect === 0
            ? cannotBeBlank
            : range(field.maxSelect, field.minSelect, safeIntegerMax),
      }
    case 'password':
      return {
        min: range(field.min, 1, passwordLengthMax),
        max: range(field.max, field.min, passwordLengthMax),
        cost: range(field.cost, costMin, costMax),
        pattern: checkPattern(field.pattern),
      }
    case 'bool':
    case 'date': // PocketBase takes a range that no date satisfies
    case 'geoPoint':
      return {}
  }
}

function autodateChecks(
  field: Extract<Field, { type: 'autodate' }>,
  { original }: FieldSettingsContext,
): Record<string, FieldChecks> {
  const before = original?.fields.find((each) => each.id === field.id)
  const mismatch = (key: 'onCreate' | 'onUpdate') =>
    failIf(
      field.system && before?.type === 'autodate' && before[key] !== field[key],
      'validation_values_mismatch',
      "Values don't match.",
    )
  const neither = failIf(
    !field.onCreate && !field.onUpdate,
    'validation_required',
    'Either onCreate or onUpdate must be enabled.',
  )
  return { onCreate: first(mismatch('onCreate'), neither), onUpdate: first(mismatch('onUpdate'), neither) }
}
