// Goal: what may scan is told from what cannot. Method: real programs of SQLite, which pins what is relied upon.

import { Database as Sqlite } from 'bun:sqlite'
import { afterAll, describe, expect, test } from 'bun:test'
import { type Instruction, rowsVisitedMax, scanShape } from './scan-cost.ts'

const sqlite = new Sqlite(':memory:')
afterAll(() => sqlite.close())
for (const sql of [
  'CREATE TABLE posts (id TEXT PRIMARY KEY NOT NULL, title TEXT, n INT, author TEXT, tags JSON)',
  'CREATE INDEX posts_author ON posts (author)',
  'CREATE TABLE authors (id TEXT PRIMARY KEY NOT NULL, name TEXT)',
  'CREATE TABLE few (id TEXT PRIMARY KEY NOT NULL, author TEXT)',
  'CREATE VIEW totals AS SELECT a.id, count(p.id) AS c FROM authors a LEFT JOIN posts p ON p.author = a.id GROUP BY a.id',
])
  sqlite.run(sql)

const rows: Readonly<Record<string, number>> = { posts: 100_000, authors: 1_000, few: 10 }
const tables = new Map(
  (sqlite.query('SELECT rootpage, tbl_name FROM sqlite_schema').all() as { rootpage: number; tbl_name: string }[]).map(
    (each) => [each.rootpage, each.tbl_name] as const,
  ),
)

function visited(sql: string): number {
  const program = sqlite.query(`EXPLAIN ${sql}`).all() as Instruction[]
  return rowsVisitedMax(scanShape(program), (rootPage) => rows[tables.get(rootPage)!]!)
}

describe('cheap whatever the size of the table', () => {
  for (const sql of [
    'SELECT * FROM posts WHERE id = ?1 LIMIT 1',
    'SELECT posts.* FROM posts LIMIT ?1 OFFSET ?2',
    'SELECT posts.* FROM posts ORDER BY posts.`_rowid_` DESC LIMIT ?1 OFFSET ?2',
    'SELECT posts.* FROM posts ORDER BY posts.author LIMIT ?1 OFFSET ?2',
    'SELECT COUNT(*) FROM posts',
    'SELECT * FROM posts WHERE id IN (?1, ?2, ?3)',
    'SELECT posts.* FROM posts LEFT JOIN authors a ON a.id = posts.author WHERE posts.id = ?1 AND a.name = ?2',
    "SELECT * FROM few WHERE author LIKE '%x%'",
    // How a rule is asked about a record that is not stored yet.
    'WITH r AS (SELECT ?1 AS id, ?2 AS author) SELECT 1 FROM r AS x LEFT JOIN posts p ON p.id = x.author WHERE p.n > 0 LIMIT 1',
    'WITH r AS (SELECT ?1 AS id, ?2 AS tags) SELECT 1 FROM r AS x LEFT JOIN json_each(x.tags) j LEFT JOIN posts p ON p.id = j.value WHERE p.n > 0 LIMIT 1',
  ])
    test(sql, () => expect(visited(sql)).toBeLessThan(3_000))
})

describe('as many rows as the table has', () => {
  for (const sql of [
    "SELECT posts.* FROM posts WHERE title LIKE '%x%' LIMIT ?1",
    'SELECT posts.* FROM posts ORDER BY title LIMIT ?1',
    'SELECT COUNT(*) FROM posts WHERE n > ?1',
    'SELECT * FROM posts WHERE author >= ?1 AND n = 3',
    'SELECT DISTINCT posts.* FROM posts LEFT JOIN authors a ON a.id = posts.author LIMIT ?1',
    'SELECT * FROM totals WHERE c > 1 LIMIT 10',
    'SELECT * FROM (SELECT id, n FROM posts ORDER BY n) AS x LIMIT 10',
    'SELECT 1 FROM few WHERE EXISTS (SELECT 1 FROM posts WHERE posts.title = few.author)',
    'SELECT * FROM few LEFT JOIN posts p ON p.n = 3 WHERE few.id = ?1',
    'SELECT * FROM few WHERE author IN (SELECT title FROM posts)',
  ])
    test(sql, () => expect(visited(sql)).toBeGreaterThanOrEqual(100_000))
})

test('loops within loops multiply, unless SQLite runs them once', () => {
  expect(visited('SELECT 1 FROM posts a, posts b WHERE a.n < b.n')).toBeGreaterThanOrEqual(100_000 ** 2)
  expect(visited('SELECT 1 FROM few WHERE author = (SELECT max(title) FROM posts)')).toBeLessThan(200_000)
})

test('a recursive query has no end that could be known', () => {
  expect(visited('WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n')).toBe(
    Number.POSITIVE_INFINITY,
  )
})
