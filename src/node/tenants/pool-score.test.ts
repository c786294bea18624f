// Goal: eviction takes the tenant whose absence is felt least, and never one that is in use.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { type Candidate, chooseToClose, closeScore } from './pool-score.ts'

const nowMs = 10_000_000
const candidate: fc.Arbitrary<Candidate> = fc.record({
  lastUsedAtMs: fc.integer({ min: 0, max: nowMs + 1_000 }),
  requestsPerSecond: fc.double({ min: 0, max: 1e5, noNaN: true }),
  footprintBytes: fc.integer({ min: 0, max: 2 ** 40 }),
  streams: fc.integer({ min: 0, max: 3 }),
  requests: fc.integer({ min: 0, max: 2 }),
})

test('the score is finite and follows rest, size and rate', () => {
  fc.assert(
    fc.property(candidate, fc.integer({ min: 1, max: 1e6 }), (base, more) => {
      const score = closeScore(base, nowMs)
      expect(score).toBeGreaterThanOrEqual(0)
      expect(Number.isFinite(score)).toBe(true)
      expect(closeScore({ ...base, lastUsedAtMs: base.lastUsedAtMs - more }, nowMs)).toBeGreaterThanOrEqual(score)
      expect(closeScore({ ...base, footprintBytes: base.footprintBytes + more }, nowMs)).toBeGreaterThanOrEqual(score)
      expect(closeScore({ ...base, requestsPerSecond: base.requestsPerSecond + more }, nowMs)).toBeLessThanOrEqual(
        score,
      )
    }),
  )
})

test('nobody in use is chosen, streams go last, and as many as can be found', () => {
  fc.assert(
    fc.property(fc.array(candidate, { maxLength: 30 }), fc.integer({ min: 0, max: 40 }), (all, count) => {
      const chosen = chooseToClose(all, count, nowMs)
      const free = all.filter(({ requests }) => requests === 0)
      expect(chosen.length).toBe(Math.min(count, free.length))
      expect(chosen.every(({ requests }) => requests === 0)).toBe(true)
      const firstStream = chosen.findIndex(({ streams }) => streams > 0)
      if (firstStream >= 0) {
        expect(chosen.slice(firstStream).every(({ streams }) => streams > 0)).toBe(true)
        expect(chosen.slice(0, firstStream).length).toBe(free.filter(({ streams }) => streams === 0).length)
      }
    }),
  )
})
