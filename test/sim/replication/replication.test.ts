// Goal: writes, shipping, checkpoints, merges, images, retention, restores and takeovers may interleave in any way, requests
// may fail or lose their replies, owners may die between any two of them, and the rules of a history hold. Method: swarm
// testing over real databases, a store and a clock that obey the seed; `bun run test:long simulation` runs thousands.
// SEED=… runs exactly one.

import { expect, test } from 'bun:test'
import { systemRng } from '../../../src/lib/rng.ts'
import { simulateReplication } from './simulation.ts'

const one = process.env['SEED']
const first = systemRng.below(1_000_000)
const seeds = one === undefined ? Array.from({ length: 12 }, (_, at) => first + at) : [Number(one)]

for (const seed of seeds)
  test(`a history under everything at once (SEED=${seed})`, async () => {
    const report = await simulateReplication(seed, 250)
    expect(report.slots).toBeGreaterThan(1)
    expect(report.requests).toBeGreaterThan(10)
  }, 180_000)
