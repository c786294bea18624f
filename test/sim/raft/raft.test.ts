// Goal: Raft's safety properties (election safety, log matching, leader completeness, state machine safety) and
// linearizable reads hold at every tick, whatever network and crashes do; and once the faults stop, the group goes on.
// Method: swarm testing; each seed switches some faults off and weighs the rest differently. SEED=… runs exactly one.

import { expect, test } from 'bun:test'
import { seededRng } from '../../../src/lib/rng.ts'
import { ClusterSim, noFaults, swarm } from './cluster.ts'

const one = process.env['SEED']
const seeds = one === undefined ? Array.from({ length: 24 }, (_, at) => at + 1) : [Number(one)]

for (const seed of seeds) {
  const members = seed % 2 === 0 ? 3 : 5
  test(`raft of ${members} is safe under faults, then heals (SEED=${seed})`, () => {
    const sim = new ClusterSim({ seed, members, faults: swarm(seededRng(seed * 7919)) })
    sim.run(1_500)
    sim.heal() // liveness is only owed once the faults stop
    const before = sim.acknowledged.size
    sim.run(400)
    expect(sim.acknowledged.size).toBeGreaterThan(before)
    expect(sim.isConverged).toBe(true)
    for (const each of sim.acknowledged) {
      const [index, ...rest] = each.split(':')
      expect(sim.applied.get(Number(index))).toBe(rest.join(':'))
    }
  })
}

test('a group of one leads after a tick and commits everything at once', () => {
  const sim = new ClusterSim({ seed: 1, members: 1, faults: noFaults })
  sim.run(2)
  expect(sim.leader?.id as string).toBe('m0')
  sim.run(100)
  expect(sim.acknowledged.size).toBeGreaterThan(10)
  expect(sim.readsChecked.count).toBeGreaterThan(5)
})
