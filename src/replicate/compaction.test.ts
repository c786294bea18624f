// Goal: what is merged, and when; and that merging keeps a restore short whatever is shipped. Method: examples, and random
// shipping with every due merge made at once.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Txid } from '../lib/brand.ts'
import { type MergeJob, mergedRange, mergeFactor, planMerge, withFile } from './compaction.ts'
import type { ManifestFile } from './history-manifest.ts'
import { levelMax } from './ltx-store.ts'

const week = 7 * 24 * 3_600_000

function file(level: number, minTxid: number, maxTxid: number, sizeBytes: number, timestampMs = 0): ManifestFile {
  return { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes, timestampMs, checksum: null }
}

function slots(from: number, to: number, sizeBytes: number): ManifestFile[] {
  return Array.from({ length: to - from + 1 }, (_, index) => file(0, from + index, from + index, sizeBytes))
}

function shape(job: MergeJob | null): unknown {
  return job && { level: job.level, ...mergedRange(job), count: job.inputs.length }
}

test('level 1: sixteen slots, or two that are large', () => {
  const image = file(9, 1, 100, 100 << 20)
  expect(planMerge([image, ...slots(101, 115, 200)], 0)).toBeNull()
  expect(shape(planMerge([image, ...slots(101, 116, 200)], 0))).toEqual({
    level: 1,
    minTxid: 101,
    maxTxid: 116,
    count: 16,
  })
  expect(planMerge([image, ...slots(101, 101, 2 << 20)], 0)).toBeNull()
  expect(shape(planMerge([image, ...slots(101, 102, 600_000)], 0))).toMatchObject({ level: 1, count: 2 })
})

test('levels 2 and 3: sixteen of the level below; smaller ones between them go along, those behind do not', () => {
  const image = file(9, 1, 16, 100 << 20)
  const ones = Array.from({ length: 15 }, (_, index) => file(1, 17 + 16 * index, 32 + 16 * index, 500))
  const slot = file(0, 257, 257, 2_000_000)
  const last = file(1, 258, 273, 500)
  expect(planMerge([image, ...ones, slot], 0)).toBeNull()
  expect(shape(planMerge([image, ...ones, slot, last, ...slots(274, 280, 200)], 0))).toEqual({
    level: 2,
    minTxid: 17,
    maxTxid: 273,
    count: 17,
  })
  const twos = Array.from({ length: 16 }, (_, index) => file(2, 17 + 256 * index, 272 + 256 * index, 500))
  expect(shape(planMerge([image, ...twos], 0))).toMatchObject({ level: 3, count: 16 })
  expect(planMerge([image, ...Array.from({ length: 20 }, (_, i) => file(3, 17 + i, 17 + i, 500))], 0)).toBeNull()
})

test('an image: by growth, or by age when something changed', () => {
  const image = file(9, 1, 100, 1 << 20, 1_000)
  expect(planMerge([image, file(1, 101, 116, 500_000)], 1_000)).toBeNull()
  expect(shape(planMerge([image, file(1, 101, 116, 600_000)], 1_000))).toMatchObject({ level: levelMax, maxTxid: 116 })
  expect(planMerge([file(0, 1, 1, 4_000), ...slots(2, 15, 4_000)], 0)).toBeNull() // a small database is cheap as it is
  expect(planMerge([image, file(0, 101, 101, 131)], 2 * week)).toBeNull() // a seal is no change
  expect(planMerge([image, file(0, 101, 101, 132)], 1_000 + week)).toBeNull()
  expect(planMerge([image, file(0, 101, 101, 132)], 1_001 + week)).toMatchObject({ level: levelMax })
})

test('a merged file takes the place of its inputs, and of nothing else', () => {
  const files = [file(9, 1, 10, 100), ...slots(11, 30, 200)]
  const merged = file(1, 11, 26, 3_000)
  expect(withFile(files, merged)).toEqual([files[0]!, merged, ...slots(27, 30, 200)])
  expect(withFile([file(9, 1, 20, 100), ...slots(21, 30, 200)], merged).map(({ minTxid }) => Number(minTxid))).toEqual([
    1, 11, 27, 28, 29, 30,
  ])
  const newer = [file(9, 1, 40, 100), file(0, 41, 41, 200)]
  expect(withFile(newer, merged)).toEqual(newer)
})

test('a restore needs at most sixty files, and one and a half times the database', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 20, arbitrary: fc.integer({ min: 131, max: 9_000 }) },
          fc.integer({ min: 131, max: 3_000_000 }),
        ),
        {
          minLength: 500,
          maxLength: 3_000,
        },
      ),
      (sizes) => {
        let files: readonly ManifestFile[] = [file(0, 1, 1, 100_000)]
        for (const [index, size] of sizes.entries()) {
          files = [...files, file(0, index + 2, index + 2, size)]
          for (let job = planMerge(files, 0); job !== null; job = planMerge(files, 0)) {
            const { minTxid, maxTxid } = mergedRange(job)
            const bytes = job.inputs.reduce((sum, each) => sum + each.sizeBytes, 0)
            files = withFile(
              files,
              file(
                job.level,
                minTxid,
                maxTxid,
                job.level === levelMax ? Math.max(bytes >> 1, job.inputs[0]!.sizeBytes) : bytes,
              ),
            )
          }
          expect(files.length).toBeLessThan(4 * mergeFactor)
          const [image, ...later] = files
          const above = later.reduce((sum, each) => sum + each.sizeBytes, 0)
          expect(above).toBeLessThanOrEqual(Math.max(256 << 10, image!.sizeBytes / 2))
        }
      },
    ),
    { numRuns: 20 },
  )
})
