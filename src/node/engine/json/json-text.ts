// JSON as PocketBase sends it: keys in the order given, `<`, `>`, `&`, U+2028 and U+2029 escaped, and stored JSON texts
// passed through byte for byte. Go: encoding/json.

/** JSON that is already text, kept as it was stored. */
export class JsonText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }

  static readonly null = new JsonText('null')

  /** The parsed value; undefined when the text is no JSON. */
  parse(): unknown {
    try {
      return JSON.parse(this.text)
    } catch {
      return undefined // stored by hand, or by a migration from elsewhere: shown as text, never trusted
    }
  }

  get isValid(): boolean {
    return this.parse() !== undefined
  }

  /** For plain JSON.stringify, in logs and tests. */
  toJSON(): unknown {
    return this.parse() ?? null
  }
}

const escapes: readonly (readonly [unsafe: string, safe: string])[] = [
  ['<', '\\u003c'],
  ['>', '\\u003e'],
  ['&', '\\u0026'],
  ['\u2028', '\\u2028'],
  ['\u2029', '\\u2029'],
]

/** What a JSON string may not hold as it is, lone surrogates among it: most texts have none of it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be escaped
const special = /["\\\u0000-\u001f\ud800-\udfff]/

/** A JSON string literal, still without the escapes of HTML's characters: {@link toJson} adds them to whole answers. */
export function quoteJson(text: string): string {
  return special.test(text) ? JSON.stringify(text) : `"${text}"`
}

/** Member names kept in quotes; the same few stand in every answer. */
const keysMax = 4_000
/** Characters of a name worth keeping: clients may send any. */
const keyLengthMax = 64
const keyCache = new Map<string, string>()

function quoteKey(key: string): string {
  let quoted = keyCache.get(key)
  if (quoted === undefined) {
    quoted = `${quoteJson(key)}:`
    if (keyCache.size < keysMax && key.length <= keyLengthMax) keyCache.set(key, quoted)
  }
  return quoted
}

/** Deeper values are our own mistake: bodies are limited when they are read. */
const depthMax = 1_000

/**
 * Writes a value as Go would. Members that are undefined are left out; numbers that JSON lacks become null.
 * Throws RangeError past {@link depthMax} levels.
 */
export function toJson(value: unknown): string {
  return escapeHtml(writeJson(value, 0))
}

/**
 * The same before HTML's characters are escaped: a part of an answer. An object with a `toJsonText` writes itself, also
 * without these escapes.
 */
export function writeJson(value: unknown, depth: number): string {
  if (depth > depthMax) throw new RangeError(`JSON deeper than ${depthMax} levels`)
  switch (typeof value) {
    case 'string':
      return quoteJson(value)
    case 'number':
      return numberToJson(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return value.toString()
    case 'object':
      break
    default:
      return 'null'
  }
  if (value === null) return 'null'
  if (value instanceof JsonText) return compactJson(value.text)
  if (Array.isArray(value)) {
    let text = '['
    for (let i = 0; i < value.length; i++) text += (i === 0 ? '' : ',') + writeJson(value[i], depth + 1)
    return `${text}]`
  }
  if ('toJsonText' in value && typeof value.toJsonText === 'function') return value.toJsonText(depth)
  if ('toJSON' in value && typeof value.toJSON === 'function') return writeJson(value.toJSON(), depth + 1)
  let text = '{'
  for (const key in value) {
    const member = (value as Record<string, unknown>)[key]
    if (member === undefined) continue
    text += (text.length === 1 ? '' : ',') + quoteKey(key) + writeJson(member, depth + 1)
  }
  return `${text}}`
}

function numberToJson(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? '-0' : String(value)
  return 'null'
}

/**
 * Outside of strings JSON has none of these characters, so a whole answer is escaped at once: one pass for each that is
 * there at all, which costs a fraction of doing it string by string.
 */
function escapeHtml(json: string): string {
  let escaped = json
  for (const [unsafe, safe] of escapes) if (escaped.includes(unsafe)) escaped = escaped.replaceAll(unsafe, safe)
  return escaped
}

/** JSON without the blanks between its tokens; numbers and escapes stay as they were written. */
export function compactJson(text: string): string {
  if (!/\s/.test(text)) return text
  let compact = ''
  let from = 0
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at)
    if (char === 0x22) {
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++
    } else if (char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09) {
      compact += text.slice(from, at)
      from = at + 1
    }
  }
  return compact + text.slice(from)
}

/** A JSON value re-written as Go's map[string]any would be: keys sorted, whitespace gone. */
export function toSortedJson(value: unknown): string {
  return toJson(sortKeys(value, 0))
}

function sortKeys(value: unknown, depth: number): unknown {
  if (depth > depthMax) throw new RangeError(`JSON deeper than ${depthMax} levels`)
  if (Array.isArray(value)) return value.map((each) => sortKeys(each, depth + 1))
  if (typeof value !== 'object' || value === null || value instanceof JsonText) return value
  const sorted: Record<string, unknown> = Object.create(null) // a key may be `__proto__`
  for (const key of Object.keys(value).sort())
    sorted[key] = sortKeys((value as Record<string, unknown>)[key], depth + 1)
  return sorted
}
