// Goal: the query of a view is read in time in proportion to its length, whatever stands in it.

import { expect, test } from 'bun:test'
import { errorCode } from '../../../lib/errors.ts'
import { seededRng } from '../../../lib/rng.ts'
import { normalizeViewQuery, viewQueryLengthMax, viewSources } from './view-query.ts'

const sourcesOf = (query: string) => [...viewSources(normalizeViewQuery(query), () => undefined, seededRng(1)).keys()]

test('columns are found between blanks, comments and semicolons', () => {
  expect(sourcesOf(';; select  a.id ,\n\n b as  c -- d\n, /* e, */ f from   a  left   join b on b.x = a.id ;')).toEqual(
    ['id', 'c', 'f'],
  )
})

test('long runs of anything take no minutes', () => {
  const outcome = (query: string) => {
    try {
      return sourcesOf(query).length
    } catch (error) {
      return errorCode(error)
    }
  }
  // A run of blanks once took 13 s, semicolons 3 s.
  for (const [piece, alone, withTable] of [
    [' ', 1, 1],
    ['\n', 1, 1],
    [';', 1, 'refused'],
    ['/*', 'refused', 'refused'],
    ['--', 1, 1],
    ['(', 'refused', 'refused'],
    ['a,', 1, 2],
  ] as const) {
    const query = `select a ${piece.repeat(viewQueryLengthMax / piece.length - 20)}`
    expect([piece, outcome(query), outcome(`${query} x from y`)]).toEqual([piece, alone, withTable])
  }
})
