// Names of filters over tables that are no collections, such as the logs: plain columns, and JSON paths in them.

import { quoteName } from '../db/sql.ts'
import type { NameResolver } from './compile.ts'
import { FilterError } from './resolver.ts'

/** Allows exactly these names, or what matches one of these patterns. */
export function simpleResolver(allowed: readonly (string | RegExp)[]): NameResolver {
  return {
    resolve(path) {
      const isAllowed = allowed.some((each) => (typeof each === 'string' ? each === path : each.test(path)))
      if (!isAllowed || !/^\w+(\.\w+)*$/.test(path)) throw new FilterError(`${path} cannot be filtered by`)
      const [name, ...rest] = path.split('.')
      if (rest.length === 0) return { sql: quoteName(name!), nulls: 'auto', multi: null }
      // Word characters only, so that no part can end the literal.
      const at = rest.map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`)).join('')
      return { sql: `JSON_EXTRACT(${quoteName(name!)}, '$${at}')`, nulls: 'disabled', multi: null }
    },
  }
}
