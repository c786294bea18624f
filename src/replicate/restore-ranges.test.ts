// Goal: every wanted page is read exactly once, in few requests, and hardly anything else is. Method: random indexes and
// wishes against the definition.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { PageIndex } from './ltx/page-index.ts'
import { fileRanges, PageSet } from './restore-ranges.ts'

const gapBytesMax = 64 << 10

function indexOf(lengths: readonly number[]): PageIndex {
  const offsets = new Float64Array(lengths.length + 1)
  offsets[0] = 100
  for (const [i, length] of lengths.entries()) offsets[i + 1] = offsets[i]! + length
  const pgnos = Uint32Array.from(lengths, (_, i) => 2 * i + 1)
  return { pgnos, offsets, checksum: 0n, end: { crc: 0n, length: 0 } }
}

const frames = fc.array(fc.tuple(fc.integer({ min: 20, max: 66_000 }), fc.boolean()), { maxLength: 120 })

test('ranges hold each wanted frame once, whole, within the size of a request', () => {
  fc.assert(
    fc.property(frames, fc.integer({ min: 66_000, max: 400_000 }), (each, rangeBytesMax) => {
      const index = indexOf(each.map(([length]) => length))
      const isWanted = (pgno: number) => each[(pgno - 1) / 2]![1]
      const { ranges, isWhole, wantedCount } = fileRanges(index, isWanted, { rangeBytesMax })
      const wanted = [...index.pgnos].filter(isWanted)
      const read = ranges.flatMap((range) => [...range.pgnos].filter((_, i) => range.wanted[i] === 1))
      expect(read).toEqual(wanted)
      expect(wantedCount).toBe(wanted.length)
      if (isWhole) expect(ranges.flatMap((range) => [...range.pgnos])).toEqual([...index.pgnos])
      let end = 0
      for (const { from, to, pgnos, wanted: flags } of ranges) {
        expect(from).toBeGreaterThanOrEqual(end)
        expect(to - from).toBeLessThanOrEqual(rangeBytesMax)
        const first = index.pgnos.indexOf(pgnos[0]!)
        expect(from).toBe(index.offsets[first]!)
        expect(to).toBe(index.offsets[first + pgnos.length]!)
        if (!isWhole) {
          expect([flags[0], flags.at(-1)]).toEqual([1, 1])
          let gap = 0
          for (const [i, flag] of flags.entries()) {
            gap = flag === 1 ? 0 : gap + index.offsets[first + i + 1]! - index.offsets[first + i]!
            expect(gap).toBeLessThanOrEqual(gapBytesMax)
          }
        }
        end = to
      }
    }),
  )
})

test('a file is read whole when most of it is wanted, and not at all when nothing is', () => {
  const index = indexOf(new Array(100).fill(1_000))
  expect(fileRanges(index, (pgno) => pgno > 20, { rangeBytesMax: 1 << 20 })).toMatchObject({
    isWhole: true,
    wantedCount: 90,
  })
  expect(fileRanges(index, (pgno) => pgno > 60, { rangeBytesMax: 1 << 20 })).toMatchObject({
    isWhole: false,
    wantedCount: 70,
  })
  expect(fileRanges(index, () => false, { rangeBytesMax: 1 << 20 })).toEqual({
    ranges: [],
    isWhole: false,
    wantedCount: 0,
    unwantedBytes: 0,
  })
  const all = fileRanges(index, () => false, { rangeBytesMax: 1 << 20, readsWhole: true })
  expect(all).toMatchObject({ isWhole: true, wantedCount: 0 })
  expect(all.ranges.flatMap(({ pgnos }) => [...pgnos])).toEqual([...index.pgnos])
})

test('what may be read for a checksum alone is read, and not a byte more', () => {
  const index = indexOf(new Array(100).fill(1_000))
  const few = (spareBytes: number) => fileRanges(index, (pgno) => pgno > 190, { rangeBytesMax: 1 << 20, spareBytes })
  expect(few(95_000)).toMatchObject({ isWhole: true, wantedCount: 5, unwantedBytes: 95_000 })
  expect(few(94_999)).toMatchObject({ isWhole: false, wantedCount: 5, unwantedBytes: 0 })
  const none = fileRanges(index, () => false, { rangeBytesMax: 1 << 20, spareBytes: 1e9 })
  expect(none).toMatchObject({ ranges: [], isWhole: false })
})

test('each page of a database is taken once; the lock page and what was cut off never', () => {
  const pages = new PageSet({ had: 0, commit: 100, lock: 65 })
  expect(pages.missing).toBe(99)
  for (let pgno = 1; pgno <= 120; pgno++) expect(pages.take(pgno)).toBe(pgno <= 100 && pgno !== 65)
  for (let pgno = 1; pgno <= 120; pgno++) expect(pages.take(pgno)).toBe(false)
  expect(pages.missing).toBe(0)
})

test('pages that were there are replaced but not missed', () => {
  const pages = new PageSet({ had: 50, commit: 100, lock: 65 })
  expect(pages.missing).toBe(49)
  expect(pages.take(10)).toBe(true)
  expect(pages.take(10)).toBe(false)
  expect(pages.missing).toBe(49)
  for (let pgno = 51; pgno <= 100; pgno++) pages.take(pgno)
  expect(pages.missing).toBe(0)
  expect(new PageSet({ had: 50, commit: 20, lock: 65 }).missing).toBe(0)
})
