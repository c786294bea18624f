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
  const [lonA, latA, lonB, latB] = args.map((arg, index) => {
    if (arg.kind !== 'identifier' && arg.kind !== 'number')
      throw new FilterError(`[geoDistance] argument ${index} must be an identifier or number`)
    return resolveArgument(`[geoDistance] failed to resolve argument ${index}`, arg, resolve).sql
  })
  const cosines = `cos(radians(${latA})) * cos(radians(${latB})) * cos(radians(${lonB}) - radians(${lonA}))`
  const sines = `sin(radians(${latA})) * sin(radians(${latB}))`
  return { sql: `(6371 * acos(${cosines} + ${sines}))`, nulls: 'disabled', multi: null }
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
    sql: `strftime(${texts.join(',')})`,
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
