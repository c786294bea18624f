// Comparisons in SQL with PocketBase's idea of empty values, LIKE and several values. PocketBase: tools/search/filter.go.

import type { SqlValue } from '../db/sql.ts'
import { formatFloat } from '../fields/cast.ts'
import type { Parameters, SqlOperand } from './operand.ts'
import type { Comparison } from './parser.ts'

const isBlank = (value: SqlValue) => value === null || value === ''

function literalsOf({ literal, argumentLiterals }: SqlOperand): readonly SqlValue[] {
  return argumentLiterals ?? (literal === undefined ? [] : [literal])
}

function isEmpty(operand: SqlOperand): boolean {
  if (operand.sql === 'NULL' || operand.sql === "''") return true
  const literals = literalsOf(operand)
  return operand.nulls === 'auto' && literals.length === 1 && isBlank(literals[0]!)
}

function isKnownNonEmpty(operand: SqlOperand): boolean {
  if (operand.nulls === 'enforced') return false
  if (operand.sql === '1' || operand.sql === '0') return true
  const literals = literalsOf(operand)
  return literals.length > 0 && !literals.some(isBlank) && !isEmpty(operand)
}

function equality(isEqual: boolean, left: SqlOperand, right: SqlOperand): string {
  const sign = isEqual ? '=' : 'IS NOT'
  if (left.nulls === 'disabled' || right.nulls === 'disabled')
    return `${left.sql} ${isEqual ? 'IS' : 'IS NOT'} ${right.sql}`
  const leftEmpty = isEmpty(left)
  const rightEmpty = isEmpty(right)
  if (leftEmpty && rightEmpty) return `'' ${sign} ''`
  if (isKnownNonEmpty(left) || isKnownNonEmpty(right))
    return `${leftEmpty ? "''" : left.sql} ${sign} ${rightEmpty ? "''" : right.sql}`
  const [join, nullTest] = isEqual ? ['OR', 'IS NULL'] : ['AND', 'IS NOT NULL']
  if (leftEmpty) return `('' ${sign} ${right.sql} ${join} ${right.sql} ${nullTest})`
  if (rightEmpty) return `(${left.sql} ${sign} '' ${join} ${left.sql} ${nullTest})`
  return `COALESCE(${left.sql}, '') ${sign} COALESCE(${right.sql}, '')`
}

function likePattern(value: SqlValue): string {
  const text = typeof value === 'number' ? formatFloat(value) : value === null ? '' : String(value)
  // A pattern of the client's own: `%` that no backslash stands before.
  if (/(?:^|[^\\])(?:\\\\)*%/.test(text)) return text
  return `%${text.replace(/\\?[\\%_]/g, (each) => (each.length === 2 ? each : `\\${each}`))}%`
}

function like(isLike: boolean, left: SqlOperand, right: SqlOperand, params: Parameters): string {
  const sign = isLike ? 'LIKE' : 'NOT LIKE'
  const pattern = (value: SqlValue) => params.add(likePattern(value))
  if (right.likeSql) return `${left.sql} ${sign} ${right.likeSql(pattern)} ESCAPE '\\'`
  if (right.literal === undefined) return `${left.sql} ${sign} ('%' || ${right.sql} || '%') ESCAPE '\\'`
  return `${left.sql} ${sign} ${pattern(right.literal)} ESCAPE '\\'`
}

/** One comparison of two plain values. */
function plain(left: SqlOperand, operator: Comparison, right: SqlOperand, params: Parameters): string {
  switch (operator) {
    case '=':
      return equality(true, left, right)
    case '!=':
      return equality(false, left, right)
    case '~':
      return like(true, left, right, params)
    case '!~':
      return like(false, left, right, params)
    default:
      return `${left.sql} ${operator} ${right.sql}`
  }
}

function subQuery(operand: SqlOperand): string {
  const multi = operand.multi!
  const joins = multi.joins.map((join) => ` LEFT JOIN ${join.source}${join.on === null ? '' : ` ON ${join.on}`}`)
  return `SELECT ${multi.value} AS multiMatchValue FROM ${multi.from}${joins.join('')} WHERE ${multi.where}`
}

/**
 * A comparison. Where a side has several values, all of them must pass, unless `isAny`.
 * @param nextAlias makes a fresh table alias.
 */
export function compare(
  left: SqlOperand,
  operator: Comparison,
  isAny: boolean,
  right: SqlOperand,
  params: Parameters,
  nextAlias: () => string,
): string {
  let sql = plain(left, operator, right, params)
  if (!isAny && (left.multi || right.multi)) {
    const multiValue = (operand: SqlOperand, alias: string): SqlOperand =>
      operand.multi
        ? { sql: `${alias}.multiMatchValue`, nulls: operand.nulls, multi: null }
        : { ...operand, nulls: left.multi && right.multi ? operand.nulls : 'auto', multi: null } // as PocketBase has it
    const [a, b] = [nextAlias(), nextAlias()]
    const test = plain(multiValue(left, a), operator, multiValue(right, b), params)
    const sources =
      left.multi && right.multi
        ? `(${subQuery(left)}) ${a} LEFT JOIN (${subQuery(right)}) ${b}`
        : left.multi
          ? `(${subQuery(left)}) ${a}`
          : `(${subQuery(right)}) ${b}`
    sql = `(${sql} AND NOT EXISTS (SELECT 1 FROM ${sources} WHERE NOT (${test})))`
  }
  if (left.wrap) sql = left.wrap(sql)
  if (right.wrap) sql = right.wrap(sql)
  return sql
}
