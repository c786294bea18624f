// json: any JSON text, kept as it was given. PocketBase: core/field_json.go.

import { JsonText, toSortedJson } from '../json/json-text.ts'
import type { JsonField } from './field.ts'
import { type FieldKind, invalid, requiredError } from './kind.ts'

/** Bytes; where the field says 0. */
const jsonBytesDefault = 1024 * 1024
const emptyTexts = new Set(['null', '""', '[]', '{}', ''])

/** Whitespace outside strings removed; the text is valid JSON. */
function compact(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (each) => (each.startsWith('"') ? each : ''))
}

function castText(text: string): JsonText {
  if (text === 'null' || text === 'true' || text === 'false') return new JsonText(text)
  // Only what looks like JSON is read as such; all else is a string.
  if (/^[0-9"[{-]/.test(text)) {
    const parsed = new JsonText(text)
    if (parsed.isValid) return new JsonText(compact(text))
  }
  return new JsonText(quoted(text))
}

const escapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}

/**
 * A text as Go's strconv.Quote writes it, which PocketBase stores: JSON for every text but those with control characters
 * or with what cannot be printed beyond the first 65,536, which its validation then refuses.
 */
function quoted(text: string): string {
  const inner = text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]|["\\]/gu, (char) => {
    const code = char.codePointAt(0)!
    if (escapes[char] !== undefined) return escapes[char]
    if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, '0')}`
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`
  })
  return `"${inner}"`
}

export function castJson(raw: unknown): JsonText {
  if (raw instanceof JsonText) return raw
  if (raw === null || raw === undefined) return JsonText.null
  if (typeof raw === 'string') return castText(raw)
  return new JsonText(toSortedJson(raw))
}

export const jsonKind: FieldKind<JsonField> = {
  columnType: () => 'JSON DEFAULT NULL',
  cast: (_, raw) => castJson(raw),
  fromDriver(_, value) {
    if (value === null) return JsonText.null
    if (typeof value === 'string') {
      const stored = new JsonText(value)
      return value !== '' && stored.isValid ? stored : castText(value)
    }
    return new JsonText(String(value))
  },
  // Nothing given is NULL; the word null, given as text, is the JSON value.
  toDriver: (_, value) => (value === JsonText.null ? null : (value as JsonText).text),
  show: (_, value) => value,
  set(record, field, raw) {
    record.values[field.name] = castJson(raw)
  },
  validate(field, record) {
    const value = record.values[field.name] as JsonText
    const maxBytes = field.maxSize || jsonBytesDefault
    if (Buffer.byteLength(value.text) > maxBytes)
      return invalid('validation_json_size_limit', `The maximum allowed JSON size is ${maxBytes} bytes`, {
        maxSize: maxBytes,
      })
    if (!value.isValid) return invalid('validation_invalid_json', 'Must be a valid json value')
    return field.required && emptyTexts.has(value.text.trim()) ? requiredError : null
  },
}
