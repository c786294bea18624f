// Goal: exactly PocketBase's dialect of cron is accepted. Method: tables of its documentation and its refusals.

import { expect, test } from 'bun:test'
import { cronProblem } from './cron-check.ts'

test('what is a schedule', () => {
  for (const text of [
    '* * * * *',
    '*/5 0-23/2 1,15 1-12 0-6',
    '59 23 31 12 6',
    '@daily',
    '@midnight',
    '0 0 1-31 * *',
    '1-1 * * * *',
  ])
    expect([text, cronProblem(text)]).toEqual([text, null])
})

test('what is none', () => {
  const bad = [
    '',
    '*',
    '* * * *',
    '* * * * * *',
    '60 * * * *',
    '-1 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * * 13 *',
    '* * * * 7',
  ]
  bad.push(
    '5/2 * * * *',
    '*/0 * * * *',
    '*/60 * * * *',
    '5-1 * * * *',
    '1-2-3 * * * *',
    '1/2/3 * * * *',
    'a * * * *',
    '@never',
    '*  * * * *',
    '1, * * * *',
  )
  for (const text of bad) expect([text, cronProblem(text) !== null]).toEqual([text, true])
  expect(cronProblem('* '.repeat(100_000))).not.toBeNull()
})
