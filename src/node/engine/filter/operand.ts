// One side of a comparison as SQL text, and the parameters of a statement. Text is only ever made of our own words and
// quoted names of known fields; everything that came from outside is a parameter.

import { quoteName, type SqlValue } from '../db/sql.ts'

/** Parameters of one statement, numbered, so that one may be named twice. */
export class Parameters {
  readonly values: SqlValue[] = []

  /**
   * @returns the text that stands for the value. Numbers are floating-point as in Go, also when they are whole: it shows
   * where they meet text.
   */
  add(value: SqlValue): string {
    this.values.push(value)
    return typeof value === 'number' ? `(?${this.values.length}*1.0)` : `?${this.values.length}`
  }

  /** A whole number that stays one. */
  addInteger(value: number): string {
    this.values.push(value)
    return `?${this.values.length}`
  }
}

export interface Join {
  /** What is joined, with its alias. */
  readonly source: string
  readonly alias: string
  readonly on: string | null
}

/** The sub-query that makes a comparison hold for each of several values. */
export interface MultiMatch {
  readonly from: string
  readonly joins: readonly Join[]
  readonly value: string
  readonly where: string
}

export interface SqlOperand {
  readonly sql: string
  /** Its value when it is a parameter, or a function of one. */
  readonly literal?: SqlValue
  /** The values of the parameters that a function was called with. */
  readonly argumentLiterals?: readonly SqlValue[]
  /**
   * How it is matched on the right of `~`, where another text than the one of the literal counts: its SQL with each
   * parameter through `pattern`, which makes one of the value it gets.
   */
  readonly likeSql?: (pattern: (value: SqlValue) => string) => string
  /** Whether NULL and the empty string are one: where needed, never, or always by COALESCE. */
  readonly nulls: 'auto' | 'disabled' | 'enforced'
  readonly multi: MultiMatch | null
  /** Wraps the finished comparison. */
  readonly wrap?: (sql: string) => string
}

export const nullOperand: SqlOperand = { sql: 'NULL', nulls: 'auto', multi: null }

export function column(alias: string, name: string): string {
  return `${quoteName(alias)}.${quoteName(name)}`
}

/** The values of a column as rows, whether it holds a JSON list or one plain value. */
export function jsonEach(text: string): string {
  return `json_each(CASE WHEN iif(json_valid(${text}), json_type(${text})='array', FALSE) THEN ${text} ELSE json_array(${text}) END)`
}

/** How many values a column holds; none when it is NULL or empty. */
export function jsonLength(text: string): string {
  return `json_array_length(CASE WHEN iif(json_valid(${text}), json_type(${text})='array', FALSE) THEN ${text} ELSE (CASE WHEN ${text} = '' OR ${text} IS NULL THEN json_array() ELSE json_array(${text}) END) END)`
}

/**
 * A value inside a column that may hold JSON or plain text.
 * @param path word characters, dots and `[n]` only: it becomes part of a literal.
 */
export function jsonExtract(text: string, path: string): string {
  const at = path === '' || path.startsWith('[') ? path : `.${path}`
  return `(CASE WHEN json_valid(${text}) THEN JSON_EXTRACT(${text}, '$${at}') ELSE JSON_EXTRACT(json_object('pb', ${text}), '$.pb${at}') END)`
}
