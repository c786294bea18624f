// The checks that settings and auth forms are made of, with the codes and messages that PocketBase's clients match on.
// A check looks at one value; an empty value passes every check but `required`, so that optional fields need no words.

export interface ValidationError {
  readonly code: string
  readonly message: string
  /** What the message was made of, where clients get it too. */
  readonly params?: Readonly<Record<string, unknown>>
}

/** Errors by member name; nested for objects, by index for lists. Never empty. */
export interface ValidationErrors {
  readonly [member: string]: ValidationError | ValidationErrors
}

/** Null when the value passes. */
export type Check = (value: unknown) => ValidationError | null

/** A value and its checks, of which the first that fails is reported; or the outcome of checking a nested value. */
export type FieldChecks = readonly [value: unknown, ...checks: Check[]] | ValidationError | ValidationErrors | null

/** Runs the checks of every member. @returns null when all pass. */
export function checkFields(fields: Readonly<Record<string, FieldChecks>>): ValidationErrors | null {
  const errors: Record<string, ValidationError | ValidationErrors> = {}
  for (const [member, field] of Object.entries(fields)) {
    const error = isChecks(field) ? firstError(field) : field
    if (error !== null) errors[member] = error
  }
  return Object.keys(errors).length === 0 ? null : errors
}

/** Runs the same checks on every item; errors are named by index. */
export function checkItems(items: readonly unknown[], checks: readonly Check[]): ValidationErrors | null {
  return checkFields(Object.fromEntries(items.map((item, i) => [String(i), [item, ...checks] as const])))
}

export const required: Check = (value) =>
  isEmpty(value) ? { code: 'validation_required', message: 'Cannot be blank.' } : null

/** A list or text that is longer than `max`. */
export function tooLong(max: number): ValidationError {
  const message = `The length must be no more than ${max}.`
  return { code: 'validation_length_too_long', message, params: { max, min: 0 } }
}

/** Bytes of UTF-8, both ends included. */
export function lengthBetween(min: number, max: number): Check {
  return (value) => {
    if (typeof value !== 'string' || value === '') return null
    const length = Buffer.byteLength(value)
    if (length >= min && length <= max) return null
    if (min === max)
      return { code: 'validation_length_invalid', message: `The length must be exactly ${min}.`, params: { max, min } }
    return min === 0
      ? tooLong(max)
      : {
          code: 'validation_length_out_of_range',
          message: `The length must be between ${min} and ${max}.`,
          params: { max, min },
        }
  }
}

export function atLeast(min: number): Check {
  return (value) =>
    typeof value === 'number' && value !== 0 && value < min
      ? {
          code: 'validation_min_greater_equal_than_required',
          message: `Must be no less than ${min}.`,
          params: { threshold: min },
        }
      : null
}

export function atMost(max: number): Check {
  return (value) =>
    typeof value === 'number' && value > max
      ? {
          code: 'validation_max_less_equal_than_required',
          message: `Must be no greater than ${max}.`,
          params: { threshold: max },
        }
      : null
}

export function oneOf(allowed: readonly string[]): Check {
  return (value) =>
    typeof value === 'string' && value !== '' && !allowed.includes(value)
      ? { code: 'validation_in_invalid', message: 'Must be a valid value.' }
      : null
}

export function noneOf(refused: readonly string[]): Check {
  return (value) =>
    typeof value === 'string' && value !== '' && refused.includes(value)
      ? { code: 'validation_not_in_invalid', message: 'Must not be in list.' }
      : null
}

/** @param pattern must not be global: a global one remembers where it stopped. */
export function format(pattern: RegExp): Check {
  return (value) =>
    typeof value === 'string' && value !== '' && !pattern.test(value)
      ? { code: 'validation_match_invalid', message: 'Must be in a valid format.' }
      : null
}

/** `check` where `condition` holds, else nothing. */
export function when(condition: boolean, check: Check): Check {
  return condition ? check : () => null
}

function isChecks(field: FieldChecks): field is readonly [value: unknown, ...checks: Check[]] {
  return Array.isArray(field)
}

function firstError([value, ...checks]: readonly [value: unknown, ...checks: Check[]]): ValidationError | null {
  for (const check of checks) {
    const error = check(value)
    if (error !== null) return error
  }
  return null
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return true
  return Array.isArray(value) && value.length === 0
}
