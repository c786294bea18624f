// Goal: the comparison runs, every contestant gives the same answers, and the table says what falls short.
// Method: the same code at its smallest beside the real PocketBase; no figure is judged.

import { expect, test } from 'bun:test'
import { testWithPeers } from '../../test/support/peers.ts'
import { type ComparedRow, compare, smokeCompare } from './compare.ts'
import { compareFigures, renderMarkdown } from './table.ts'

testWithPeers(
  ['pocketbase'],
  'every scenario runs at every contestant',
  async () => {
    const comparison = await compare(smokeCompare, [])
    expect(comparison.rows.length).toBeGreaterThan(25)
    for (const row of comparison.rows) expect(Object.keys(row.by)).toEqual(['PocketBase', 'direct', 'fleet'])
    for (const { value } of compareFigures(comparison)) expect(value).toBeGreaterThan(0)
  },
  240_000,
)

test('the table marks what falls short, and says why only there', () => {
  const each = (perSecond: number) => ({ perSecond, p50Ms: 1, p99Ms: 2, cores: 1, generatorCpu: 0.1 })
  const row = (name: string, direct: number, fleet: number): ComparedRow => ({
    name,
    unit: 'requests/s',
    target: 2,
    why: `because of ${name}`,
    by: { PocketBase: each(100), direct: each(direct), fleet: each(fleet) },
  })
  const rows = [row('good', 200, 150), row('bad', 199, 150), row('slow fleet', 300, 149)]
  const text = renderMarkdown(
    { rows, pinnedRows: [], figures: [] },
    { commit: 'abc', machine: 'a machine', pocketBase: 'v1' },
  )
  expect(text).toContain('| good | 100 (1.00 / 2.0) | 200 (1.00 / 2.0) | **2.00** | 2 | 150 (1.00 / 2.0) | **1.50** |')
  expect(text).toContain('| 1.99 ↓ |')
  expect(text).toContain('| 1.49 ↓ |')
  expect(text).not.toContain('because of good')
  expect(text).toContain('because of bad')
  expect(text).toContain('because of slow fleet')
})
