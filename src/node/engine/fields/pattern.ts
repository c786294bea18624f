// Patterns that tenants write for values. Go's RE2 never backtracks; JavaScript's engine does, so a pattern could stop
// the worker for everybody. Patterns are therefore bounded in length, and what is matched against them as well.

import { LruMap } from '../../../lib/lru.ts'

/** Characters of a pattern. */
export const patternLengthMax = 1_000
const compiled = new LruMap<string, RegExp | null>(500)

/** The pattern as a RegExp; null when it is none. */
export function goPattern(pattern: string): RegExp | null {
  const known = compiled.get(pattern)
  if (known !== undefined) return known
  const made = compile(pattern)
  compiled.set(pattern, made)
  return made
}

function compile(pattern: string): RegExp | null {
  if (pattern.length > patternLengthMax) return null
  // `(?i)` and friends at the start are Go's way to set flags.
  const flags = /^\(\?([ims]+)\)/.exec(pattern)
  const body = (flags ? pattern.slice(flags[0].length) : pattern)
    .replaceAll('(?P<', '(?<')
    .replaceAll('\\z', '$')
    .replaceAll('\\A', '^')
  try {
    return new RegExp(body, `u${flags?.[1] ?? ''}`)
  } catch {
    try {
      return new RegExp(body, flags?.[1] ?? '') // legal without the u flag: an escaped character that needs none
    } catch {
      return null
    }
  }
}
