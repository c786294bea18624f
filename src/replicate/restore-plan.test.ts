import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Txid } from '../lib/brand.ts'
import { type LtxFile, ltxName, parseLtxName } from './ltx-store.ts'
import { planRestore } from './restore-plan.ts'

function file(level: number, minTxid: number, maxTxid: number): LtxFile {
  return { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes: 131, modifiedAtMs: 0 }
}
function plan(files: LtxFile[], target: number | null = null): string {
  const made = planRestore(files, target as Txid | null)
  if (!made.ok)
    return made.error.type === 'ltx_gap' ? `gap ${made.error.expected} ${made.error.found}` : made.error.type
  return made.value.files.map((each) => `${each.level}:${each.minTxid}-${each.maxTxid}`).join(' ')
}

test('plans', () => {
  const slots = [1, 2, 3, 4, 5].map((txid) => file(0, txid, txid))
  expect(plan([])).toBe('never_shipped')
  expect(plan(slots)).toBe('0:1-1 0:2-2 0:3-3 0:4-4 0:5-5')
  expect(plan(slots, 3)).toBe('0:1-1 0:2-2 0:3-3')
  expect(plan(slots, 6)).toBe('gap 6 null')
  expect(plan([...slots, file(9, 1, 4)])).toBe('9:1-4 0:5-5')
  expect(plan([...slots, file(9, 1, 4)], 3)).toBe('0:1-1 0:2-2 0:3-3')
  expect(plan([...slots, file(1, 2, 4)])).toBe('0:1-1 1:2-4 0:5-5')
  expect(plan([file(9, 1, 4), file(1, 2, 8), file(0, 9, 9)])).toBe('9:1-4 1:2-8 0:9-9')
  expect(plan([file(0, 2, 2)])).toBe('gap 1 2')
  expect(plan([...slots, file(0, 7, 7)])).toBe('gap 6 7')
  expect(plan([...slots, file(0, 7, 7)], 5)).toBe('0:1-1 0:2-2 0:3-3 0:4-4 0:5-5')
})

test('a plan is a chain from 1 to its end, or a gap exists', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(9), fc.integer({ min: 1, max: 30 }), fc.nat(10)), { maxLength: 40 }),
      fc.option(fc.integer({ min: 1, max: 40 })),
      (raw, target) => {
        const files = raw.map(([level, min, length]) => file(level, min, min + length))
        const made = planRestore(files, target as Txid | null)
        const fitting = files.filter((each) => target === null || each.maxTxid <= target)
        let reachable = 0
        for (let grown = true; grown; ) {
          grown = false
          for (const each of fitting)
            if (each.minTxid <= reachable + 1 && each.maxTxid > reachable) {
              reachable = each.maxTxid
              grown = true
            }
        }
        if (!made.ok) {
          if (made.error.type === 'never_shipped') return expect(files).toEqual([])
          return expect(made.error.expected).toBe((reachable + 1) as Txid)
        }
        expect(made.value.txid).toBe(reachable as Txid)
        let end = 0
        for (const each of made.value.files) {
          expect(each.minTxid).toBeLessThanOrEqual(end + 1)
          expect(each.maxTxid).toBeGreaterThan(end)
          end = each.maxTxid
        }
        expect(end).toBe(reachable)
        expect(made.value.files[0]!.minTxid).toBe(1 as Txid)
      },
    ),
  )
})

test('names', () => {
  expect(ltxName(1 as Txid, 255 as Txid)).toBe('0000000000000001-00000000000000ff.ltx')
  expect(parseLtxName('0000000000000001-00000000000000ff.ltx')).toEqual({ minTxid: 1 as Txid, maxTxid: 255 as Txid })
  for (const bad of ['0-1.ltx', '0000000000000002-0000000000000001.ltx', 'ffffffffffffffff-ffffffffffffffff.ltx', 'x'])
    expect(parseLtxName(bad)).toBeNull()
})
