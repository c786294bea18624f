// Flag over environment over file over default, for a table of options. Read once, at the edge, into a frozen object.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { ConfigError, errorMessage } from '../errors.ts'
import type { ValueParser } from './values.ts'

export interface OptionSpec<T = unknown> {
  /** Without dashes: `s3-endpoint`. */
  readonly flag: string
  readonly env: string
  /** How the value is shown in help; null for a switch that takes none. */
  readonly placeholder: string | null
  /** Effect, unit and default, in one sentence. */
  readonly about: string
  readonly parse: ValueParser<T>
  /** Secrets also come as `--FLAG-file PATH` and `ENV_FILE`, are never printed and never passed in argv to a child. */
  readonly secret?: boolean
}

export type OptionTable = Readonly<Record<string, OptionSpec>>

export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends OptionSpec<infer T> ? T | undefined : never
}

/** Where raw texts come from; keys are flags without dashes. */
export interface OptionSources {
  readonly flags: Readonly<Record<string, string>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly file: Readonly<Record<string, unknown>>
  /** Named in errors about the file. */
  readonly fileName?: string
}

/** Longest secret or configuration file that is read, bytes. */
export const configFileBytesMax = 1024 * 1024

/** Reads a small regular file; throws ConfigError that names `what` and the path. */
export function readSmallFile(path: string, what: string): string {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw new ConfigError(`${what}: cannot read ${path}: ${errorMessage(error)}`, { cause: error })
  }
  try {
    const { size } = fstatSync(fd)
    if (size > configFileBytesMax) throw new ConfigError(`${what}: ${path} is larger than ${configFileBytesMax} bytes`)
    const bytes = Buffer.alloc(configFileBytesMax)
    const length = readSync(fd, bytes)
    return bytes.toString('utf8', 0, length)
  } finally {
    closeSync(fd)
  }
}

function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return value.map(String).join(',')
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([key, each]) => `${key}=${each}`)
      .join(',')
  return null
}

interface Found {
  readonly text: string
  /** How the person wrote it: `--http`, `HTTP_ADDR` or `http in fleet.json`. */
  readonly source: string
}

function find(spec: OptionSpec, sources: OptionSources): Found | null {
  const flag = sources.flags[spec.flag]
  if (flag !== undefined) return { text: flag, source: `--${spec.flag}` }
  const fileFlag = spec.secret ? sources.flags[`${spec.flag}-file`] : undefined
  if (fileFlag !== undefined)
    return { text: readSmallFile(fileFlag, `--${spec.flag}-file`).trim(), source: `--${spec.flag}-file` }
  const variable = sources.env[spec.env]
  if (variable !== undefined && variable !== '') return { text: variable, source: spec.env }
  const fileVariable = spec.secret ? sources.env[`${spec.env}_FILE`] : undefined
  if (fileVariable) return { text: readSmallFile(fileVariable, `${spec.env}_FILE`).trim(), source: `${spec.env}_FILE` }
  const stored = sources.file[spec.flag]
  if (stored === undefined || stored === null) return null
  const source = `"${spec.flag}" in ${sources.fileName ?? 'the configuration file'}`
  const text = textOf(stored)
  if (text === null) throw new ConfigError(`${source}: expected a string, number, boolean, list or map`)
  return { text, source }
}

/**
 * Every option of `table`, checked and typed; undefined where nobody said anything.
 *
 * Throws ConfigError with one line that names where the value came from, what was got and what is allowed; also for
 * keys of the file that no option has.
 */
export function resolveOptions<const Table extends OptionTable>(
  table: Table,
  sources: OptionSources,
): OptionValues<Table> {
  const known = new Set(Object.values(table).map((spec) => spec.flag))
  for (const key of Object.keys(sources.file)) {
    if (!known.has(key)) {
      const near = nearest(key, [...known])
      const hint = near ? ` (did you mean "${near}"?)` : ''
      throw new ConfigError(`unknown key "${key}" in ${sources.fileName ?? 'the configuration file'}${hint}`)
    }
  }
  const values: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(table)) {
    const found = find(spec, sources)
    if (found === null) continue
    const parsed = spec.parse(found.text)
    if (!parsed.ok) {
      const got = spec.secret ? `a value of ${found.text.length} characters` : JSON.stringify(found.text)
      throw new ConfigError(`${found.source}: got ${got}, expected ${parsed.error}`)
    }
    values[name] = parsed.value
  }
  return Object.freeze(values) as OptionValues<Table>
}

/** The closest of `known` by edit distance, when it is close enough to be meant; else null. */
export function nearest(word: string, known: readonly string[]): string | null {
  let best: string | null = null
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const each of known) {
    const distance = editDistance(word, each)
    if (distance < bestDistance) {
      best = each
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein distance by the two-row method; inputs are option names, so short. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1))
    }
    previous = current
  }
  return previous[b.length]!
}
