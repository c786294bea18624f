// Goal: JSON leaves as Go writes it, and means the same to every reader.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { JsonText, toJson, toSortedJson } from './json-text.ts'

test('what Go escapes and how it prints numbers', () => {
  expect(toJson('<a href="x">&\u2028\u2029')).toBe('"\\u003ca href=\\"x\\"\\u003e\\u0026\\u2028\\u2029"')
  expect(toJson([1e21, 1e-7, -0, 1.5, 100, Number.NaN])).toBe('[1e+21,1e-7,-0,1.5,100,null]')
  expect(toJson({ a: undefined, b: null, 'c<': new JsonText('{"z":1,"a":"<"}') })).toBe(
    '{"b":null,"c\\u003c":{"z":1,"a":"\\u003c"}}',
  )
  expect(toSortedJson({ b: 1, a: { d: [], c: 2 } })).toBe('{"a":{"c":2,"d":[]},"b":1}')
})

test('reading it gives the value back, without a character that HTML knows', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = toJson(value)
      expect(JSON.parse(text)).toEqual(value) // -0 too, which JSON.stringify would lose
      expect(text).not.toMatch(/[<>&\u2028\u2029]/)
    }),
  )
})

test('depth has an end', () => {
  let deep: unknown = 1
  for (let i = 0; i < 2_000; i++) deep = [deep]
  expect(() => toJson(deep)).toThrow(RangeError)
})
