// Goal: inputs become the values that PocketBase v0.39.11 was seen to store for them.

import { expect, test } from 'bun:test'
import { formatFloat, toBool, toNumber, toText, toTexts } from './cast.ts'
import { toDateTime } from './datetime.ts'

test('numbers from text', () => {
  const cases: [unknown, number][] = [
    [' 5', 0],
    ['5 ', 0],
    ['0x10', 0],
    ['true', 0],
    ['1_000', 1000],
    ['1e3', 1000],
    ['1e400', 0],
    ['-9e999', 0],
    ['+5', 5],
    ['.5', 0.5],
    [true, 1],
    [null, 0],
    ['', 0],
    [{}, 0],
  ]
  for (const [raw, expected] of cases) expect([raw, toNumber(raw)]).toEqual([raw, expected])
  expect(toNumber('NaN')).toBeNaN()
  expect(toNumber('Inf')).toBe(Infinity)
})

test('text from numbers, without exponents', () => {
  expect(toText(1.5)).toBe('1.5')
  expect(toText(1e21)).toBe('1000000000000000000000')
  expect(toText(-0)).toBe('-0')
  expect(formatFloat(1e-7)).toBe('0.0000001')
  expect(formatFloat(1.25e-10)).toBe('0.000000000125')
  expect(toText({ a: 1 })).toBe('')
  expect(toText([1])).toBe('')
})

test('bools', () => {
  for (const raw of ['t', 'TRUE', '1', 2, true]) expect(toBool(raw)).toBe(true)
  for (const raw of ['on', 'yes', '', 0, null, {}]) expect(toBool(raw)).toBe(false)
})

test('lists', () => {
  expect(toTexts('["a","b"]')).toEqual(['a', 'b'])
  expect(toTexts('a,b')).toEqual(['a,b'])
  expect(toTexts(['a', '', 'a', 1])).toEqual(['a', '1'])
  expect(toTexts(null)).toEqual([])
})

test('dates', () => {
  const cases: [unknown, string][] = [
    ['02 Jan 2006', '2006-01-02 00:00:00.000Z'],
    ['2022-01-01 10:00:00.123Z', '2022-01-01 10:00:00.123Z'],
    ['2022-01-01T10:00:00.123999Z', '2022-01-01 10:00:00.123Z'],
    ['2022-01-01T10:00:00+02:00', '2022-01-01 08:00:00.000Z'],
    ['2022-01-01', '2022-01-01 00:00:00.000Z'],
    ['Mon, 02 Jan 2006 15:04:05 GMT', '2006-01-02 15:04:05.000Z'],
    [1700000000, ''],
    ['2020/01/02', ''],
    ['2020-01-02 03:04', ''],
    ['20200102', ''],
    ['2020-02-30', ''],
    ['', ''],
    [null, ''],
  ]
  for (const [raw, expected] of cases) expect([raw, toDateTime(raw)]).toEqual([raw, expected])
})
