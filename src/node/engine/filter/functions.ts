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
  throw new FilterError(`unknown function ${name}`)
}

/** Haversine distance in km between (lonA, latA) and (lonB, latB). */
function geoDistance(args: readonly Operand[], resolve: Resolve): SqlOperand {
  if (args.length !== 4) throw new FilterError('geoDistance takes 4 arguments')
  if (args.some(({ kind }) => kind !== 'identifier' && kind !== 'number'))
    throw new FilterError('geoDistance takes fields and numbers')
  const [lonA, latA, lonB, latB] = args.map((arg) => resolve(arg).sql)
  const cosines = `cos(radians(${latA})) * cos(radians(${latB})) * cos(radians(${lonB}) - radians(${lonA}))`
  const sines = `sin(radians(${latA})) * sin(radians(${latB}))`
  return { sql: `(6371 * acos(${cosines} + ${sines}))`, nulls: 'disabled', multi: null }
}

/** SQLite's strftime, with NULL as the empty string. */
function strftime(args: readonly Operand[], resolve: Resolve): SqlOperand {
  if (args.length < 1 || args.length > strftimeArgsMax)
    throw new FilterError(`strftime takes 1 to ${strftimeArgsMax} arguments`)
  if (args[0]!.kind !== 'text') throw new FilterError('strftime needs a format')
  if (args[1]?.kind === 'function') throw new FilterError('the time of strftime is a text, a number or a field')
  if (args.slice(2).some(({ kind }) => kind !== 'text')) throw new FilterError('modifiers of strftime are texts')
  const resolved = args.map(resolve)
  const texts = resolved.map((each) => each.sql)
  const multi = resolved[1]?.multi ?? null
  return {
    sql: `strftime(${texts.join(',')})`,
    nulls: 'enforced',
    multi:
      multi === null ? null : { ...multi, value: `strftime(${[texts[0], multi.value, ...texts.slice(2)].join(',')})` },
  }
}
