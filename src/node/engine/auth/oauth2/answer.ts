// Reading of JSON that a provider sent: nothing about its shape is sure, so every read has an answer.

/** The value at `path`, or undefined. */
export function at(json: unknown, ...path: readonly string[]): unknown {
  let value = json
  for (const member of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member)) return undefined
    value = (value as Record<string, unknown>)[member]
  }
  return value
}

/** The text at `path`; empty for anything but text. */
export function text(json: unknown, ...path: readonly string[]): string {
  const value = at(json, ...path)
  return typeof value === 'string' ? value : ''
}

/** An id that is sent as a number, as text; empty for anything but an integer. */
export function number(json: unknown, ...path: readonly string[]): string {
  const value = at(json, ...path)
  return typeof value === 'number' && Number.isInteger(value) ? String(value) : ''
}

export function items(json: unknown): readonly unknown[] {
  return Array.isArray(json) ? json : []
}

export function item(json: unknown, index: number): unknown {
  return items(json)[index]
}

/** Providers say true, "true" or 1. */
export function asBoolean(value: unknown): boolean {
  if (typeof value === 'string') return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)
  return value === true || (typeof value === 'number' && value !== 0)
}
