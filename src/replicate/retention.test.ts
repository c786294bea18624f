// Goal: whatever was shipped and merged, every promised point can be restored before, between and after the phases of a
// deletion, by our planner and by the rules of the official one; and garbage goes in the end. Method: random histories in
// which months pass, checked against a model that knows what was promised.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Txid } from '../lib/brand.ts'
import { seededRng } from '../lib/rng.ts'
import type { CandidateRange } from './history-manifest.ts'
import { planRestore } from './restore-plan.ts'
import {
  candidateRanges,
  defaultRetention,
  planDeletion,
  planRetention,
  type RetainedFile,
  retentionOf,
} from './retention.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

function file(level: number, minTxid: number, maxTxid: number, timestampMs: number, sizeBytes = 500): RetainedFile {
  return { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, timestampMs, isSeal: sizeBytes === 131 }
}

const names = (files: Iterable<RetainedFile>) =>
  [...files].map(({ level, minTxid, maxTxid }) => `${level}:${minTxid}-${maxTxid}`).sort()

/** What the official tool does, in its own way: last image first, then one cursor a level, best end wins. */
function officialReach(files: readonly RetainedFile[], fits: (file: RetainedFile) => boolean): number {
  const levels = Array.from({ length: 10 }, (_, level) =>
    files.filter((each) => each.level === level).sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid),
  )
  let reached = 0
  for (const image of levels[9]!) if (fits(image)) reached = image.maxTxid
  const cursors = levels.map(() => 0)
  for (;;) {
    let best = reached
    for (let level = 8; level >= 0; level--) {
      const queue = levels[level]!
      for (; cursors[level]! < queue.length && queue[cursors[level]!]!.minTxid <= reached + 1; cursors[level]!++) {
        const each = queue[cursors[level]!]!
        if (fits(each)) best = Math.max(best, each.maxTxid)
      }
    }
    if (best === reached) return reached
    reached = best
  }
}

/** A history of bursts, merged by sixteens in one order or another, sealed now and then. */
function randomHistory(seed: number, startMs: number, nowMs: number): RetainedFile[] {
  const rng = seededRng(seed)
  const files: RetainedFile[] = [file(0, 1, 1, startMs, 4_000)]
  const times = [0, startMs]
  let atMs = startMs
  const pauses = [200, 1_000, 20_000, 5 * minute, 3 * hour, 2 * day]
  while (files.length < 400) {
    const pauseMs = pauses[rng.below(pauses.length)]!
    for (let burst = 1 + rng.below(30); burst > 0; burst--) {
      atMs += 1 + rng.below(pauseMs)
      if (atMs > nowMs) break
      const txid = times.length
      times.push(atMs)
      files.push(file(0, txid, txid, atMs, rng.below(25) === 0 ? 131 : 500))
    }
    if (atMs > nowMs) break
  }
  const last = times.length - 1
  for (let level = 1, span = 16; level <= 3; level++, span *= 16) {
    // Merges need not stand at multiples, and two owners may make overlapping ones.
    for (let from = 2 + rng.below(3); from + span - 1 <= last; from += span - rng.below(2) * rng.below(3))
      if (rng.below(10) > 0) files.push(file(level, from, from + span - 1, times[from + span - 1]!))
  }
  for (let images = rng.below(4); images > 0; images--) {
    const to = 1 + rng.below(last)
    if (!files.some((each) => each.level === 9 && each.maxTxid === to)) files.push(file(9, 1, to, times[to]!))
  }
  return files
}

/** Points that can be restored, with their times. */
function reachable(files: readonly RetainedFile[]): Map<number, number> {
  const points = new Map<number, number>()
  for (const { maxTxid, timestampMs } of files)
    if (!points.has(maxTxid) && planRestore(files, maxTxid).ok) points.set(maxTxid, timestampMs)
  return points
}

/** Throws when `left` breaks a promise that `all` could keep. */
function checkPromises(all: Map<number, number>, leftFiles: readonly RetainedFile[], nowMs: number): void {
  const left = reachable(leftFiles)
  const newest = Math.max(...all.keys())
  expect(Math.max(...left.keys())).toBe(newest)
  expect(planRestore(leftFiles, null).ok).toBe(true)
  const { everyMs, minutelyMs, hourlyMs } = defaultRetention
  const ordered = [...all].sort(([a], [b]) => a - b)
  for (const [index, [txid, timestampMs]] of ordered.entries()) {
    const ageMs = nowMs - timestampMs
    if (ageMs < everyMs && !left.has(txid)) throw new Error(`TXID ${txid} is gone after ${ageMs} ms`)
    const spanMs = ageMs < minutelyMs ? minute : hour
    const isInSpan = (other: number) => Math.floor(other / spanMs) === Math.floor(timestampMs / spanMs)
    // A span that a window's border cuts may be represented on either side of it.
    if (ageMs < hourlyMs && ![...left.values()].some(isInSpan)) throw new Error(`nothing is left around TXID ${txid}`)
    // The state during a pause is exact.
    const next = ordered[index + 1]
    const isPause = next === undefined || next[1] - timestampMs > hour
    const untilMs = next?.[1] ?? nowMs
    if (isPause && nowMs - untilMs < hourlyMs && !left.has(txid)) throw new Error(`the state at TXID ${txid} is gone`)
  }
  for (const txid of left.keys()) expect(officialReach(leftFiles, (each) => each.maxTxid <= txid)).toBe(txid)
  expect(officialReach(leftFiles, () => true)).toBe(newest)
  // By time, the official tool must come as near as we do, whatever lies around unreachable.
  for (const timestampMs of left.values()) {
    const reached = officialReach(leftFiles, (each) => each.timestampMs <= timestampMs)
    expect(left.get(reached) ?? 0).toBeGreaterThanOrEqual(timestampMs)
  }
}

test('promises hold before, between and after the phases, whatever the history', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 }), fc.integer({ min: 0, max: 60 }), (seed, days) => {
      const startMs = 1_700_000_000_000
      let nowMs = startMs + days * day
      let files = randomHistory(seed, startMs, nowMs)
      const held = { points: [[...files][files.length >> 1]!.maxTxid], files: [files[files.length >> 2]!] }
      const seals = names(files.filter((each) => each.isSeal))
      for (let phase = 0; phase < 4; phase++) {
        const all = reachable(files)
        const plan = planRetention(files, nowMs, defaultRetention, held)
        const candidates: readonly CandidateRange[] = candidateRanges(files, plan.kept, 4_096)
        for (const each of plan.dropped)
          expect(
            candidates.some(
              (range) => range.level === each.level && range.minTxid <= each.minTxid && each.maxTxid <= range.maxTxid,
            ),
          ).toBe(true)
        nowMs += day + (seed % 3) * day
        const later = planRetention(files, nowMs, defaultRetention, held)
        const gone = new Set(planDeletion(candidates, later))
        const left = files.filter((each) => !gone.has(each))
        checkPromises(all, left, nowMs)
        // A batch may be cut off anywhere.
        const half = files.filter((each, index) => !gone.has(each) || index % 2 === 0)
        checkPromises(all, half, nowMs)
        files = left
        expect(names(files.filter((each) => each.isSeal))).toEqual(seals)
        if (all.has(held.points[0]!)) expect(planRestore(files, held.points[0]!).ok).toBe(true)
        expect(files).toContain(held.files[0]!)
      }
    }),
    { numRuns: 60 },
  )
})

test('after everything is old, one chain, the seals and the newest slot are left', () => {
  const start = 1_700_000_000_000
  const slots = Array.from({ length: 100 }, (_, index) =>
    file(0, index + 1, index + 1, start + index * 1_000, index === 49 ? 131 : 500),
  )
  const files = [...slots, file(1, 2, 17, start + 16_000), file(9, 1, 96, start + 95_000)]
  const { kept } = planRetention(files, start + 40 * day, defaultRetention)
  expect(names(kept)).toEqual(['0:100-100', '0:50-50', '0:97-97', '0:98-98', '0:99-99', '9:1-96'])
})

test('a busy minute is kept at the end of a merge, a minute before a pause at its last point', () => {
  const start = Math.ceil(1_700_000_000_000 / hour) * hour
  const slots = Array.from({ length: 121 }, (_, index) => file(0, index + 1, index + 1, start + index * 1_000))
  const merges = [2, 18, 34, 50, 66, 82, 98].map((from) => file(1, from, from + 15, start + (from + 14) * 1_000))
  const { kept, points } = planRetention([...slots, ...merges], start + 2 * day, defaultRetention)
  expect(points.map(Number)).toEqual([49, 113, 121])
  expect(names(kept).filter((name) => name.startsWith('0:'))).toHaveLength(1 + 121 - 113)
})

test('points that are kept for longer or for less', () => {
  const start = 1_700_000_000_000
  const files = Array.from({ length: 30 }, (_, index) => file(0, index + 1, index + 1, start + index * 1_000))
  const all = [...files, file(9, 1, 30, start + 29_000)]
  const pointsAfter = (days: number, keepEveryMs?: number) =>
    planRetention(all, start + days * day, retentionOf(defaultRetention, keepEveryMs)).points.length
  expect(pointsAfter(2)).toBeLessThan(30)
  expect(pointsAfter(2, 3 * day)).toBe(30)
  expect(pointsAfter(29, 90 * day)).toBe(30)
  expect(pointsAfter(31, 90 * day)).toBe(1) // a month is the most
  expect(pointsAfter(0.5)).toBe(30)
  expect(pointsAfter(0.5, 3_600_000)).toBeLessThan(30)
  expect(() => retentionOf(defaultRetention, Number.NaN)).toThrow()
})

test('a history with a hole is left alone', () => {
  const files = [file(0, 1, 1, 0), file(0, 3, 3, 0)]
  expect(planRetention(files, 90 * day, defaultRetention).dropped).toEqual([])
})

test('what became needed since the first phase is not deleted', () => {
  const start = 1_700_000_000_000
  const files = Array.from({ length: 20 }, (_, index) => file(0, index + 1, index + 1, start + index * 1_000))
  const all = [...files, file(9, 1, 19, start + 18_000)]
  const candidates = candidateRanges(all, planRetention(all, start + 40 * day, defaultRetention).kept, 10)
  expect(candidates).toEqual([{ level: 0, minTxid: 1 as Txid, maxTxid: 19 as Txid }])
  const held = { points: [10 as Txid], files: [] }
  const gone = planDeletion(candidates, planRetention(all, start + 41 * day, defaultRetention, held))
  expect(names(gone)).toEqual(names(files.slice(10, 19)))
})
