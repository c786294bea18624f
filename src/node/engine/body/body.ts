// Request bodies: JSON, forms, and multipart with uploads that stream to disk. PocketBase: tools/router.

import type { UploadedFile } from '../files/uploaded-file.ts'
import { BodyError, type BodyLimits, UnsupportedTypeError } from './body-error.ts'
import { parseMultipart } from './multipart.ts'

/** Levels of arrays and objects; PocketBase's decoder stops at 10,000, which would be ten thousand stack frames here. */
const depthMax = 500

export interface ParsedBody extends AsyncDisposable {
  readonly data: Readonly<Record<string, unknown>>
  /** The values of a form as they were sent, for who does not want them guessed. */
  readonly fields?: ReadonlyMap<string, readonly string[]>
  /** Deletes what was streamed to disk; called when the request has ended. */
  [Symbol.asyncDispose](): Promise<void>
}

const nothingToDelete = async () => {}

function parsed(data: Readonly<Record<string, unknown>>): ParsedBody {
  return { data, [Symbol.asyncDispose]: nothingToDelete }
}

/** Reads the whole body. Throws BodyError; never leaves a temporary file behind when it throws. */
export async function parseBody(request: Request, limits: BodyLimits): Promise<ParsedBody> {
  const contentType = request.headers.get('content-type') ?? ''
  const length = Number(request.headers.get('content-length') ?? 0)
  if (length > limits.bytesMax) throw new BodyError('body_too_large', 'the request body is too large')
  // By their beginning and by case, as PocketBase tells them apart.
  if (contentType.startsWith('multipart/form-data')) {
    if (request.body === null) return parsed({})
    const form = await parseMultipart(request.body, contentType, limits)
    try {
      const { fields, files, dispose } = form
      return { data: formToData(fields, files), fields, [Symbol.asyncDispose]: dispose }
    } catch (error) {
      await form.dispose()
      throw error
    }
  }
  if (contentType.startsWith('application/x-www-form-urlencoded')) {
    const fields = new Map<string, string[]>()
    for (const [name, value] of new URLSearchParams(await readText(request, limits.bytesMax)))
      fields.set(name, [...(fields.get(name) ?? []), value])
    return { ...parsed(formToData(fields, new Map())), fields }
  }
  const text = await readText(request, limits.bytesMax)
  if (text.trim() === '') return parsed({})
  if (/^(?:text|application)\/xml/.test(contentType)) throw new BodyError('bad_body', 'XML is not read')
  if (!contentType.startsWith('application/json')) throw new UnsupportedTypeError()
  return parsed(parseJsonObject(text))
}

async function readText(request: Request, bytesMax: number): Promise<string> {
  if (request.body === null) return ''
  const declared = request.headers.get('content-length')
  if (declared !== null && Number(declared) <= bytesMax) return await request.text()
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of request.body) {
    bytes += chunk.length
    if (bytes > bytesMax) throw new BodyError('body_too_large', 'the request body is too large')
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

/** Refuses nesting before the parser sees it: a recursive parser must not meet ten million brackets. */
function checkDepth(text: string): void {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x22) {
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > depthMax) throw new BodyError('bad_body', `JSON deeper than ${depthMax} levels`)
    } else if (code === 0x5d || code === 0x7d) depth--
  }
}

/** One JSON object, as Go's decoder reads it: `null` is an empty one, and what follows the object is not looked at. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> {
  checkDepth(text)
  let value: unknown
  try {
    value = parseWellFormed(text)
  } catch (error) {
    const end = endOfFirstValue(text)
    if (end === null || text.slice(end).trim() === '')
      throw new BodyError('bad_body', 'malformed JSON', { cause: error })
    try {
      value = parseWellFormed(text.slice(0, end))
    } catch (inner) {
      throw new BodyError('bad_body', 'malformed JSON', { cause: inner })
    }
  }
  if (value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value))
    throw new BodyError('bad_body', 'the body must be a JSON object')
  return value as Record<string, unknown>
}

/** Half of a surrogate pair is no character: Go's decoder puts U+FFFD in its place, and so does SQLite later. */
function parseWellFormed(text: string): unknown {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return JSON.parse(text)
  return JSON.parse(text, (_, value: unknown) => (typeof value === 'string' ? value.toWellFormed() : value))
}

/** Where the first object of `text` ends, or null when it does not. */
function endOfFirstValue(text: string): number | null {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (char === '"') {
      for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === '\\') at++
    } else if (char === '{' || char === '[') depth++
    else if ((char === '}' || char === ']') && --depth === 0) return at + 1
  }
  return null
}

/** Form values as PocketBase guesses them: several of one name become a list; `@jsonPayload` is merged last. */
function formToData(
  fields: ReadonlyMap<string, readonly string[]>,
  files: ReadonlyMap<string, readonly UploadedFile[]>,
): Readonly<Record<string, unknown>> {
  // Without a prototype: a field may be called `__proto__`.
  const data: Record<string, unknown> = Object.create(null)
  for (const [name, values] of fields) {
    if (name === '@jsonPayload') continue
    const inferred = values.map(inferValue)
    data[name] = inferred.length === 1 ? inferred[0] : inferred
  }
  for (const payload of fields.get('@jsonPayload') ?? []) Object.assign(data, parseJsonObject(payload))
  for (const [name, uploads] of files) {
    const present = data[name]
    const before = present === undefined || present === '' ? [] : Array.isArray(present) ? present : [present]
    data[name] = [...before, ...uploads]
  }
  return data
}

/** `true`, `false` and numbers in their shortest plain form become what they look like, all else stays text. */
export function inferValue(text: string): unknown {
  if (text === 'true') return true
  if (text === 'false') return false
  if (/^-?\d[\d.]*$/.test(text)) {
    const number = Number(text)
    if (Number.isFinite(number) && plainDecimal(number) === text) return number
  }
  return text
}

/** The shortest digits of a number without an exponent, as Go's FormatFloat(v, 'f', -1, 64) writes them. */
function plainDecimal(value: number): string {
  if (Object.is(value, -0)) return '-0'
  const text = String(value)
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text)
  if (match === null) return text
  const [, sign, first, rest = '', exponentText] = match
  const digits = first! + rest
  const exponent = Number(exponentText)
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
  return sign + digits.padEnd(exponent + 1, '0')
}
