// Goal: what is due for a closed tenant is on the list of the worker that looks after it, wherever it was written down.

import { afterEach, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dealLists } from './upkeep-schedule.ts'

const dir = mkdtempSync(join(tmpdir(), 'pf-lists-'))
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const [a, b, c] = ['aaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbb', 'ccccccccccccccc'] as const
const write = (name: string, due: Record<string, number>) =>
  writeFileSync(join(dir, name), JSON.stringify({ version: 1, due }))
const read = (name: string) => (JSON.parse(readFileSync(join(dir, name), 'utf8')) as { due: unknown }).due

test('lists are dealt to those that look after the tenants; what is on two counts with the later time', () => {
  write('crons-0.json', { [a]: 5 })
  write('crons-2.json', { [a]: 9, [b]: 7, [c]: 3 })
  write('upkeep-2.json', { [a]: 1 })
  const homes: Record<string, number> = { [a]: 0, [b]: 1 }
  const deal = () => dealLists(dir, 'crons', (id) => homes[id] ?? null)
  deal()
  expect(read('crons-0.json')).toEqual({ [a]: 9 })
  expect(read('crons-1.json')).toEqual({ [b]: 7 })
  expect(read('crons-2.json')).toEqual({ [c]: 3 }) // nobody knows it here
  expect(read('upkeep-2.json')).toEqual({ [a]: 1 })
  const before = readdirSync(dir)
  deal()
  expect(readdirSync(dir)).toEqual(before)
  expect(read('crons-1.json')).toEqual({ [b]: 7 })
})
