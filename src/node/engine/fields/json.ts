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
  return new JsonText(JSON.stringify(text))
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
