// Functions that filters may call.

import type { SqlOperand } from './operand.ts'
import type { Operand } from './parser.ts'
import { FilterError } from './resolver.ts'

/** strftime takes a format, a time and modifiers, this many together at most. */
const strftimeArgsMax = 10

type Resolve = (operand: Operand) => SqlOperand

/** Throws FilterError for unknown functions and wrong arguments. */
export function callFunction(name: string, args: readonly Operand[], resolve: Resolve): SqlOperand {
  if (name === 'geoDistance') return geoDistance(args, resolve)
  if (name === 'strftime') return strftime(args, resolve)
  throw new FilterError(`unknown function ${JSON.stringify(name)}`)
}

/** Haversine distance in km between (lonA, latA) and (lonB, latB). */
function geoDistance(args: readonly Operand[], resolve: Resolve): SqlOperand {
  if (args.length !== 4) throw new FilterError(`[geoDistance] expected 4 arguments, got ${args.length}`)
  const resolved = args.map((arg, index) => {
    if (arg.kind !== 'identifier' && arg.kind !== 'number')
      throw new FilterError(`[geoDistance] argument ${index} must be an identifier or number`)
    return resolveArgument(`[geoDistance] failed to resolve argument ${index}`, arg, resolve)
  })
  const build = ([lonA, latA, lonB, latB]: readonly string[]) => {
    const cosines = `cos(radians(${latA})) * cos(radians(${latB})) * cos(radians(${lonB}) - radians(${lonA}))`
    const sines = `sin(radians(${latA})) * sin(radians(${latB}))`
    return `(6371 * acos(${cosines} + ${sines}))`
  }
  return { ...called(resolved, build), nulls: 'disabled', multi: null }
}

/**
 * The SQL of a call. On the right of `~`, as in PocketBase, it is not the outcome that becomes a pattern but each
 * parameter of the call.
 */
function called(
  args: readonly SqlOperand[],
  build: (texts: readonly string[]) => string,
): Pick<SqlOperand, 'sql' | 'argumentLiterals' | 'likeSql'> {
  const sql = build(args.map((each) => each.sql))
  const argumentLiterals = args.flatMap(({ literal }) => (literal === undefined ? [] : [literal]))
  if (argumentLiterals.length === 0) return { sql }
  return {
    sql,
    argumentLiterals,
    likeSql: (pattern) => build(args.map(({ sql, literal }) => (literal === undefined ? sql : pattern(literal)))),
  }
}

/** SQLite's strftime, with NULL as the empty string. */
function strftime(args: readonly Operand[], resolve: Resolve): SqlOperand {
  const count = args.length
  if (count < 1) throw new FilterError('[strftime] expected at least 1 arguments, got 0')
  if (count > strftimeArgsMax)
    throw new FilterError(`[strftime] too many arguments (max allowed ${strftimeArgsMax}, got ${count})`)
  const resolved = args.map((arg, index) => {
    if (index === 0 && arg.kind !== 'text')
      throw new FilterError('[strftime] expects the first argument to be a format string')
    if (index === 1 && arg.kind === 'function')
      throw new FilterError('[strftime] expects the second argument to be of a valid time-value type')
    if (index > 1 && arg.kind !== 'text')
      throw new FilterError(`[strftime] invalid modifier argument ${index - 2} - can be only string`)
    return resolveArgument('[strftime] failed to resolve time-value argument', arg, resolve)
  })
  const texts = resolved.map((each) => each.sql)
  const multi = resolved[1]?.multi ?? null
  return {
    ...called(resolved, (each) => `strftime(${each.join(',')})`),
    nulls: 'enforced',
    multi:
      multi === null ? null : { ...multi, value: `strftime(${[texts[0], multi.value, ...texts.slice(2)].join(',')})` },
  }
}

function resolveArgument(failure: string, arg: Operand, resolve: Resolve): SqlOperand {
  try {
    return resolve(arg)
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    throw new FilterError(`${failure}: ${error.message}`, { cause: error })
  }
}
