// Checks of what peers send. A key proves a role, not good behaviour: a broken or taken-over node must not be able to
// hand a handler something it does not expect. Fields that are not named are let through: a newer peer may send more.

/** True when `value` is a `T` as far as it was described. */
export type Shape<T> = (value: unknown) => value is T

/** A string of at most `lengthMax` UTF-16 units, and of `pattern` if given. */
export function text<T extends string = string>(lengthMax: number, isValid?: (text: string) => boolean): Shape<T> {
  return (value): value is T => typeof value === 'string' && value.length <= lengthMax && (isValid?.(value) ?? true)
}

/** A finite number in [min, max]. */
export function number<T extends number = number>(min = 0, max = Number.MAX_SAFE_INTEGER): Shape<T> {
  return (value): value is T => typeof value === 'number' && value >= min && value <= max
}

export function integer<T extends number = number>(min = 0, max = Number.MAX_SAFE_INTEGER): Shape<T> {
  return (value): value is T => Number.isInteger(value) && (value as number) >= min && (value as number) <= max
}

export const boolean: Shape<boolean> = (value): value is boolean => typeof value === 'boolean'

export function oneOf<const T extends string | boolean>(...allowed: readonly T[]): Shape<T> {
  return (value): value is T => allowed.includes(value as T)
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value): value is T | null => value === null || shape(value)
}

/** A field that may be missing. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value): value is T | undefined => value === undefined || shape(value)
}

export function list<T>(shape: Shape<T>, countMax: number): Shape<readonly T[]> {
  return (value): value is readonly T[] => Array.isArray(value) && value.length <= countMax && value.every(shape)
}

/** Any keys, of at most `countMax`, with values of one shape. */
export function record<T>(shape: Shape<T>, countMax: number): Shape<Readonly<Record<string, T>>> {
  return (value): value is Readonly<Record<string, T>> => {
    if (!isObject(value)) return false
    const values = Object.values(value)
    return values.length <= countMax && values.every(shape)
  }
}

/** Each field of `T` with its shape; a field that may be missing has a shape that accepts `undefined`. */
export function object<T extends object>(fields: { readonly [K in keyof T]-?: Shape<T[K]> }): Shape<T> {
  const entries = Object.entries(fields) as [string, Shape<unknown>][]
  return (value): value is T => isObject(value) && entries.every(([key, shape]) => shape(value[key]))
}

/** One of several object shapes. */
export function anyOf<T>(...shapes: readonly Shape<T>[]): Shape<T> {
  return (value): value is T => shapes.some((shape) => shape(value))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
