// Patterns that tenants write for values, in Go's syntax (RE2). JavaScript's engine backtracks, so that one pattern could
// stop the worker for everybody; this one takes time in proportion to the text, as Go's does. ADR 18.

import type * as Re2 from 're2js'
import { LruMap } from '../../../lib/lru.ts'

/** Characters of a pattern; compiling one takes some milliseconds. */
export const patternLengthMax = 5_000
/** Instructions of the compiled pattern times characters of the text: at worst some 0.2 s of computing. */
const workMax = 4_000_000
/** Compiled patterns that are kept; each takes some 10 KB. */
const compiledMax = 500

/** What every new collection asks of its ids, and needs no engine. */
const plainPatterns: Readonly<Record<string, RegExp>> = { '^[a-z0-9]+$': /^[a-z0-9]+$/ }

export interface Pattern {
  /** Whether any part of the text matches. A text that would take too long does not. */
  test(text: string): boolean
}

const compiled = new LruMap<string, Pattern | string>(compiledMax)

/** The pattern, or what is wrong with it, in the words of Go's compiler. */
export function compilePattern(pattern: string): Pattern | string {
  const known = compiled.get(pattern)
  if (known !== undefined) return known
  const made = compile(pattern)
  compiled.set(pattern, made)
  return made
}

/** Whether a text has the form that a pattern asks for. No pattern asks for nothing, and an unusable one refuses all. */
export function hasForm(pattern: string, text: string): boolean {
  if (pattern === '') return true
  const usable = compilePattern(pattern)
  return typeof usable !== 'string' && usable.test(text)
}

function compile(pattern: string): Pattern | string {
  if (pattern.length > patternLengthMax) return `error parsing regexp: longer than ${patternLengthMax} characters`
  const plain = Object.hasOwn(plainPatterns, pattern) ? plainPatterns[pattern] : undefined
  if (plain !== undefined) return plain
  // With the first pattern that needs it: loading it takes a tenth of a standalone server's start.
  const { RE2JS, RE2JSException } = require('re2js') as typeof Re2
  try {
    const expression = RE2JS.compile(pattern)
    const size = Math.max(1, expression.programSize())
    return { test: (text) => size * text.length <= workMax && expression.test(text) }
  } catch (error) {
    if (error instanceof RE2JSException) return error.message
    throw error
  }
}
