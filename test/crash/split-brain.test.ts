// Goal: whatever two owners of one tenant do, one linear history results, the loser acknowledges nothing behind its
// successor's seal, and no acknowledged write of `sync` or `quorum` is lost. Method: nodes as processes that are stopped,
// cut off, or asked under an epoch that is over. SEED=… replays; `test:long split-brain` runs 200 rounds.

import { expect, test } from 'bun:test'
import { systemRng } from '../../src/lib/rng.ts'
import { runSplitBrain } from '../support/split-brain.ts'

const rounds = 5
const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))

test(`two owners, ${rounds} times (SEED=${seed})`, async () => {
  const report = await runSplitBrain({ seed, rounds, onRound: (line) => console.log(line) })
  expect(report.acknowledged).toBeGreaterThan(rounds)
}, 180_000)
