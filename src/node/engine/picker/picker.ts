// The `fields` parameter: `*,expand.author.name,body:excerpt(200,true)`. PocketBase: tools/picker.

import { LruMap } from '../../../lib/lru.ts'
import { JsonText, toSortedJson } from '../json/json-text.ts'

/** Parts of one parameter. */
const partsMax = 500

/** Members whose treatment is remembered for one parameter, and characters of the name of one: data may have any. */
const cutsMax = 200
const cutNameLengthMax = 100
/** Parameters that are kept parsed, and characters of one: clients send the same few. */
const parsedMax = 200
const parsedLengthMax = 500

type Modifier = (value: unknown) => unknown
/** By path as written, what is done to the value; null: nothing. */
type Paths = Map<string, Modifier | null>
/** What becomes of a member: it goes, it stays (modified, unless null), or is looked into. */
type Cut = 'drop' | { readonly modify: Modifier | null } | Fields

const isBelow = (path: string, key: string) =>
  path.startsWith(key) && (path.length === key.length || path[key.length] === '.')

/** A parameter, or what it says below one member. */
class Fields {
  readonly paths: Paths
  readonly #cuts = new Map<string, Cut>()
  /** How much more may be remembered, here and below. */
  readonly #room: { left: number }

  constructor(paths: Paths, room = { left: cutsMax }) {
    this.paths = paths
    this.#room = room
  }

  /** Whether a `*` stands anywhere in it: what it means depends on the data it has seen. */
  get hasWildcard(): boolean {
    for (const path of this.paths.keys()) if (path.includes('*')) return true
    return false
  }

  /** Takes `*` for all of these keys that are not named. */
  widen(keys: readonly string[]): void {
    const all = this.paths.get('*')
    if (all === undefined) return
    for (const key of keys) {
      if ([...this.paths.keys()].some((path) => isBelow(path, key))) continue
      this.paths.set(key, all)
      this.#cuts.clear()
    }
  }

  cutOf(key: string): Cut {
    const known = this.#cuts.get(key)
    if (known !== undefined) return known
    const cut = this.#makeCut(key)
    const isLasting = key.length <= cutNameLengthMax && !(cut instanceof Fields && cut.hasWildcard)
    if (isLasting && this.#room.left > 0) {
      this.#room.left--
      this.#cuts.set(key, cut)
    }
    return cut
  }

  #makeCut(key: string): Cut {
    const matching = [...this.paths].filter(([path]) => isBelow(path, key))
    if (matching.length === 0) return 'drop'
    const final = matching.find(([path]) => path === key)
    if (final !== undefined) return { modify: final[1] }
    return new Fields(new Map(matching.map(([path, each]) => [path.slice(key.length + 1), each])), this.#room)
  }
}

/** A part that is no field, such as an unknown modifier: PocketBase answers 200 with an empty body. */
class PickError extends Error {}

/** What Go trims from a part. */
const blanks = /^[\t\n\v\f\r \u0085\u00a0]+|[\t\n\v\f\r \u0085\u00a0]+$/g

/** Splits at `separators` outside quotes and, unless they separate themselves, parentheses; empty parts are dropped. */
function tokenize(text: string, separators: string): string[] {
  const countsParentheses = !separators.includes('(')
  const tokens: string[] = []
  let token = ''
  let depth = 0
  let quote = ''
  let previous = ''
  const end = () => {
    const trimmed = token.replace(blanks, '')
    if (trimmed !== '') tokens.push(trimmed)
    token = ''
    previous = ''
  }
  for (const char of text) {
    if (previous !== '\\') {
      if (countsParentheses && char === '(' && quote === '') depth++
      else if (countsParentheses && char === ')' && depth > 0 && quote === '') depth--
      else if (char === "'" || char === '"' || char === '`') {
        if (quote === char) quote = ''
        else if (quote === '') quote = char
      }
    }
    if (separators.includes(char) && depth === 0 && quote === '') end()
    else {
      previous = char
      token += char
    }
  }
  if (depth > 0 || quote !== '') throw new PickError(text)
  end()
  return tokens
}

const parsed = new LruMap<string, Fields>(parsedMax)

function parse(text: string): Fields {
  const known = parsed.get(text)
  if (known !== undefined) return known
  const paths: Paths = new Map()
  for (const part of tokenize(text, ',').slice(0, partsMax)) {
    const colon = part.indexOf(':')
    if (colon < 0) paths.set(part, null)
    else paths.set(part.slice(0, colon), parseModifier(part.slice(colon + 1)))
  }
  const fields = new Fields(paths)
  if (text.length <= parsedLengthMax && !fields.hasWildcard) parsed.set(text, fields)
  return fields
}

function parseModifier(text: string): Modifier {
  const [name, ...args] = tokenize(text, '(), ')
  const max = /^[+-]?\d+$/.test(args[0] ?? '') ? Number(args[0]) : 0
  if (name !== 'excerpt' || args.length > 2 || max <= 0) throw new PickError(text)
  const withEllipsis = ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(args[1] ?? '')
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
  const visible = html.includes('<') ? withoutTags(html) : html
  const decoded = visible.includes('&') ? decodeEntities(visible) : visible
  const text = (uneven.test(decoded) ? decoded.replace(/\s+/g, ' ') : decoded).trim()
  if (text.length <= max) return text // a character is at least one unit of UTF-16
  const start = text.slice(0, (max + 1) * 2) // and two at most: one more than `max` surely stands in these
  if (!surrogates.test(start)) return shortened(text.slice(0, max), withEllipsis)
  const characters = [...start]
  return characters.length <= max ? text : shortened(characters.slice(0, max).join(''), withEllipsis)
}

/** Blanks that are not single spaces already. */
const uneven = /[^\S ]| {2}/
const surrogates = /[\ud800-\udfff]/

function shortened(text: string, withEllipsis: boolean): string {
  return text.trimEnd() + (withEllipsis ? '...' : '')
}

/** Elements whose content is no text. */
const hiddenTags = new Set(
  'head style script iframe applet object svg picture dialog template button form textarea select option'.split(' '),
)

/**
 * HTML without its tags, comments and hidden elements, in one pass: what does not end is looked for once, or a text full
 * of beginnings would take hours.
 */
function withoutTags(html: string): string {
  const missing = new Set<string>()
  /** Where something that begins before `from` ends, or -1. */
  const endOf = (name: string, pattern: RegExp, from: number): number => {
    if (missing.has(name)) return -1
    pattern.lastIndex = from
    if (pattern.test(html)) return pattern.lastIndex
    missing.add(name)
    return -1
  }
  const tag = /<\/?([a-z][a-z0-9]*)\b/iy
  let text = ''
  for (let at = 0; ; ) {
    const begin = html.indexOf('<', at)
    if (begin < 0) return text + html.slice(at)
    text += html.slice(at, begin)
    tag.lastIndex = begin
    const name = tag.exec(html)?.[1]?.toLowerCase()
    let end = -1
    if (name === undefined) {
      if (html.startsWith('<!--', begin)) end = endOf('--', /-->/g, begin + 4)
    } else {
      const isHidden = html[begin + 1] !== '/' && hiddenTags.has(name)
      if (isHidden) end = endOf(name, new RegExp(`</${name}\\s*>`, 'gi'), tag.lastIndex)
      if (end < 0) {
        end = endOf('>', />/g, tag.lastIndex)
        if (end >= 0 && !inlineTags.has(name)) text += ' '
      }
    }
    if (end < 0) text += '<'
    at = end < 0 ? begin + 1 : end
  }
}

type Wants = (key: string) => boolean

/**
 * Plain data of anything that may stand in an answer.
 *
 * @param wants which members of the outermost records are looked at; making the others would be for nothing.
 */
function plain(value: unknown, wants: Wants | null): unknown {
  if (value instanceof JsonText) return value.parse() ?? null
  if (Array.isArray(value)) return value.map((each) => plain(each, wants))
  if (typeof value !== 'object' || value === null) return value
  if ('export' in value && typeof value.export === 'function') return plainMembers(value.export(wants), null)
  if ('toJSON' in value && typeof value.toJSON === 'function') return plain(value.toJSON(), null)
  return plainMembers(value, wants)
}

function plainMembers(value: object, wants: Wants | null): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each, wants)]))
}

/** What {@link pickObject} will keep of a record, or null where that depends on its members. */
function wantsOf({ paths }: Fields): Wants | null {
  if (paths.size === 0 || paths.has('*')) return null
  const names = new Set([...paths.keys()].map((path) => path.split('.', 1)[0]!))
  return (key) => names.has(key) || key.includes('.')
}

type Data = Record<string, unknown>

function isObject(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Drops from `value`, in place, what `fields` do not name. Lists whose first item is no object stay as they are. */
function pick(value: unknown, fields: Fields): void {
  if (isObject(value)) pickObject(value, fields)
  else if (Array.isArray(value) && isObject(value[0]))
    for (const item of value) if (isObject(item)) pickObject(item, fields)
}

function pickObject(data: Data, fields: Fields): void {
  if (fields.paths.size === 0) return
  const keys = Object.keys(data)
  fields.widen(keys)
  for (const key of keys) {
    const cut = fields.cutOf(key)
    if (cut === 'drop') delete data[key]
    else if (cut instanceof Fields) pick(data[key], cut)
    else if (cut.modify !== null) data[key] = cut.modify(data[key])
  }
}

const envelopeKeys = ['page', 'perPage', 'totalItems', 'totalPages', 'items']

/** JSON of what `fields` names. In a page the envelope stays and the items are picked from; empty text for a bad modifier. */
export function pickFields(value: unknown, fields: string): string {
  try {
    const named = parse(fields)
    const isPage = isObject(value) && envelopeKeys.every((key) => key in value)
    // In any other object the paths begin with its members, not with those of a record in it.
    const isOfRecords = isPage || Array.isArray(value) || (isObject(value) && 'export' in value)
    const data = plain(value, isOfRecords ? wantsOf(named) : null)
    pick(isPage ? (data as Data)['items'] : data, named)
    return toSortedJson(data)
  } catch (error) {
    if (error instanceof PickError) return ''
    throw error
  }
}
