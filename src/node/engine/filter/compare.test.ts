// Goal: comparisons hold for the rows that PocketBase finds, where SQLite or its drivers see more than one meaning.
// Method: compiled conditions over single values, run by SQLite; the expected outcomes were read off PocketBase v0.39.

import { Database } from 'bun:sqlite'
import { afterAll, expect, test } from 'bun:test'
import { compare } from './compare.ts'
import { callFunction } from './functions.ts'
import { Parameters, type SqlOperand } from './operand.ts'
import type { Comparison, Operand } from './parser.ts'

const db = new Database(':memory:')
afterAll(() => db.close())

const text = (value: string): Operand => ({ kind: 'text', text: value })

function holds(left: string, operator: Comparison, right: (params: Parameters) => SqlOperand): boolean {
  const params = new Parameters()
  const operand: SqlOperand = { sql: params.add(left), nulls: 'auto', multi: null }
  const sql = compare(operand, operator, false, right(params), params, () => 'a')
  return (db.query(`SELECT ${sql} AS is_so`).get(...params.values) as { is_so: number | null }).is_so === 1
}

function call(name: string, ...args: readonly Operand[]) {
  return (params: Parameters) =>
    callFunction(name, args, (arg) => {
      if (arg.kind !== 'text') throw new Error('only texts are called with')
      return { sql: params.add(arg.text), literal: arg.text, nulls: 'auto', multi: null }
    })
}

test('what a function is called with becomes a pattern on the right of ~, not its outcome', () => {
  const year = call('strftime', text('%Y'), text('2022-05-06'))
  expect(holds('2022', '=', year)).toBe(true)
  // The time is no time any more.
  for (const value of ['2022', 'in 2022', '']) {
    expect(holds(value, '~', year)).toBe(false)
    expect(holds(value, '!~', year)).toBe(false)
  }
  // A pattern of the client's own stays as it is.
  expect(holds('2022', '~', call('strftime', text('2022%%')))).toBe(true)
})

test('a truth value is matched by its word', () => {
  const isTrue = (params: Parameters): SqlOperand => ({
    sql: params.add(1),
    literal: 1,
    likeSql: (pattern) => pattern('true'),
    nulls: 'auto',
    multi: null,
  })
  expect(holds('is true', '~', isTrue)).toBe(true)
  expect(holds('1', '~', isTrue)).toBe(false)
  expect(holds('1', '!~', isTrue)).toBe(true)
})
