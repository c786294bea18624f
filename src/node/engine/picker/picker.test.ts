// Goal: `fields` picks what PocketBase picks, and no text makes it throw.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { pickFields } from './picker.ts'

const record = { title: '<p>Hello <b>world</b></p>', a: { b: 1, c: [1, 2] }, list: [{ x: 1, y: 2 }, { x: 3 }] }
const cases: readonly (readonly [fields: string, expected: unknown])[] = [
  ['a.b', { a: { b: 1 } }],
  ['*', record],
  ['*,a.b', { ...record, a: { b: 1 } }],
  ['list.x', { list: [{ x: 1 }, { x: 3 }] }],
  ['nope', {}],
  ['title:excerpt(5)', { title: 'Hello' }],
  ['title:excerpt(5,true)', { title: 'Hello...' }],
  ['a.c.d', { a: { c: [1, 2] } }],
]
for (const [fields, expected] of cases)
  test(`fields=${fields}`, () => expect(JSON.parse(pickFields(structuredClone(record), fields))).toEqual(expected))

test('what is no modifier, or unbalanced, gives an empty body', () => {
  for (const fields of ['a:nope', 'title:excerpt', 'title:excerpt(0)', 'title:excerpt(1,2,3)', 'a(', "a'"])
    expect(pickFields(record, fields)).toBe('')
})

test('a page keeps its envelope', () => {
  const page = { items: [{ id: '1', x: 2 }], page: 1, perPage: 30, totalItems: 1, totalPages: 1 }
  expect(pickFields(page, 'id')).toBe('{"items":[{"id":"1"}],"page":1,"perPage":30,"totalItems":1,"totalPages":1}')
})

test('a record within another answer is picked from by its own name', () => {
  const inner = {
    export: (wants: ((key: string) => boolean) | null) => (wants?.('id') === false ? {} : { id: '1', x: 2 }),
  }
  expect(pickFields({ record: inner, token: 't' }, 'record.id')).toBe('{"record":{"id":"1"}}')
  expect(pickFields([inner], 'x')).toBe('[{}]') // what is not wanted need not be made
})

test('any text is answered', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      (fields) => typeof pickFields(structuredClone(record), fields) === 'string',
    ),
  )
})

test('an excerpt has no tags, comments and hidden elements', () => {
  for (const [html, text] of [
    ['a<!-- <p>x</p> -->b', 'ab'],
    ['<P>a</P><b>b</b><p>c', 'a b c'],
    ['a<script>x < y</script >b<FORM a="1">c</form>d', 'abd'],
    ['a<form>b', 'a b'],
    ['1 < 2 <!-- 3', '1 < 2 <!-- 3'],
  ])
    expect(JSON.parse(pickFields({ html }, 'html:excerpt(50)'))).toEqual({ html: text })
})

test('a text full of beginnings that do not end takes no hours', () => {
  for (const begin of ['<!--', '<form>', '<a ', '</a', '<'])
    expect(pickFields({ html: begin.repeat(400_000) }, 'html:excerpt(5)')).toStartWith('{"html":')
})

test('a parameter that came before is answered as the first time, whatever data it met', () => {
  for (const fields of ['a,b.c', 'a.c,b', '*,b.c:excerpt(1)', 'a.*:excerpt(1),b'])
    for (const data of [
      { a: { c: 'long', d: 'text' }, b: { c: 'more', e: 1 } },
      { a: 1, b: [{ c: 'x' }], z: 'long' },
    ]) {
      const first = pickFields(data, fields)
      pickFields({ a: { q: 'other' }, c: 1, 'a.c': 2, b: null }, fields)
      expect([fields, pickFields(data, fields)]).toEqual([fields, first])
    }
})

test('an excerpt counts characters, not units, and blanks of any kind as one', () => {
  const excerptOf = (text: string) => JSON.parse(pickFields({ t: text }, 't:excerpt(3,true)')).t
  expect(excerptOf('\u{1f600}\u{1f601}\u{1f602}\u{1f603}')).toBe('\u{1f600}\u{1f601}\u{1f602}...')
  expect(excerptOf('\u{1f600}\u{1f601}\u{1f602}')).toBe('\u{1f600}\u{1f601}\u{1f602}')
  expect(excerptOf('a\n\tb\u00a0 c')).toBe('a b...')
  expect(excerptOf(' ab ')).toBe('ab')
})
