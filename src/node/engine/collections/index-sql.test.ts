// Goal: texts of indexes are taken apart, and none of them takes minutes.

import { expect, test } from 'bun:test'
import { isValidIndex, parseIndex } from './index-sql.ts'

test('the parts of an index', () => {
  expect(parseIndex('create unique  index `i` on [t] (`a` collate nocase desc,\n lower(b)) where a > 1')).toEqual({
    schema: '',
    indexName: 'i',
    tableName: 't',
    columns: [
      { name: 'a', collate: 'nocase', sort: 'DESC' },
      { name: 'lower(b)', collate: '', sort: '' },
    ],
    where: 'a > 1',
    unique: true,
    ifNotExists: false,
  })
})

test('long runs of blanks and quotes are not tried one with another', () => {
  for (const run of [' ', '\n', '`', '"']) {
    const long = run.repeat(1_000_000)
    for (const text of [
      `create${long}x`,
      `create index${long}`,
      `create index a on b (a${long}b)`,
      `create index a${long}on b`,
    ])
      expect(isValidIndex(parseIndex(text))).toBe(false)
  }
})
