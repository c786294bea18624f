// Goal: with three standbys any two hold every acknowledged write: the owner and one standby die together, with their disks,
// and nothing acknowledged is lost. Method: a real fleet of four nodes, clients that journal what they were told. SEED=…
// replays; `test:long quorum-pairs` runs more rounds.

import { expect, test } from 'bun:test'
import { systemRng } from '../../src/lib/rng.ts'
import { runQuorumPairs } from '../support/quorum-pairs.ts'

const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))

test(`owner and one of three standbys die at once (SEED=${seed})`, async () => {
  const report = await runQuorumPairs({ seed, rounds: 1, onRound: (line) => console.log(line) })
  expect(report.acknowledged).toBeGreaterThan(20)
}, 180_000)
