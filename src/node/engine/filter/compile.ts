// Filters, rules and sorts of one statement, compiled to SQL over one set of joins and parameters. PocketBase:
// tools/search/filter.go, core/record_field_resolver.go.

import type { Collection } from '../collections/collection.ts'
import { compare } from './compare.ts'
import { callFunction } from './functions.ts'
import { macroValue } from './macros.ts'
import type { Join, Parameters, SqlOperand } from './operand.ts'
import { type Expression, type Group, isGroup, type Operand, operandText, parseFilter } from './parser.ts'
import { FilterError, Resolver, type ResolverOptions, type RuleRequest } from './resolver.ts'

/** Comparisons of one rule, and of one filter that a client sent. */
export const ruleExpressionsMax = 200
export const clientExpressionsMax = 200
/** Bytes of a filter that a client sent. */
export const clientFilterBytesMax = 3_500

export interface CompilerOptions {
  readonly base: Collection
  readonly baseSource?: string
  readonly request: RuleRequest | null
  readonly findCollection: (nameOrId: string) => Collection | undefined
  readonly params: Parameters
  readonly allowHidden: boolean
  /** What the macros are relative to. */
  readonly nowMs: number
}

/** What resolves names of one filter; collections by {@link Resolver}, other tables by a list of columns. */
export interface NameResolver {
  resolve(path: string, replace: (filter: string) => string): SqlOperand
}

export class FilterCompiler {
  readonly params: Parameters
  readonly resolver: Resolver
  readonly #options: CompilerOptions
  readonly #extraJoins: Join[] = []
  readonly #aliases = { next: 0 }

  constructor(options: CompilerOptions) {
    this.#options = options
    this.params = options.params
    this.resolver = new Resolver(options)
  }

  get hasJoins(): boolean {
    return this.resolver.joins.length + this.#extraJoins.length > 0
  }

  /** A filter in parentheses. Throws FilterError. */
  condition(text: string, expressionsMax: number): string {
    return this.#compile(text, expressionsMax, this.resolver)
  }

  /** The column or expression of a sort key. Throws FilterError for what is none. */
  sortColumn(key: string): string {
    const operand = this.resolver.resolve(key, (filter) => this.condition(filter, ruleExpressionsMax))
    if (operand.sql === 'NULL' || operand.literal !== undefined) throw new FilterError(`invalid sort key ${key}`)
    return operand.sql
  }

  /**
   * The list rules of collections that a client's filter or sort reached through joins: what it may not list, it may not
   * probe. They may add joins of their own, so they come before {@link joinText}.
   */
  ruleConditions(): string[] {
    const conditions: string[] = []
    for (const [alias, collection] of this.resolver.ruledJoins) {
      const { listRule } = collection.data
      if (listRule === null || listRule === '') continue
      const options: ResolverOptions = {
        ...this.#options,
        base: collection,
        baseAlias: alias,
        allowHidden: true,
        suffix: `_r${this.#aliases.next++}`,
      }
      const resolver = new Resolver({ ...options, baseSource: undefined } as ResolverOptions)
      // An empty id stands for "no related record": else a missing relation would empty the whole list.
      conditions.push(this.#compile(`id='' || (\n${listRule}\n)`, ruleExpressionsMax, resolver))
      this.#extraJoins.push(...resolver.joins)
    }
    return conditions
  }

  /** The joins of everything compiled so far, with a blank before each. */
  joinText(): string {
    return [...this.resolver.joins, ...this.#extraJoins]
      .map(({ source, on }) => ` LEFT JOIN ${source}${on === null ? '' : ` ON ${on}`}`)
      .join('')
  }

  #compile(text: string, expressionsMax: number, resolver: NameResolver): string {
    return compileFilter(text, {
      resolver,
      params: this.params,
      nowMs: this.#options.nowMs,
      expressionsMax,
      nextAlias: () => `__sm${this.#aliases.next++}`,
    })
  }
}

export interface FilterOptions {
  readonly resolver: NameResolver
  readonly params: Parameters
  readonly nowMs: number
  readonly expressionsMax: number
  /** Fresh table aliases within the statement. */
  readonly nextAlias: () => string
}

/** One filter as SQL in parentheses. Throws FilterError. */
export function compileFilter(text: string, options: FilterOptions): string {
  const parsed = parseFilter(text)
  if (!parsed.ok) throw new FilterError(parsed.error)
  let left = options.expressionsMax
  const compileGroup = (group: Group): string => {
    let sql = ''
    for (const { join, node } of group.items) {
      const part = isGroup(node) ? compileGroup(node) : compileExpression(node)
      sql += sql === '' ? part : ` ${join === 'or' ? 'OR' : 'AND'} ${part}`
    }
    return `(${sql})`
  }
  const compileExpression = ({ left: a, operator, isAny, right: b }: Expression): string => {
    if (left-- <= 0) throw new FilterError('max filter expressions limit reached')
    const [first, second] = [sideOf('left', a, options), sideOf('right', b, options)]
    return compare(first, operator, isAny, second, options.params, options.nextAlias)
  }
  return compileGroup(parsed.value)
}

const words: Readonly<Record<string, string>> = { null: 'NULL', true: '1', false: '0' }

function sideOf(side: 'left' | 'right', operand: Operand, options: FilterOptions): SqlOperand {
  try {
    return operandOf(operand, options)
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    const name = JSON.stringify(operandText(operand))
    throw new FilterError(`invalid ${side} operand ${name} - ${error.message}`, { cause: error })
  }
}

function operandOf(operand: Operand, options: FilterOptions): SqlOperand {
  const { params, resolver } = options
  switch (operand.kind) {
    case 'text':
      return { sql: params.add(operand.text), literal: operand.text, nulls: 'auto', multi: null }
    case 'number':
      return { sql: params.add(operand.value), literal: operand.value, nulls: 'auto', multi: null }
    case 'function':
      return callFunction(operand.name, operand.args, (arg) => operandOf(arg, options))
    case 'identifier': {
      const value = macroValue(operand.text, options.nowMs)
      if (typeof value === 'number')
        return { sql: params.addInteger(value), literal: value, nulls: 'auto', multi: null }
      if (value !== undefined) return { sql: params.add(value), literal: value, nulls: 'auto', multi: null }
      try {
        return resolver.resolve(operand.text, (filter) => compileFilter(filter, options))
      } catch (error) {
        // A field of the name goes before the word.
        const word = words[operand.text.toLowerCase()]
        if (!(error instanceof FilterError) || word === undefined) throw error
        return { sql: word, nulls: 'auto', multi: null }
      }
    }
  }
}
