// Goal: what is due for a closed tenant is on the list of the worker that looks after it, wherever it was written down, and is
// made up for when it fails.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { dealLists, UpkeepSchedule } from './upkeep-schedule.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pf-lists-'))
})
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

test('what failed is tried again, for the time at which it was due', async () => {
  const clock = new SimClock()
  const dueAtMs = clock.now() + 5_000
  const tries: { readonly dueAtMs: number; readonly atMs: number }[] = []
  const id = a as TenantId
  const schedule = new UpkeepSchedule({
    clock,
    log,
    path: join(dir, 'crons-0.json'),
    isOurs: async () => true,
    async pass(_, due) {
      tries.push({ dueAtMs: due, atMs: clock.now() })
      if (tries.length < 3) throw new Error('the store is out')
      return null
    },
    lookMsMin: 1_000,
    retryMs: 60_000,
  })
  schedule.note(id, dueAtMs)
  for (let second = 0; second < 300; second++) {
    await clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(tries.map((each) => each.dueAtMs)).toEqual([dueAtMs, dueAtMs, dueAtMs])
  expect(tries[1]!.atMs - tries[0]!.atMs).toBeGreaterThanOrEqual(60_000)
  expect(schedule.size).toBe(0)
  schedule.stop()
})
