// Whether a collection may be stored: names, fields, rules, indexes and options, for themselves and beside what is
// stored now. PocketBase: core/collection_validate.go, core/collection_model_auth_options.go.

import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import type { Field } from '../fields/field.ts'
import {
  type Check,
  checkFields,
  type FieldChecks,
  format,
  lengthBetween,
  required,
  type ValidationError,
  type ValidationErrors,
} from '../settings/checks.ts'
import { isUrl } from '../settings/formats.ts'
import type { AuthOptions, CollectionData, EmailTemplate, Rule, TokenOptions } from './collection.ts'
import type { CollectionStore } from './collection-store.ts'
import { noVia, validateFieldSettings } from './field-settings.ts'
import { buildIndex, findSingleColumnUniqueIndex, isValidIndex, type ParsedIndex, parseIndex } from './index-sql.ts'

export interface CollectionChecks {
  readonly store: CollectionStore
  readonly db: Database
  readonly rng: Rng
  /** What is wrong with a rule of this collection, in one sentence; null when nothing is. */
  readonly ruleProblem: (rule: string, collection: CollectionData) => string | null
  /** What is wrong with the query of a view; null when nothing is, and for other collections. */
  readonly viewProblem: string | null
  readonly isOAuth2Provider: (name: string) => boolean
}

type Errors = ValidationErrors | ValidationError | null

const invalid = (code: string, message: string, params?: ValidationError['params']): ValidationError =>
  params === undefined ? { code, message } : { code, message, params }

/** @param original what is stored under the same id; null for a new collection. */
export function validateCollection(
  next: CollectionData,
  original: CollectionData | null,
  checks: CollectionChecks,
): ValidationErrors | null {
  const rule = (name: 'listRule' | 'viewRule' | 'createRule' | 'updateRule' | 'deleteRule', isForViews: boolean) =>
    next.type === 'view' && !isForViews && next[name] !== null
      ? invalid('validation_nil', 'Must be blank.')
      : ruleError(next[name], original?.[name] ?? null, next, original, checks)
  const base = checkFields({
    id: idChecks(next, original, checks),
    system:
      original !== null && original.system !== next.system
        ? invalid('validation_collection_system_flag_change', 'System collection state cannot be changed.')
        : null,
    type: typeError(next, original),
    name: [next.name, required, lengthBetween(1, 255), noVia, format(/^\w+$/), () => nameError(next, original, checks)],
    fields: fieldsError(next, original, checks),
    listRule: rule('listRule', true),
    viewRule: rule('viewRule', true),
    createRule: rule('createRule', false),
    updateRule: rule('updateRule', false),
    deleteRule: rule('deleteRule', false),
    indexes: indexesError(next, original, checks),
  })
  const options = optionsError(next, original, checks)
  return base === null ? options : options === null ? base : { ...base, ...options }
}

function idChecks(next: CollectionData, original: CollectionData | null, { store }: CollectionChecks): FieldChecks {
  if (original !== null)
    return next.id === original.id ? null : invalid('validation_values_mismatch', "Values don't match.")
  const isTaken: Check = (value) =>
    store.all().some((each) => each.id === value)
      ? invalid('validation_invalid_or_existing_id', 'The model id is invalid or already exists.')
      : null
  return [next.id, required, lengthBetween(1, 100), format(/^\w+$/), isTaken]
}

function typeError(next: CollectionData, original: CollectionData | null): ValidationError | null {
  if (!['base', 'auth', 'view'].includes(next.type)) return invalid('validation_in_invalid', 'Must be a valid value.')
  if (original === null || original.type === next.type) return null
  return invalid('validation_collection_type_change', 'Collection type cannot be changed.')
}

function nameError(
  { name }: CollectionData,
  original: CollectionData | null,
  { store, db }: CollectionChecks,
): ValidationError | null {
  if (original?.system && name !== original.name)
    return invalid('validation_collection_system_name_change', 'System collection name cannot be changed.')
  const lower = name.toLowerCase()
  const sameName = store.all().filter((each) => each.name.toLowerCase() === lower)
  if (sameName.some((each) => each.id !== original?.id))
    return invalid('validation_collection_name_exists', 'Collection name must be unique (case insensitive).')
  if (store.all().some((each) => each.id === name))
    return invalid('validation_collection_name_id_duplicate', 'The name must not match an existing collection id.')
  const isTable = () =>
    db.get("SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = ?", [lower]) !== null
  if (original?.name !== name && sameName.length === 0 && isTable())
    return invalid('validation_collection_name_invalid', "The name shouldn't match with an existing internal table.")
  return null
}

function fieldsError(next: CollectionData, original: CollectionData | null, checks: CollectionChecks): Errors {
  return (
    duplicateError(next.fields) ??
    missingFieldError(next) ??
    (next.type === 'view' ? null : (systemFieldError(next, original) ?? fieldTypeError(next, original))) ??
    (next.type === 'auth' ? reservedNameError(next) : null) ??
    eachField(next, (field) =>
      validateFieldSettings(field, {
        next,
        original,
        findCollection: (nameOrId) => checks.store.find(nameOrId),
        rng: checks.rng,
      }),
    )
  )
}

function eachField(next: CollectionData, check: (field: Field) => Errors): ValidationErrors | null {
  return checkFields(Object.fromEntries(next.fields.map((field, i) => [String(i), check(field)])))
}

function duplicateError(fields: readonly Field[]): ValidationErrors | null {
  const ids = new Set<string>()
  const names = new Set<string>()
  for (const [i, { id, name }] of fields.entries()) {
    if (ids.has(id))
      return { [i]: { id: invalid('validation_duplicated_field_id', `Duplicated or invalid field id "${id}"`) } }
    if (names.has(name.toLowerCase()))
      return {
        [i]: {
          name: invalid('validation_duplicated_field_name', `Duplicated or invalid field name ${name}`, {
            fieldName: name,
          }),
        },
      }
    ids.add(id)
    names.add(name.toLowerCase())
  }
  return null
}

/** Name, type, and whether it must be hidden. */
const authSystemFields = [
  ['password', 'password', true],
  ['tokenKey', 'text', true],
  ['email', 'email', false],
  ['emailVisibility', 'bool', false],
  ['verified', 'bool', false],
] as const

function missingFieldError({ fields, type }: CollectionData): Errors {
  if (fields.length === 0) return invalid('validation_required', 'Cannot be blank.')
  const id = fields.find((field) => field.name === 'id')
  if (id?.type !== 'text' || !id.primaryKey)
    return invalid('validation_missing_primary_key', 'Missing or invalid "id" PK field.')
  if (type !== 'auth') return null
  for (const [name, fieldType, isHidden] of authSystemFields) {
    const field = fields.find((each) => each.name === name)
    if (field?.type !== fieldType)
      return invalid(`validation_missing_${name}_field`, `System "${name}" field is required.`)
    if (isHidden && !(field.hidden && field.system))
      return {
        [name]: invalid('validation_must_be_system_and_hidden', 'The field must be marked as "System" and "Hidden".'),
      }
    if (!field.system) return { [name]: invalid('validation_must_be_system', 'The field must be marked as "System".') }
  }
  return null
}

function systemFieldError(next: CollectionData, original: CollectionData | null): ValidationError | null {
  for (const before of original?.fields ?? []) {
    if (!before.system) continue
    if (next.fields.find((field) => field.id === before.id)?.name !== before.name)
      return invalid('validation_system_field_change', 'System fields cannot be deleted or renamed.')
  }
  return null
}

function fieldTypeError(next: CollectionData, original: CollectionData | null): ValidationErrors | null {
  return eachField(next, (field) => {
    const before = original?.fields.find((each) => each.id === field.id)
    return before === undefined || before.type === field.type
      ? null
      : invalid('validation_field_type_change', 'Field type cannot be changed.')
  })
}

function reservedNameError(next: CollectionData): ValidationErrors | null {
  return eachField(next, ({ name }) =>
    name === 'passwordConfirm' || name === 'oldPassword'
      ? { name: invalid('validation_reserved_field_name', 'The field name is reserved and cannot be used.') }
      : null,
  )
}

function ruleError(
  rule: Rule,
  before: Rule,
  next: CollectionData,
  original: CollectionData | null,
  checks: CollectionChecks,
): ValidationError | null {
  const problem = rule ? checks.ruleProblem(rule, next) : null
  if (problem !== null) return invalid('validation_invalid_rule', `Invalid rule. Raw error: ${problem}`)
  return original?.system && rule !== before
    ? invalid('validation_collection_system_rule_change', 'System collection API rule cannot be changed.')
    : null
}

function indexesError(next: CollectionData, original: CollectionData | null, { db }: CollectionChecks): Errors {
  if (next.type === 'view' && next.indexes.length > 0)
    return invalid('validation_indexes_not_supported', "View collections don't support indexes.")
  const names = new Set<string>()
  const definitions = new Set<string>()
  for (const [i, text] of next.indexes.entries()) {
    const index: ParsedIndex = { ...parseIndex(text), tableName: 'validator' }
    const fail = (code: string, message: string, params?: ValidationError['params']) => ({
      [i]: invalid(code, message, params),
    })
    if (!isValidIndex(index)) return fail('validation_invalid_index_expression', 'Invalid CREATE INDEX expression.')
    const name = index.indexName.toLowerCase()
    if (names.has(name)) return fail('validation_duplicated_index_name', 'The index name already exists.')
    names.add(name)
    const used = db.get<{ table: string }>(
      `SELECT tbl_name AS "table" FROM sqlite_schema WHERE type = 'index' AND lower(name) = ?
         AND lower(tbl_name) NOT IN (lower(?), lower(?)) LIMIT 1`,
      [name, original?.name ?? '', next.name],
    )
    if (used !== null)
      return fail('validation_existing_index_name', `The index name is already used in ${used.table} collection.`, {
        usedTableName: used.table,
      })
    const definition = buildIndex({ ...index, schema: 'validator', indexName: 'validator' })
    if (definitions.has(definition))
      return fail('validation_duplicated_index_definition', 'The index definition already exists.')
    definitions.add(definition)
  }
  return systemIndexError(next, original) ?? requiredIndexError(next)
}

/** An index without what does not matter for uniqueness, to be compared as text. */
function uniqueShape(index: ParsedIndex, where: string): string {
  const columns = index.columns.map(({ name }) => ({ name, collate: '', sort: '' }))
  return buildIndex({
    ...index,
    schema: '',
    indexName: 'validator',
    tableName: 'validator',
    columns,
    where,
  }).toLowerCase()
}

function systemIndexError(next: CollectionData, original: CollectionData | null): ValidationError | null {
  for (const text of original?.indexes ?? []) {
    const before = parseIndex(text)
    if (!before.unique) continue
    const field = original!.fields.find(
      (each) => each.system && before.columns.some((column) => column.name.toLowerCase() === each.name.toLowerCase()),
    )
    if (field === undefined) continue
    const shape = uniqueShape(before, before.where)
    if (
      next.indexes.some(
        (each) => uniqueShape({ ...parseIndex(each), ifNotExists: before.ifNotExists }, before.where) === shape,
      )
    )
      continue
    return invalid(
      'validation_invalid_unique_system_field_index',
      `Unique index definition on system fields (${field.name}) is invalid or missing.`,
      { fieldName: field.name },
    )
  }
  return null
}

function requiredIndexError({ type, indexes }: CollectionData): ValidationError | null {
  if (type !== 'auth') return null
  for (const name of ['tokenKey', 'email'])
    if (findSingleColumnUniqueIndex(indexes, name) === null)
      return invalid('validation_missing_required_unique_index', `Missing required unique index for field "${name}".`, {
        fieldName: name,
      })
  return null
}

function optionsError(
  next: CollectionData,
  original: CollectionData | null,
  checks: CollectionChecks,
): ValidationErrors | null {
  if (next.type === 'view') {
    const query = next.view?.viewQuery ?? ''
    const problem = checks.viewProblem
    return checkFields({
      viewQuery:
        problem === null
          ? [query, required]
          : invalid('validation_invalid_view_query', `Invalid query - ${problem.slice(0, 500)}`),
    })
  }
  return next.type === 'auth' && next.auth !== null ? authError(next, next.auth, original, checks) : null
}

function templateError({ subject, body }: EmailTemplate): ValidationErrors | null {
  return checkFields({ subject: [subject, required], body: [body, required] })
}

/** Seconds. */
const tokenDurationMax = 94_670_856
const codeDurationMax = 86_400
const durationMin = 10

function durationError(value: number, max: number): ValidationError | null {
  if (value === 0) return invalid('validation_required', 'Cannot be blank.')
  if (value < durationMin)
    return invalid('validation_min_greater_equal_than_required', `Must be no less than ${durationMin}.`, {
      threshold: durationMin,
    })
  return value > max
    ? invalid('validation_max_less_equal_than_required', `Must be no greater than ${max}.`, { threshold: max })
    : null
}

function tokenError({ secret, duration }: TokenOptions): ValidationErrors | null {
  return checkFields({
    secret: [secret, required, lengthBetween(30, 255)],
    duration: durationError(duration, tokenDurationMax),
  })
}

function authError(
  next: CollectionData,
  auth: AuthOptions,
  original: CollectionData | null,
  checks: CollectionChecks,
): ValidationErrors | null {
  const before = original?.auth ?? null
  const { otp, mfa } = auth
  const basic = checkFields({
    authRule: ruleError(auth.authRule, before?.authRule ?? null, next, original, checks),
    manageRule:
      auth.manageRule === ''
        ? invalid('validation_nil_or_not_empty_required', 'Cannot be blank.')
        : ruleError(auth.manageRule, before?.manageRule ?? null, next, original, checks),
    authAlert: checkFields({ emailTemplate: templateError(auth.authAlert.emailTemplate) }),
    passwordAuth: auth.passwordAuth.enabled
      ? checkFields({ identityFields: [auth.passwordAuth.identityFields, required] })
      : null,
    oauth2: auth.oauth2.enabled ? checkFields({ providers: providersError(auth, checks) }) : null,
    otp: checkFields({
      duration: otp.enabled ? durationError(otp.duration, codeDurationMax) : null,
      length: otp.enabled ? otpLengthError(otp.length) : null,
      emailTemplate: templateError(otp.emailTemplate),
    }),
    mfa: mfa.enabled ? checkFields({ duration: durationError(mfa.duration, codeDurationMax) }) : null,
    authToken: tokenError(auth.authToken),
    passwordResetToken: tokenError(auth.passwordResetToken),
    emailChangeToken: tokenError(auth.emailChangeToken),
    verificationToken: tokenError(auth.verificationToken),
    fileToken: tokenError(auth.fileToken),
    verificationTemplate: templateError(auth.verificationTemplate),
    resetPasswordTemplate: templateError(auth.resetPasswordTemplate),
    confirmEmailChangeTemplate: templateError(auth.confirmEmailChangeTemplate),
  })
  if (basic !== null) return basic
  if (mfa.enabled) {
    const methods = [auth.passwordAuth.enabled, auth.oauth2.enabled, otp.enabled].filter(Boolean).length
    const message = 'MFA requires at least 2 auth methods to be enabled.'
    if (methods < 2) return { mfa: { enabled: invalid('validation_mfa_not_enough_auths', message) } }
    const rule = mfa.rule === '' ? null : ruleError(mfa.rule, before?.mfa.rule ?? '', next, original, checks)
    if (rule !== null) return { mfa: { rule } }
  }
  const identity = auth.passwordAuth.enabled ? identityError(next, auth.passwordAuth.identityFields) : null
  return identity === null ? null : { passwordAuth: { identityFields: identity } }
}

const otpLengthMin = 4

function otpLengthError(length: number): ValidationError | null {
  if (length === 0) return invalid('validation_required', 'Cannot be blank.')
  return length < otpLengthMin
    ? invalid('validation_min_greater_equal_than_required', `Must be no less than ${otpLengthMin}.`, {
        threshold: otpLengthMin,
      })
    : null
}

function identityError(next: CollectionData, names: readonly string[]): ValidationError | null {
  for (const name of names) {
    if (!next.fields.some((field) => field.name === name))
      return invalid('validation_missing_field', `Invalid or missing field ${name}`, { fieldName: name })
    if (findSingleColumnUniqueIndex(next.indexes, name) === null)
      return invalid('validation_missing_unique_constraint', `The field ${name} doesn't have a UNIQUE constraint.`, {
        fieldName: name,
      })
  }
  return null
}

const url: Check = (value) =>
  typeof value === 'string' && value !== '' && !isUrl(value)
    ? invalid('validation_is_url', 'Must be a valid URL.')
    : null

function providersError({ oauth2 }: AuthOptions, checks: CollectionChecks): ValidationErrors | null {
  const { providers } = oauth2
  const seen = new Set<string>()
  for (const [i, { name }] of providers.entries()) {
    if (name !== '' && seen.has(name))
      return {
        [i]: {
          name: invalid('validation_duplicated_provider', `The provider ${name} is already registered.`, { name }),
        },
      }
    seen.add(name)
  }
  const known: Check = (value) =>
    checks.isOAuth2Provider(String(value))
      ? null
      : invalid('validation_missing_provider', `Invalid or missing provider with name ${value}.`, { name: value })
  return checkFields(
    Object.fromEntries(
      providers.map((provider, i) => [
        String(i),
        checkFields({
          name: [provider.name, required, known],
          clientId: [provider.clientId, required],
          clientSecret: [provider.clientSecret, required],
          authURL: [provider.authURL, url],
          tokenURL: [provider.tokenURL, url],
          userInfoURL: [provider.userInfoURL, url],
        }),
      ]),
    ),
  )
}
