// Input casts with the outcomes of Go's spf13/cast, as far as a JSON body or a form field can show them.

import { JsonText } from '../json/json-text.ts'

/** A finite number without exponent, as strconv.FormatFloat(v, 'f', -1, 64) writes it. */
export function formatFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  if (Object.is(value, -0)) return '-0'
  const text = String(value)
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text)
  if (match === null) return text
  const [, sign, head, fraction = '', exponentText] = match
  const exponent = Number(exponentText)
  const digits = head! + fraction
  const point = 1 + exponent
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  if (point >= digits.length) return sign + digits + '0'.repeat(point - digits.length)
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
}

export function toText(raw: unknown): string {
  switch (typeof raw) {
    case 'string':
      return raw
    case 'number':
      return formatFloat(raw)
    case 'bigint':
      return raw.toString()
    case 'boolean':
      return raw ? 'true' : 'false'
    default:
      return raw instanceof JsonText ? raw.text : ''
  }
}

/** strconv.ParseFloat without its hexadecimal forms, which a form field reads as 0. */
const numberPattern = /^[+-]?(\d+(_\d+)*(\.(\d+(_\d+)*)?)?|\.\d+(_\d+)*)([eE][+-]?\d+)?$/

export function toNumber(raw: unknown): number {
  if (typeof raw === 'number') return raw
  if (typeof raw === 'boolean') return raw ? 1 : 0
  if (typeof raw === 'bigint') return Number(raw)
  if (typeof raw !== 'string') return 0
  if (/^[+-]?(inf|infinity)$/i.test(raw)) return raw.startsWith('-') ? -Infinity : Infinity
  if (/^nan$/i.test(raw)) return Number.NaN
  const value = numberPattern.test(raw) ? Number(raw.replaceAll('_', '')) : 0
  return Number.isFinite(value) ? value : 0 // out of range is as good as no number
}

const truthy = new Set(['1', 't', 'T', 'true', 'TRUE', 'True'])

export function toBool(raw: unknown): boolean {
  if (typeof raw === 'boolean') return raw
  if (typeof raw === 'number') return raw !== 0
  if (typeof raw === 'bigint') return raw !== 0n
  return typeof raw === 'string' && truthy.has(raw)
}

/** list.ToUniqueStringSlice: blanks and duplicates dropped; a string that holds a JSON array is read as one. */
export function toTexts(raw: unknown): string[] {
  let items: readonly unknown[]
  if (Array.isArray(raw)) items = raw
  else if (typeof raw === 'string') items = raw.startsWith('[') ? (parseArray(raw) ?? [raw]) : [raw]
  else if (raw instanceof JsonText) items = parseArray(raw.text) ?? []
  else if (raw === null || raw === undefined) return []
  else items = [raw]
  const texts = new Set<string>()
  for (const item of items) {
    const text = toText(item)
    if (text !== '') texts.add(text)
  }
  return [...texts]
}

function parseArray(text: string): unknown[] | null {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : null
  } catch {
    return null // not JSON after all: a plain value that starts with a bracket
  }
}
