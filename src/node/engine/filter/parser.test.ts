// Goal: the filter grammar is PocketBase's, and no text makes the parser throw or hang.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { leastCpuMs } from '../../../../test/support/cpu.ts'
import { parseFilter } from './parser.ts'

const valid = [
  'a=1',
  "title ?!~ 'x' && (b >= -1.5 || c != null)",
  'a = 1 // a comment\n&& b = 2',
  '// first\n a.b.c:lower = "x\\"y"',
  'strftime("%Y", created) = "2024"',
  'geoDistance(p.lon, p.lat, 1, 2) < 3',
  '@collection.posts:alias.title ?= @request.auth.id',
  // A group drops what stands unfinished before it.
  'a = (b=1)',
  // A NUL ends the text.
  "a=1\0 and 'garbage",
]
const invalid = [
  '',
  '   ',
  '// only a comment',
  'a',
  'a=',
  '=1',
  'a=1 &&',
  'a=1 & b=2',
  'a==1',
  'a=1 b=2',
  '()',
  '(a=1',
  'a=1)',
  "a='open",
  'a=1e5',
  'a=.5',
  'a=5.',
  'a=-',
  'a.=1',
  '@=1',
  'a=1 / b',
  'f(a,,b)=1',
  'f(a b)=1',
  'f(g(h(i(1))))=1',
  'é=1',
]

for (const text of valid) test(`valid: ${JSON.stringify(text)}`, () => expect(parseFilter(text).ok).toBe(true))
for (const text of invalid) test(`invalid: ${JSON.stringify(text)}`, () => expect(parseFilter(text).ok).toBe(false))

test('texts keep what their escapes say', () => {
  const parsed = parseFilter(String.raw`a = 'x\'y\n\q\\'`)
  expect(parsed).toMatchObject({
    ok: true,
    value: { items: [{ node: { right: { kind: 'text', text: "x'y\n\\q\\" } } }] },
  })
})

test('any text is answered, and soon', () => {
  const pieces = fc.constantFrom(
    '(',
    ')',
    "'",
    '"',
    '\\',
    '&&',
    '||',
    '=',
    '?',
    '!~',
    '//',
    '\n',
    'a',
    '@',
    '.',
    ':',
    '1',
    '-',
    ' ',
    '\0',
    'f(',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces, { maxLength: 200 }).map((each) => each.join('')),
  )
  fc.assert(
    fc.property(text, (each) => {
      expect(leastCpuMs(() => parseFilter(each), 3)).toBeLessThan(100)
    }),
    { numRuns: 2_000 },
  )
})

test('deep nesting is refused, not a stack overflow', () => {
  expect(parseFilter(`${'('.repeat(9_000)}a=1${')'.repeat(9_000)}`).ok).toBe(false)
  expect(parseFilter('f('.repeat(9_000)).ok).toBe(false)
})
