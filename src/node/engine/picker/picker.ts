// The `fields` parameter: `*,expand.author.name,body:excerpt(200,true)`. PocketBase: tools/picker.

import { JsonText, toJson } from '../json/json-text.ts'

/** Parts of one parameter, and depth of one part. */
const partsMax = 500
const depthMax = 20

interface Picked {
  readonly children: Map<string, Picked>
  modifier: ((value: unknown) => unknown) | null
}

/** A part that is no field, such as an unknown modifier: PocketBase answers 200 with an empty body. */
class PickError extends Error {}

const newPicked = (): Picked => ({ children: new Map(), modifier: null })

/** Splits at commas outside parentheses. */
function splitParts(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let from = 0
  for (let at = 0; at <= text.length; at++) {
    const char = text[at]
    if (char === '(') depth++
    else if (char === ')') depth = Math.max(0, depth - 1)
    else if (char === undefined || (char === ',' && depth === 0)) {
      const part = text.slice(from, at).trim()
      if (part !== '') parts.push(part)
      from = at + 1
    }
  }
  return parts
}

function parse(fields: string): Picked {
  const root = newPicked()
  for (const part of splitParts(fields).slice(0, partsMax)) {
    const colon = part.indexOf(':')
    const path = (colon < 0 ? part : part.slice(0, colon)).split('.')
    if (path.length > depthMax) throw new PickError(part)
    let node = root
    for (const name of path) {
      let child = node.children.get(name)
      if (child === undefined) node.children.set(name, (child = newPicked()))
      node = child
    }
    if (colon >= 0) node.modifier = parseModifier(part.slice(colon + 1))
  }
  return root
}

function parseModifier(text: string): (value: unknown) => unknown {
  const match = /^excerpt\(\s*(\d+)\s*(?:,\s*(\w+)\s*)?\)$/.exec(text)
  const max = Number(match?.[1] ?? 0)
  if (match === null || max === 0) throw new PickError(text)
  const withEllipsis = ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(match[2] ?? '')
  return (value) => (typeof value === 'string' ? excerpt(value, max, withEllipsis) : value)
}

const inlineTags = new Set([
  'a',
  'abbr',
  'acronym',
  'b',
  'bdo',
  'big',
  'br',
  'button',
  'cite',
  'code',
  'em',
  'i',
  'label',
  'q',
  'small',
  'span',
  'strong',
  'strike',
  'sub',
  'sup',
  'time',
])

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' }

function decodeEntities(text: string): string {
  return text.replace(/&(#x[0-9a-f]{1,6}|#\d{1,7}|[a-z]+);/gi, (whole, name: string) => {
    if (!name.startsWith('#')) return entities[name.toLowerCase()] ?? whole
    const code = name[1]?.toLowerCase() === 'x' ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1))
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

/** The text of HTML, shortened to `max` characters. */
function excerpt(html: string, max: number, withEllipsis: boolean): string {
  const visible = html
    .replace(/<!--[\s\S]*?-->/g, '')
    .replace(/<(script|style|iframe|object|svg|embed|template)\b[\s\S]*?<\/\1\s*>/gi, '')
    .replace(/<\/?([a-z][a-z0-9]*)\b[^>]*>/gi, (_, tag: string) => (inlineTags.has(tag.toLowerCase()) ? '' : ' '))
  const text = decodeEntities(visible)
    .replace(/[\s\u00a0]+/g, ' ')
    .trim()
  const characters = [...text]
  if (characters.length <= max) return text
  return characters.slice(0, max).join('').trimEnd() + (withEllipsis ? '...' : '')
}

/** Plain data of anything that may stand in an answer. */
function plain(value: unknown): unknown {
  if (value instanceof JsonText) return value.parse() ?? null
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  if ('toJSON' in value && typeof value.toJSON === 'function') return plain(value.toJSON())
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]))
}

function pick(value: unknown, picked: Picked): unknown {
  if (Array.isArray(value)) return value.map((each) => pick(each, picked))
  if (typeof value !== 'object' || value === null) return value
  const result: Record<string, unknown> = {}
  const all = picked.children.get('*')
  for (const key of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[key]
    const child = picked.children.get(key) ?? all
    if (child === undefined) continue
    const inner = child.children.size > 0 ? pick(member, child) : member
    result[key] = child.modifier === null ? inner : child.modifier(inner)
  }
  return result
}

const envelopeKeys = ['page', 'perPage', 'totalItems', 'totalPages', 'items']

/** JSON of what `fields` names. In a page the envelope stays and the items are picked from; empty text for a bad modifier. */
export function pickFields(value: unknown, fields: string): string {
  try {
    const picked = parse(fields)
    const data = plain(value)
    if (typeof data === 'object' && data !== null && !Array.isArray(data) && envelopeKeys.every((key) => key in data)) {
      const { items, ...envelope } = data as Record<string, unknown>
      return toJson({ ...envelope, items: pick(items, picked) } satisfies Record<string, unknown>)
    }
    return toJson(pick(data, picked))
  } catch (error) {
    if (error instanceof PickError) return ''
    throw error
  }
}
