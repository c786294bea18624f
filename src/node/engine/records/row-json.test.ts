// Goal: the short way from row to JSON says what the long way says.
// Method: rows of odd values, as written by us and by hand, shown both ways.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { Collection, type CollectionData } from '../collections/collection.ts'
import type { SqlValue } from '../db/sql.ts'
import { type Field, type FieldType, fieldDefaults } from '../fields/field.ts'
import { toJson } from '../json/json-text.ts'
import { EngineRecord } from './record.ts'

const fields: [name: string, type: FieldType, options?: object][] = [
  ['id', 'text'],
  ['Title', 'text'],
  ['body', 'editor'],
  ['n', 'number'],
  ['on', 'bool'],
  ['at', 'date'],
  ['one', 'select', { maxSelect: 1 }],
  ['many', 'select', { maxSelect: 5 }],
  ['links', 'relation', { maxSelect: 9 }],
  ['data', 'json'],
  ['email', 'email'],
  ['emailVisibility', 'bool'],
  ['password', 'password', { hidden: true }],
  ['tokenKey', 'text', { hidden: true }],
  ['secret', 'text', { hidden: true }],
]

const collection = (type: 'base' | 'auth') =>
  new Collection({
    id: 'pbc_1',
    name: 'things<',
    type,
    fields: fields.map(
      ([name, kind, options]) => ({ ...fieldDefaults[kind], ...options, id: name, name, type: kind }) as Field,
    ),
  } as unknown as CollectionData)

const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constantFrom(
    '',
    '[]',
    '["a","b"]',
    '["a","a"]',
    '["a", "b"]',
    '["",null]',
    '["a","aa","ba"]',
    '[1]',
    '["a","b"',
    'null',
  ),
  fc.constantFrom(
    '<b>&\u2028"\\\n',
    '2024-01-02 03:04:05.678Z',
    '2024-01-02',
    '{"a":"<"}',
    'ü\ud800',
    0,
    1,
    -0,
    1.5,
    1e21,
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constant(null),
)

test('a row is shown as its record would be', () => {
  const row = fc.record(Object.fromEntries(fields.map(([name]) => [name, value])))
  for (const kind of [collection('base'), collection('auth')])
    fc.assert(
      fc.property(row, fc.boolean(), (columns, isExpanded) => {
        const [short, long] = [EngineRecord.fromRow(kind, columns), EngineRecord.fromRow(kind, columns)]
        const related = EngineRecord.fromRow(kind, { ...columns, id: 'related' })
        if (isExpanded) for (const each of [short, long]) each.expand = { one: related, links: [related] }
        long.get('id') // makes values of the row, so that the short ways are closed
        for (const [name] of fields) {
          const [a, b] = [short, long].map((each) => [each.text(name), each.bool(name), each.texts(name)])
          expect(a).toEqual(b)
        }
        expect(toJson(short)).toBe(toJson(long))
      }),
      { numRuns: 500 },
    )
})
