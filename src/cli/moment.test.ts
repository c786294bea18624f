// Goal: a moment means what it says, and what could mean two things is refused.

import { expect, test } from 'bun:test'
import { SimClock } from '../lib/clock.ts'
import { momentOf, timeOf } from './moment.ts'

const clock = new SimClock(Date.UTC(2026, 0, 31, 12))

test('times with a zone, of this machine, and ago', () => {
  expect(momentOf({ at: '2026-01-31T12:00:00Z' }, clock)).toEqual({ at: '2026-01-31T12:00:00.000Z' })
  expect(momentOf({ at: '2026-01-31 12:00:00.123+02:00' }, clock)).toEqual({ at: '2026-01-31T10:00:00.123Z' })
  expect(momentOf({ at: '2026-01-31 12:00' }, clock)).toEqual({ at: new Date(2026, 0, 31, 12).toISOString() })
  expect(momentOf({ at: '90s' }, clock)).toEqual({ at: '2026-01-31T11:58:30.000Z' })
  expect(momentOf({ at: '2d' }, clock)).toEqual({ at: '2026-01-29T12:00:00.000Z' })
  expect(momentOf({ txid: '12' }, clock)).toEqual({ txid: 12 })
  expect(momentOf({}, clock)).toEqual({})
})

test('anything else is refused with an example', () => {
  for (const at of ['', 'yesterday', '12:00', '2026-01-31', '2026-13-31T12:00:00Z', '5', '-5m', '1e3s', '999999999d'])
    expect(() => momentOf({ at }, clock)).toThrow('--at: got')
  expect(() => timeOf('--since', '5x', clock)).toThrow('--since: got 5x')
  for (const txid of ['0', '-1', '1.5', 'x', '']) expect(() => momentOf({ txid }, clock)).toThrow('--txid')
  expect(() => momentOf({ at: '5m', txid: '5' }, clock)).toThrow('give one of them')
})
